package access

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

// A wrong code is answered while somebody writes: who guesses keeps nobody from it.
func TestWrongCodesWriteNothing(t *testing.T) {
	h := build(t)
	err := h.store.Write(t.Context(), func(*store.Tx) error {
		answer := make(chan string, 1)
		go func() { answer <- h.browser().ask("POST", "/redeem", "code=WRONG") }()
		select {
		case got := <-answer:
			h.wants("a wrong code", got, "unauthorized: this link was used, or its two minutes are over")
		case <-time.After(time.Minute):
			t.Error("a wrong code waits for the store to write")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Who fails to sign in waits, longer each time; the message says how long, and then a
// right token gets in. A link need not wait, and other addresses do not either.
func TestTriesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t)
		b := h.browser()
		for i := range freeTries {
			h.wants(fmt.Sprint("try ", i), b.signIn("wrong"), "unauthorized: this is no token of this server")
		}
		for _, wait := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60} {
			h.wants("at once", b.signIn(rootToken), "too_many_tries: ")
			h.wants("at once", b.signIn(rootToken), fmt.Sprintf("too_many_tries: %d tries to sign in from 127.0.0.1 failed; the next one is looked at in %d s; slipway open", freeTries+int(log2(wait)), wait))
			time.Sleep(wait*time.Second - time.Millisecond)
			h.wants("a little too soon", b.signIn(rootToken), "too_many_tries")
			time.Sleep(time.Millisecond)
			if wait == 60 {
				break
			}
			h.wants("in time, and wrong", b.signIn("wrong"), "unauthorized")
		}
		b.signIn("wrong")
		h.wants("too soon", b.signIn(rootToken), "too_many_tries")
		h.wants("by a link", b.ask("POST", "/redeem", "code="+h.link()), "")
		h.wants("then", b.ask("GET", "/x"), "ann admin session")
		h.wants("a wrong code", b.ask("POST", "/redeem", "code=WRONG"), "too_many_tries")
		other := h.browser()
		other.from = "127.0.0.2:4711"
		h.wants("from elsewhere", other.signIn(rootToken), "")
		h.wants("then", other.ask("GET", "/x"), "owner admin session")
		time.Sleep(longestWait)
		b = h.browser()
		h.wants("after the wait", b.signIn(rootToken), "")
		h.wants("then", b.ask("GET", "/x"), "owner admin session")
		if strings.Contains(h.log.String(), "wrong") || !strings.Contains(h.log.String(), "a try to sign in failed") {
			t.Errorf("log = %s, want that tries failed and not with what", h.log)
		}
	})
}

// log2 of seconds as they grow: 1 2 4 ... 60.
func log2(wait time.Duration) (n int) {
	for d := time.Duration(1); d < wait; d *= 2 {
		n++
	}
	return n
}

// Failed tries from many addresses make everybody wait, but not for long.
func TestTriesInAll(t *testing.T) {
	var limit tries
	now := time.Unix(1e9, 0)
	for i := range 2 * freeTotal {
		limit.failed(client{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i / 250), byte(i % 250)}), 32)}, now)
	}
	fresh := client{netip.MustParsePrefix("192.0.2.1/32")}
	err := limit.soon(fresh, now)
	soon, ok := errors.AsType[*TooSoon](err)
	if !ok || soon.Wait != longestAll {
		t.Fatalf("soon = %v, want a wait of %v", err, longestAll)
	}
	no, ok := errors.AsType[*delivery.Refusal](err)
	if !ok || no.Code != delivery.CodeTooManyTries || !strings.Contains(no.Why, "10 s") {
		t.Errorf("refusal = %+v", no)
	}
	if err := limit.soon(fresh, now.Add(longestAll)); err != nil {
		t.Errorf("after the wait: %v", err)
	}
}

// A crowd of addresses is not remembered whole: who failed longest ago is forgotten.
func TestTriesForgetTheOldest(t *testing.T) {
	var limit tries
	now := time.Unix(1e9, 0)
	at := func(i int) client {
		return client{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i / 256), byte(i % 256)}), 32)}
	}
	const crowd = 3 * maxClients
	for i := range crowd {
		now = now.Add(time.Millisecond)
		limit.failed(at(i), now)
	}
	if len(limit.of) != maxClients {
		t.Errorf("%d addresses are remembered, want %d", len(limit.of), maxClients)
	}
	for i, want := range map[int]bool{0: false, crowd - maxClients - 1: false, crowd - maxClients: true, crowd - 1: true} {
		if _, there := limit.of[at(i)]; there != want {
			t.Errorf("address %d is remembered: %v, want %v", i, there, want)
		}
	}
}

// Whatever is tried from wherever: what is remembered is bounded, a wait is never
// longer than it may be, and once it is over a try is looked at.
func TestTriesAreBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var limit tries
		now := time.Unix(1e9, 0)
		for range rapid.IntRange(1, 3000).Draw(t, "tries") {
			r := httptest.NewRequest("POST", "/", nil)
			r.RemoteAddr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(rapid.IntRange(0, 15).Draw(t, "net")), rapid.Byte().Draw(t, "host")}), 1).String()
			now = now.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "gap")) * time.Second)
			from := clientOf(r)
			if err := limit.soon(from, now); err != nil {
				soon, _ := errors.AsType[*TooSoon](err)
				if soon == nil || soon.Wait <= 0 || soon.Wait > longestWait {
					t.Fatalf("wait = %+v", soon)
				}
				if limit.soon(from, now.Add(longestWait)) != nil {
					t.Fatal("after the longest wait a try is not looked at")
				}
				continue
			}
			limit.failed(from, now)
			if len(limit.of) > maxClients {
				t.Fatalf("%d addresses are remembered", len(limit.of))
			}
		}
		if err := limit.soon(client{netip.MustParsePrefix("192.0.2.1/32")}, now.Add(forgetTime)); err != nil {
			t.Fatalf("it is never forgotten: %v", err)
		}
	})
}

// An address is one IPv4 address, however it is written, or a network of IPv6.
func TestClients(t *testing.T) {
	for at, want := range map[string]string{
		"192.0.2.7:1":          "192.0.2.7",
		"[::ffff:192.0.2.7]:2": "192.0.2.7",
		"[2001:db8:1:2::9]:3":  "2001:db8:1:2::/64",
		"[2001:db8:1:2:f::]:3": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:3":     "fe80::/64",
		"@":                    "invalid Prefix",
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = at
		if got := clientOf(r).String(); got != want {
			t.Errorf("clientOf(%s) = %s, want %s", at, got, want)
		}
	}
	var limit tries
	limit.failed(client{}, time.Now()) // whoever has no address is one
	if len(limit.of) != 1 {
		t.Errorf("%d are remembered", len(limit.of))
	}
}
