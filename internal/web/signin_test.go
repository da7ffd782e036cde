package web

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/slipway-cd/slipway/internal/access"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/web/browsertest"
)

// link asks for a sign-in link, as the API does for who holds a token.
func (h *house) link(token, user string) string {
	h.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:7500/", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set(access.UserHeader, user)
	pass, err := h.pages.d.Guard.Enter(httptest.NewRecorder(), r)
	if err != nil {
		h.t.Fatal(err)
	}
	l, err := h.pages.d.Guard.Link(h.t.Context(), pass)
	if err != nil {
		h.t.Fatal(err)
	}
	return l.Path
}

// A token opens the page that was asked for; a wrong one says so and what helps.
func TestSignInByToken(t *testing.T) {
	h := build(t).project(harborYAML)
	p := h.nobody()
	r := p.get("/graph?env=prod").want(http.StatusSeeOther)
	at := r.Header.Get("Location")
	if at != "/sign-in?to=%2Fgraph%3Fenv%3Dprod" {
		t.Errorf("Location = %q", at)
	}
	p.get(at).want(http.StatusOK).has(`name="to" value="/graph?env=prod"`, `type="password"`).hides("Sign out", "Board")
	p.post("/sign-in", url.Values{"token": {"wrong"}, "to": {"/graph"}}).want(http.StatusForbidden).says("this is no token of this server", "slipway open").has(`value="/graph"`).hides("wrong")
	r = p.post("/sign-in", url.Values{"token": {" " + testToken + "\n"}, "to": {"/graph?env=prod"}}).want(http.StatusSeeOther)
	if at := r.Header.Get("Location"); at != "/graph?env=prod" {
		t.Errorf("Location = %q", at)
	}
	p.get("/").want(http.StatusOK).says("owner admin", "Sign out")
	for _, to := range []string{"https://evil.example", "//evil.example", `/\evil.example`, "/\t/evil.example", "javascript:alert(1)", ""} {
		if at := h.nobody().post("/sign-in", url.Values{"token": {testToken}, "to": {to}}).Header.Get("Location"); at != "/" {
			t.Errorf("after sign-in to %q one is at %q", to, at)
		}
	}
}

// Who fails to sign in too often is told how long to wait, by the page and for programs.
func TestSignInWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the wait is over after a second, however busy the machine is
		h := build(t).project(harborYAML)
		p := h.nobody()
		for range 5 {
			p.post("/sign-in", url.Values{"token": {"wrong"}}).want(http.StatusForbidden)
		}
		r := p.post("/sign-in", url.Values{"token": {testToken}}).want(http.StatusTooManyRequests).says("5 tries to sign in from 127.0.0.1 failed", "looked at in 1 s", "slipway open")
		if r.Header.Get("Retry-After") != "1" {
			t.Errorf("Retry-After = %q, want 1", r.Header.Get("Retry-After"))
		}
		_, code, _ := strings.Cut(h.link(testToken, "ann"), "=")
		p.post("/sign-in", url.Values{"code": {code}}).want(http.StatusSeeOther)
		p.get("/").want(http.StatusOK).says("ann admin")
	})
}

// A link shows one button, however often it is looked at, and works once.
func TestSignInByLink(t *testing.T) {
	h := build(t).project(harborYAML)
	path := h.link(testToken, "ann")
	_, code, _ := strings.Cut(path, "=")
	for range 3 {
		r := h.nobody().get(path+"&to=/graph").want(http.StatusOK).says("signs this browser in as ann , admin.").has(`name="code" value="`+code+`"`, `value="/graph"`)
		if strings.Count(r.Body, code) != 1 || strings.Count(r.Body, "<button class=\"button") != 1 || strings.Contains(r.Body, "type=\"password\"") {
			t.Errorf("want the code once and one button:\n%s", r.Body)
		}
		if len(r.Header.Values("Set-Cookie")) > 0 {
			t.Error("to look at it signs in")
		}
	}
	p := h.nobody()
	r := p.post("/sign-in", url.Values{"code": {code}, "to": {"/graph"}}).want(http.StatusSeeOther)
	if at := r.Header.Get("Location"); at != "/graph" {
		t.Errorf("Location = %q", at)
	}
	p.get("/").want(http.StatusOK).says("ann admin").hides(code)
	h.nobody().post("/sign-in", url.Values{"code": {code}}).want(http.StatusForbidden).says("this link was used", "slipway open").hides(code)
	r = h.nobody().get(path).want(http.StatusForbidden).says("this link was used")
	if strings.Contains(r.Body, code) {
		t.Error("a code that is used up is on the page")
	}
}

// Under a name that somebody else points here nothing is shown, not even what anybody
// may see: a page under that name is theirs to read.
func TestForeignNames(t *testing.T) {
	h := build(t).project(harborYAML)
	for _, path := range []string{"/", "/sign-in", "/nowhere", "/static/nothing.css", h.link(testToken, "ann")} {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Host = "evil.example:7500"
		rec := httptest.NewRecorder()
		h.pages.ServeHTTP(rec, r)
		if rec.Code != http.StatusMisdirectedRequest || strings.Contains(rec.Body.String(), "<form") || !strings.Contains(rec.Body.String(), "does not answer to the name evil.example") {
			t.Errorf("%s as evil.example = %d %s", path, rec.Code, rec.Body)
		}
	}
}

