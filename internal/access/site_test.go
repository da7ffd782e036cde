package access

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

// The name a server is started under is its own; addresses mean a server that
// listens on all of them.
func TestOwnNames(t *testing.T) {
	for _, c := range []struct {
		addr, host string
		ours       bool
	}{
		{"slipway.example:7500", "slipway.example:7500", true},
		{"slipway.example:7500", "SLIPWAY.example", true},
		{"slipway.example:7500", "other.example", false},
		{"slipway.example:7500", "slipway.example.", false},
		{"slipway.example:7500", "127.0.0.1:7500", true},
		{"10.0.0.5:7500", "10.0.0.5:7500", true},
		{"10.0.0.5:7500", "10.0.0.6:7500", false},
		{"0.0.0.0:7500", "10.0.0.6:7500", true},
		{"[::]:7500", "[2001:db8::1]:7500", true},
		{":7500", "10.0.0.6:7500", true},
		{"0.0.0.0:7500", "evil.example:7500", false},
		{":7500", "evil.example:7500", false},
		{":7500", "localhost.evil.example", false},
		{"127.0.0.1:7500", "10.0.0.6", false},
		{"127.0.0.1:7500", "127.1", false},
		{"127.0.0.1:7500", "2130706433", false},
		{"127.0.0.1:7500", "", false},
		{"", "", false},
		{"", "10.0.0.6", false},
	} {
		if got := ours(c.addr, c.host); got != c.ours {
			t.Errorf("at %q, ours(%q) = %v, want %v", c.addr, c.host, got, c.ours)
		}
	}
}

// Whatever a Host header is, a server on loopback answers to it only if it is
// localhost or a loopback address: nobody else's name leads there.
func FuzzHost(f *testing.F) {
	for _, seed := range []string{"localhost:1", "127.0.0.1", "[::1]:80", "evil.example", "127.0.0.1.evil.example", "[::ffff:127.0.0.1]", "[fe80::1%lo]:1", "localhost\x00", "@localhost", "a:b:c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if !ours(testAddr, host) {
			return
		}
		name := hostOnly(host)
		ip, err := netip.ParseAddr(name)
		if !strings.EqualFold(name, "localhost") && (err != nil || !ip.Unmap().IsLoopback()) {
			t.Errorf("ours(%q) = true", host)
		}
	})
}

// Whatever an Origin header is, it is ours only if it names our scheme and our host
// and port, and nothing else.
func FuzzOrigin(f *testing.F) {
	for _, seed := range []string{"http://" + testAddr, "https://" + testAddr, "http://127.0.0.1", "null", "", "http://" + testAddr + ".evil.example", "http://evil.example#http://" + testAddr, "http://user@" + testAddr} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, origin string) {
		r := httptest.NewRequest(http.MethodPost, "http://"+testAddr+"/", nil)
		r.Header["Origin"] = []string{origin}
		if !ownOrigin(r, r.Header.Values("Origin")) {
			return
		}
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "http" || u.Host != testAddr {
			t.Errorf("%q is taken for our origin", origin)
		}
		r.Header["Origin"] = []string{origin, origin}
		if ownOrigin(r, r.Header.Values("Origin")) {
			t.Error("two origins are one")
		}
	})
}

