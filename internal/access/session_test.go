package access

import (
	"crypto/tls"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// The cookie of a session is out of reach of scripts and of other sites, has the port
// in its name, and goes over TLS only where it came over TLS.
func TestCookie(t *testing.T) {
	h := build(t)
	b := h.browser()
	b.signIn(rootToken)
	c := b.cookies["slipway_session_7500"]
	if c == nil {
		t.Fatalf("cookies = %v, want slipway_session_7500", b.cookies)
	}
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure || c.Path != "/" || c.Domain != "" || c.MaxAge != int(longestTime/time.Second) || len(c.Value) < 26 {
		t.Errorf("cookie = %+v", c)
	}
	front := h.browser() // something before us speaks TLS
	front.header.Set("Origin", "https://"+testAddr)
	front.header.Set("Sec-Fetch-Site", "same-origin")
	front.signIn(rootToken)
	if c := front.cookies["slipway_session_7500"]; c == nil || !c.Secure {
		t.Errorf("behind TLS: %+v, want Secure", c)
	}
}

// Over real TLS, with a real browser's jar.
func TestCookieOverTLS(t *testing.T) {
	h := build(t)
	srv := httptest.NewTLSServer(h)
	defer srv.Close()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := srv.Client()
	client.Jar = jar
	client.Transport.(*http.Transport).TLSClientConfig.MinVersion = tls.VersionTLS12
	res, err := client.PostForm(srv.URL+"/sign-in", url.Values{"token": {rootToken}})
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if c := res.Cookies(); len(c) != 1 || !c[0].Secure {
		t.Fatalf("cookies = %v, want one that is Secure", c)
	}
	res, err = client.Get(srv.URL + "/x")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var text [100]byte
	n, _ := res.Body.Read(text[:])
	h.wants("then", string(text[:n]), "owner admin session")
}

// A session is kept over a restart of the server, and is over when it is signed out.
func TestSessionOutlivesTheServer(t *testing.T) {
	h := build(t)
	b := h.browser()
	h.wants("before", b.ask("GET", "/x"), "  ")
	b.signIn(rootToken)
	h.stop()
	h.start()
	h.wants("after a restart", b.ask("GET", "/x"), "owner admin session")
	old := *b.cookies[h.guard.Cookie()]
	b.header.Set("Sec-Fetch-Site", "same-origin")
	h.wants("sign out", b.ask("POST", "/sign-out"), "")
	if b.session() != "" {
		t.Error("the cookie is still there")
	}
	b.cookies[old.Name] = &old
	h.wants("with the old cookie", b.ask("GET", "/x"), "  ")
	for _, value := range []string{"", "x", strings.Repeat("A", 26), rootToken, hashOf(old.Value)} {
		b.cookies[old.Name] = &http.Cookie{Name: old.Name, Value: value}
		h.wants("with "+value, b.ask("GET", "/x"), "  ")
	}
	h.stop()
	h.start(func(d *Deps) { d.Root = "another-owner-has-another-token" })
	b = h.browser()
	b.signIn("another-owner-has-another-token")
	h.wants("the new owner", b.ask("GET", "/x"), "owner admin session")
	h.stop()
	h.start()
	h.wants("when the owner's token is another", b.ask("GET", "/x"), "  ")
}

// Who signs in anew leaves no session behind.
func TestSignInEndsTheSessionBefore(t *testing.T) {
	h := build(t)
	b := h.browser()
	b.signIn(rootToken)
	first := *b.cookies[h.guard.Cookie()]
	b.signIn(h.token("ci", delivery.Reader, time.Time{}))
	h.wants("the new session", b.ask("GET", "/x"), "ci reader session")
	b.ask("POST", "/redeem", "code="+h.link())
	h.wants("the third", b.ask("GET", "/x"), "ann admin session")
	old := h.browser()
	old.cookies[first.Name] = &first
	h.wants("the first", old.ask("GET", "/x"), "  ")
	if n := h.sessions(); n != 1 {
		t.Errorf("%d sessions are kept, want one", n)
	}
}

// A session ends 12 hours after its last use and after 7 days in any case. To follow
// a page is no use.
func TestSessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t)
		idle, follows, used := h.browser(), h.browser(), h.browser()
		for _, b := range []*browser{idle, follows, used} {
			b.signIn(rootToken)
		}
		follows.header.Set("Accept", "text/event-stream")
		for at := time.Duration(0); at < longestTime; at += time.Hour {
			h.wants("used after "+at.String(), used.ask("GET", "/x"), "owner")
			want := "owner"
			if at >= idleTime {
				want = "  "
			}
			h.wants("followed after "+at.String(), follows.ask("GET", "/x"), want)
			if at == idleTime-time.Hour {
				time.Sleep(time.Hour - time.Millisecond)
				h.wants("idle for nearly 12 hours", h.peek(idle), "owner")
				time.Sleep(time.Millisecond)
				h.wants("idle for 12 hours", h.peek(idle), "")
				continue
			}
			time.Sleep(time.Hour)
		}
		h.wants("after 7 days", used.ask("GET", "/x"), "  ")
		used.signIn(rootToken)
		if n := h.sessions(); n != 1 {
			t.Errorf("%d sessions are kept, want the one in force", n)
		}
	})
}

// peek returns who a browser is, without using its session.
func (h *house) peek(b *browser) string {
	h.t.Helper()
	r := httptest.NewRequest("GET", "http://"+testAddr+"/x", nil)
	for _, c := range b.cookies {
		r.AddCookie(c)
	}
	who, err := h.guard.Who(r)
	if err != nil {
		h.t.Error(err)
	}
	return who.Name
}