// With the switch on, everybody reads, and the page says so; to do something they
// sign in.
func TestAnonymousRead(t *testing.T) {
	h := build(t).project(harborYAML)
	p := h.anyone()
	p.get("/").want(http.StatusOK).says("read-only, not signed in", "Sign in").has(`href="/sign-in?to=%2f"`).hides("Sign out")
	h.nobody().get("/").want(http.StatusSeeOther)
	p.post("/sign-in", url.Values{"token": {testToken}}).want(http.StatusSeeOther)
	p.get("/").want(http.StatusOK).says("owner admin", "Sign out").hides("not signed in")
}

// Only an admin goes past the order of environments, by the page too.
func TestBreakGlassOnThePage(t *testing.T) {
	h := build(t).project(harborYAML)
	const path = "/act/deploy?service=cart&version=v2&env=prod&break_glass=1&reason=fire&planned=1"
	h.deployer().get(path).says("only an admin goes past the order of environments, and dora is a deployer")
	h.admin().get(path).hides("only an admin")
}

// Who was let in no longer is: the stream of a page says so and ends, though its
// request showed a session that was good.
func TestStreamEndsWithTheToken(t *testing.T) {
	h := build(t).project(harborYAML)
	s := h.serve()
	secret := h.token("rita", delivery.Reader)
	res, err := http.DefaultTransport.RoundTrip(form(t, s.url("/sign-in"), url.Values{"token": {secret}}))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url("/"), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	for _, c := range res.Cookies() {
		req.AddCookie(c)
	}
	stream, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	lines := bufio.NewScanner(stream.Body)
	lines.Buffer(nil, 1<<20)
	heard := func(what string) bool {
		for lines.Scan() {
			if strings.Contains(lines.Text(), what) {
				return true
			}
		}
		return false
	}
	if !heard("can be deployed right now") {
		t.Fatal("the stream does not begin with the page")
	}
	if _, err := h.pages.d.Guard.Revoke(t.Context(), "rita", "ann"); err != nil {
		t.Fatal(err)
	}
	if !heard("event: gone") || heard("event: beat") || lines.Err() != nil {
		t.Errorf("the stream goes on, or broke off: %v", lines.Err())
	}
}

// form is a form that is sent.
func form(t *testing.T, to string, values url.Values) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, to, strings.NewReader(values.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// A person follows a link on another site, in a real browser that keeps the session
// back: one is there, signed in, after a page in between that no one sees.
func TestLinkOnAnotherSite(t *testing.T) {
	t.Parallel()
	h := build(t).project(harborYAML)
	s := h.serve()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	chat := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `<!doctype html><html lang="en"><title>chat</title><link rel="icon" href="data:,"><a id="link" href="%s">look at this</a>`, s.url("/graph?env=prod"))
	}))
	chat.Listener.Close()
	chat.Listener = l
	chat.Start()
	t.Cleanup(chat.Close)
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := "http://localhost:" + port // to a browser, another site than 127.0.0.1
	for _, noScript := range []bool{false, true} {
		t.Run(fmt.Sprintf("without script %t", noScript), func(t *testing.T) {
			tab := s.openFor(t, browsertest.Options{NoScript: noScript})
			tab.Forgive(func(fault string) bool { return strings.Contains(fault, elsewhere) || expected(fault) })
			for range 2 { // the second time as the first
				before := len(tab.Opened())
				tab.Is(fmt.Sprintf("(location.href = %q)", elsewhere))
				tab.Click("#link")
				tab.Await("the graph is there", `location.pathname === "/graph" && document.querySelector("#who") !== null`)
				asked := func() (n int) {
					for _, a := range tab.Opened()[before:] {
						if a == "GET "+s.url("/graph?env=prod") {
							n++
						}
					}
					return n
				}
				h.eventually("the browser has told of both times that the page was asked for", func() bool { return asked() >= 2 }, func() string { return fmt.Sprint(asked(), " times") })
				if n := asked(); n != 2 {
					t.Errorf("the page was asked for %d times, want twice", n)
				}
			}
		})
	}
	t.Run("not signed in", func(t *testing.T) {
		tab := chromium.Open(t, browsertest.Options{Origin: s.url("")})
		tab.Forgive(func(fault string) bool { return strings.Contains(fault, elsewhere) })
		tab.Go("/sign-in")
		tab.Is(fmt.Sprintf("(location.href = %q)", elsewhere))
		tab.Click("#link")
		tab.Await("the sign-in is there", `location.pathname === "/sign-in"`)
		if at := tab.Path(); at != "/sign-in?to=%2Fgraph%3Fenv%3Dprod" {
			t.Errorf("one is at %s", at)
		}
	})
}

// The page in between names the icon, too: a browser that finds none asks for
// /favicon.ico, which is not there, if it has the time.
func TestPageInBetweenHasTheIcon(t *testing.T) {
	rec := httptest.NewRecorder()
	new(Web).again(rec)
	icon, err := asset("icon.svg")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(rec.Body.String(), `<link rel="icon" href="`+icon+`"`) {
		t.Errorf("the page is %s", rec.Body)
	}
}