// A page of another site is turned away, whatever it shows. What changes something
// with a session has to come from a page of ours; with a token it need not.
func TestCrossSite(t *testing.T) {
	h := build(t)
	in := h.browser()
	h.wants("sign in", in.signIn(rootToken), "")
	const refused = "cross_site"
	home := "http://" + testAddr
	for _, c := range []struct {
		name             string
		header           []string
		get, post, token string
	}{
		{"nothing", nil, "owner", refused, "api"},
		{"our page", []string{"Sec-Fetch-Site", "same-origin"}, "owner", "owner", "api"},
		{"our page, both", []string{"Sec-Fetch-Site", "same-origin", "Origin", home}, "owner", "owner", "api"},
		{"our origin", []string{"Origin", home}, "owner", "owner", "api"},
		{"typed", []string{"Sec-Fetch-Site", "none"}, "owner", refused, "api"},
		{"behind TLS", []string{"Sec-Fetch-Site", "same-origin", "Origin", "https://" + testAddr}, "owner", "owner", "api"},
		{"another scheme", []string{"Origin", "https://" + testAddr}, refused, refused, refused},
		{"another port", []string{"Origin", "http://127.0.0.1:3000"}, refused, refused, refused},
		{"another site", []string{"Origin", "https://evil.example"}, refused, refused, refused},
		{"same-origin, they say", []string{"Sec-Fetch-Site", "same-origin", "Origin", "https://evil.example"}, refused, refused, refused},
		{"opaque", []string{"Origin", "null"}, refused, refused, refused},
		{"empty", []string{"Origin", ""}, refused, refused, refused},
		{"cross-site", []string{"Sec-Fetch-Site", "cross-site"}, refused, refused, refused},
		{"a neighbour", []string{"Sec-Fetch-Site", "same-site"}, refused, refused, refused},
		{"a new word", []string{"Sec-Fetch-Site", "nearby"}, refused, refused, refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			in.header = http.Header{}
			for i := 0; i+1 < len(c.header); i += 2 {
				in.header.Set(c.header[i], c.header[i+1])
			}
			h.wants("GET with a session", in.ask("GET", "/api/x"), c.get)
			h.wants("POST with a session", in.ask("POST", "/api/x"), c.post)
			h.wants("HEAD with a session", in.ask("HEAD", "/api/x"), c.get)
			h.wants("DELETE with a session", in.ask("DELETE", "/api/x"), c.post)
			out := h.browser()
			out.header = in.header.Clone()
			out.header.Set("Authorization", "Bearer "+rootToken)
			h.wants("POST with a token", out.ask("POST", "/api/x"), c.token)
		})
	}
	in.header = http.Header{"Sec-Fetch-Site": {"cross-site"}}
	for _, path := range []string{"/sign-in", "/sign-out", "/redeem"} {
		h.wants(path, in.ask("POST", path, "token="+rootToken+"&code="+h.link()), refused)
	}
	in.header = http.Header{}
	h.wants("sign-out without a word of its page", in.ask("POST", "/sign-out"), refused)
	h.wants("after all that", in.ask("GET", "/api/x"), "owner")
}

// A link on another site leads to a page: the browser keeps the session back, and is
// asked once to load the page again. Nothing but a person's click gets so far.
func TestLinksFromAfar(t *testing.T) {
	h := build(t)
	in := h.browser()
	in.signIn(rootToken)
	afar := http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}}

	kept := in.cookies[h.guard.Cookie()]
	delete(in.cookies, h.guard.Cookie()) // SameSite=Strict
	in.header = afar.Clone()
	h.wants("the click", in.ask("GET", "/changes/7"), "again")
	mark := in.cookies[h.guard.markName()]
	if mark == nil || mark.SameSite != http.SameSiteLaxMode || !mark.HttpOnly || mark.MaxAge != markTime {
		t.Fatalf("mark = %+v, want one that the next request shows, for %d s", mark, markTime)
	}
	in.cookies[h.guard.Cookie()] = kept
	in.header = http.Header{"Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}}
	h.wants("loaded again", in.ask("GET", "/changes/7"), "owner admin session")
	if in.cookies[h.guard.markName()] != nil {
		t.Error("the mark stays, and the next link would lead to the sign-in")
	}

	out := h.browser()
	out.header = afar.Clone()
	h.wants("nobody's click", out.ask("GET", "/changes/7"), "again")
	h.wants("a browser that says the same again", out.ask("GET", "/changes/7"), "  ") // nobody, and no third time

	for name, change := range map[string]func(http.Header){
		"a frame":      func(h http.Header) { h.Set("Sec-Fetch-Dest", "iframe") },
		"an image":     func(h http.Header) { h.Set("Sec-Fetch-Dest", "image"); h.Set("Sec-Fetch-Mode", "no-cors") },
		"a fetch":      func(h http.Header) { h.Set("Sec-Fetch-Dest", "empty"); h.Set("Sec-Fetch-Mode", "cors") },
		"with origin":  func(h http.Header) { h.Set("Origin", "https://evil.example") },
		"another word": func(h http.Header) { h.Set("Sec-Fetch-Site", "nearby") },
	} {
		b := h.browser()
		b.header = afar.Clone()
		change(b.header)
		h.wants(name, b.ask("GET", "/changes/7"), "cross_site")
	}
	in.header = afar.Clone()
	h.wants("a form of another site", in.ask("POST", "/changes/7"), "cross_site")
	h.wants("the API", in.ask("GET", "/api/changes/7"), "cross_site")
}