// The value of a session is replaced each hour of use. Requests under way are not
// disturbed, an answer that is lost signs nobody out, and the value before is good for
// nothing a minute later.
func TestSessionTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t)
		b := h.browser()
		b.signIn(rootToken)
		first := *b.cookies[h.guard.Cookie()]
		time.Sleep(turnTime - time.Millisecond)
		h.wants("before the hour", b.ask("GET", "/x"), "owner")
		if b.session() != first.Value {
			t.Fatal("it was replaced before the hour")
		}
		time.Sleep(time.Millisecond)
		lost := h.browser()
		lost.cookies[first.Name] = &first
		h.wants("an answer that is lost", lost.ask("GET", "/x"), "owner")
		if lost.session() == first.Value {
			t.Fatal("it was not replaced after the hour")
		}
		h.wants("at the same time", b.ask("GET", "/x"), "owner")
		if b.session() != first.Value {
			t.Error("two values were handed out at once")
		}
		time.Sleep(oldTime)
		h.wants("a minute later, still with the first", b.ask("GET", "/x"), "owner")
		second := *b.cookies[first.Name]
		if second.Value == first.Value {
			t.Fatal("after a lost answer nothing is handed out")
		}
		if !second.HttpOnly || second.SameSite != http.SameSiteStrictMode || second.MaxAge >= first.MaxAge {
			t.Errorf("cookie = %+v", second)
		}
		h.wants("what was lost", lost.ask("GET", "/x"), "  ")

		// From the first use of the second on, the first is good for a minute.
		h.wants("with the second", b.ask("GET", "/x"), "owner")
		under := h.browser()
		under.cookies[first.Name] = &first
		time.Sleep(oldTime - time.Millisecond)
		h.wants("under way with the first", under.ask("GET", "/x"), "owner")
		if under.session() != first.Value {
			t.Error("who shows an old value is given a new one")
		}
		time.Sleep(time.Millisecond)
		h.wants("with the first, a minute later", under.ask("GET", "/x"), "  ")
		h.wants("with the second", b.ask("GET", "/x"), "owner")
	})
}

// Of many requests at the hour one is given a new value, and none is refused.
func TestSessionTurnsOnceForMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t)
		b := h.browser()
		b.signIn(rootToken)
		first := *b.cookies[h.guard.Cookie()]
		time.Sleep(turnTime)
		const many = 32
		values := make([]string, many)
		var all sync.WaitGroup
		for i := range many {
			all.Go(func() {
				one := h.browser()
				one.cookies[first.Name] = &first
				h.wants("one of many", one.ask("GET", "/x"), "owner")
				values[i] = one.session()
			})
		}
		all.Wait()
		handed := 0
		for _, v := range values {
			if v != first.Value {
				handed++
			}
		}
		if handed != 1 {
			t.Errorf("%d of %d were given a new value, want one", handed, many)
		}
	})
}

// A stream asks again and again whether its right still stands, whatever value its
// request once showed.
func TestStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t)
		secret := h.token("ci", delivery.Reader, time.Now().Add(48*time.Hour))
		b := h.browser()
		b.signIn(secret)
		pass := h.pass(b)
		byToken := h.pass(h.with(secret))
		for hour := range 20 { // its value is replaced many times
			b.ask("GET", "/x")
			if who, err := h.guard.Still(t.Context(), pass); err != nil || who.Name != "ci" || who.Access != delivery.Reader {
				t.Fatalf("after %d hours: %+v, %v", hour, who, err)
			}
			time.Sleep(time.Hour)
		}
		if _, err := h.guard.Revoke(t.Context(), "ci", "ann"); err != nil {
			t.Fatal(err)
		}
		for name, p := range map[string]Pass{"session": pass, "token": byToken} {
			if who, err := h.guard.Still(t.Context(), p); err != nil || who.Access != delivery.Nobody {
				t.Errorf("%s of a revoked token: %+v, %v", name, who, err)
			}
		}
		if who, err := h.guard.Still(t.Context(), Pass{}); err != nil || who.Access != delivery.Nobody {
			t.Errorf("nobody: %+v, %v", who, err)
		}
		if who, err := h.guard.Still(t.Context(), h.pass(h.with(rootToken))); err != nil || who.Access != delivery.Admin {
			t.Errorf("owner: %+v, %v", who, err)
		}
	})
}

// with is a client that shows a token.
func (h *house) with(token string) *browser {
	b := h.browser()
	b.header.Set("Authorization", "Bearer "+token)
	return b
}

// pass is what lets a browser in.
func (h *house) pass(b *browser) Pass {
	h.t.Helper()
	r := httptest.NewRequest("GET", "http://"+testAddr+"/x", nil)
	r.Header = b.header.Clone()
	for _, c := range b.cookies {
		r.AddCookie(c)
	}
	p, err := h.guard.Enter(httptest.NewRecorder(), r)
	if err != nil || p.Via == ViaNothing {
		h.t.Fatalf("pass = %+v, %v", p, err)
	}
	return p
}

// One token has a bounded number of sessions: the one used longest ago makes room.
func TestSessionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t)
		first, kept := h.browser(), h.browser()
		first.signIn(rootToken)
		kept.signIn(rootToken)
		for range 110 {
			time.Sleep(time.Minute)
			h.browser().signIn(rootToken)
			kept.ask("GET", "/x")
		}
		h.wants("the first", first.ask("GET", "/x"), "  ")
		h.wants("one that is used", kept.ask("GET", "/x"), "owner")
		if n := h.sessions(); n > 100 {
			t.Errorf("%d sessions are kept", n)
		}
	})
}
