package access

import (
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Limits of tries to sign in. They are for people: what is guessed has 128 bits.
const (
	freeTries   = 5                // failed ones from one address, before the next waits
	freeTotal   = 50               // failed ones in all
	firstWait   = time.Second      // doubled with each failed try
	longestWait = time.Minute      // for an address
	longestAll  = 10 * time.Second // for everybody
	forgetTime  = 15 * time.Minute // after the last failed try
	maxClients  = 1024             // addresses that are remembered
)

// Limits says in a sentence how often somebody may try to sign in.
func Limits() string {
	return fmt.Sprintf("After %d failed tries from one address the next waits %s, then twice as long each time, up to %s; after %d in all, everybody waits up to %s. It is forgotten %s after the last.",
		freeTries, said(firstWait), said(longestWait), freeTotal, said(longestAll), said(forgetTime))
}

// said writes whole minutes, or whole seconds.
func said(d time.Duration) string {
	if d%time.Minute == 0 {
		return strconv.Itoa(int(d/time.Minute)) + " min"
	}
	return strconv.Itoa(int(d/time.Second)) + " s"
}

// client is where a request comes from: an IPv4 address, or the network that an
// IPv6 address is one of.
type client struct{ netip.Prefix }

func clientOf(r *http.Request) client {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return client{}
	}
	ip := at.Addr().Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	network, err := ip.Prefix(bits)
	if err != nil {
		return client{}
	}
	return client{network}
}

// String names a client in the log.
func (c client) String() string {
	if c.IsSingleIP() {
		return c.Addr().String()
	}
	return c.Prefix.String()
}

// TooSoon is a refusal that time lifts.
type TooSoon struct {
	delivery.Refusal

	Wait time.Duration
}

// Unwrap returns the refusal.
func (e *TooSoon) Unwrap() error { return &e.Refusal }

// tries counts tries to sign in that failed. The zero value is ready.
type tries struct {
	mu  sync.Mutex
	of  map[client]strikes
	all strikes
}

// strikes is how often something failed in a row, and when last.
type strikes struct {
	n    int
	last time.Time
}

// at returns what is left of s at now.
func (s strikes) at(now time.Time) strikes {
	if now.Sub(s.last) >= forgetTime {
		return strikes{}
	}
	return s
}

// until returns when the next try is looked at.
func (s strikes) until(free int, longest time.Duration) time.Time {
	if s.n < free {
		return time.Time{}
	}
	wait := longest
	if doubled := s.n - free; doubled < 16 {
		wait = min(longest, firstWait<<doubled)
	}
	return s.last.Add(wait)
}

// soon refuses a try that comes too soon after those that failed.
func (t *tries) soon(from client, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := t.of[from].at(now)
	if wait := one.until(freeTries, longestWait).Sub(now); wait > 0 {
		return tooSoon(fmt.Sprintf("%d tries to sign in from %s failed", one.n, from), wait)
	}
	if wait := t.all.at(now).until(freeTotal, longestAll).Sub(now); wait > 0 {
		return tooSoon("many tries to sign in failed", wait)
	}
	return nil
}

func tooSoon(why string, wait time.Duration) error {
	wait = time.Duration(math.Ceil(wait.Seconds())) * time.Second
	return &TooSoon{Wait: wait, Refusal: delivery.Refusal{
		Code: delivery.CodeTooManyTries, Field: "token", Why: fmt.Sprintf("%s; the next one is looked at in %d s", why, wait/time.Second),
		Who: "time does; a link of slipway open need not wait", Next: "slipway open",
	}}
}

// failed counts a try that failed.
func (t *tries) failed(from client, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = strikes{t.all.at(now).n + 1, now}
	if t.of == nil {
		t.of = map[client]strikes{}
	}
	if _, there := t.of[from]; !there && len(t.of) >= maxClients {
		t.forget(now)
	}
	t.of[from] = strikes{t.of[from].at(now).n + 1, now}
}

// forget makes room: what is over goes, else what failed longest ago.
func (t *tries) forget(now time.Time) {
	var oldest client
	at := now
	for c, s := range t.of {
		if s.at(now).n == 0 {
			delete(t.of, c)
		} else if !s.last.After(at) {
			oldest, at = c, s.last
		}
	}
	if len(t.of) >= maxClients {
		delete(t.of, oldest)
	}
}
