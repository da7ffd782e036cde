package server

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// A token opens everything, and nothing but the right one opens anything.
func TestToken(t *testing.T) {
	h := build(t).shop()
	for name, header := range map[string]map[string]string{
		"none":           {},
		"empty":          {"Authorization": ""},
		"wrong":          {"Authorization": "Bearer wrong"},
		"wrong scheme":   {"Authorization": "Basic " + testToken},
		"prefix":         {"Authorization": "Bearer " + testToken[:8]},
		"longer":         {"Authorization": "Bearer " + testToken + "x"},
		"no scheme":      {"Authorization": testToken},
		"empty bearer":   {"Authorization": "Bearer "},
		"in the cookie":  {"Cookie": "token=" + testToken},
		"in another one": {"X-Token": testToken},
	} {
		t.Run(name, func(t *testing.T) {
			r := h.call(ask{method: "GET", path: "/status", bare: true, header: header})
			p := r.problem(http.StatusUnauthorized, delivery.CodeUnauthorized)
			if !strings.Contains(p.Hint, "slipway status") || !strings.Contains(p.Hint, "STATE/token") {
				t.Errorf("hint = %q, want where the token is", p.Hint)
			}
			if got := r.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer") {
				t.Errorf("WWW-Authenticate = %q, want Bearer", got)
			}
			if strings.Contains(string(r.Body), testToken) {
				t.Error("the answer holds the token")
			}
		})
	}
	h.call(ask{method: "GET", path: "/status", bare: true, header: map[string]string{"Authorization": "bearer " + testToken}}).want(http.StatusOK)
}

// Only what is the same for every Slipway is open, and what is unknown is not
// told from what is closed.
func TestWhatNeedsNoToken(t *testing.T) {
	h := build(t).shop()
	open := map[string]bool{"/healthz": true, "/docs": true, "/openapi.json": true, "/openapi.yaml": true}
	for path := range open {
		h.call(ask{method: "GET", path: path, bare: true}).want(http.StatusOK)
	}
	for _, route := range contract() {
		if open[route.path] {
			continue
		}
		r := h.call(ask{method: route.method, path: route.example, bare: true}).want(http.StatusUnauthorized)
		if route.method != http.MethodHead {
			r.problem(http.StatusUnauthorized, delivery.CodeUnauthorized)
		}
	}
	for _, path := range []string{"/nowhere", "/", "/healthz/", "/docs/x"} {
		h.call(ask{method: "GET", path: path, bare: true}).problem(http.StatusUnauthorized, delivery.CodeUnauthorized)
	}
}

// A name that someone else points at this machine is not answered to.
func TestHost(t *testing.T) {
	h := build(t)
	port := h.url[strings.LastIndex(h.url, ":")+1:]
	for _, host := range []string{"127.0.0.1:" + port, "localhost:" + port, "LOCALHOST", "127.0.0.2", "[::1]:" + port, "[::1]", "[::ffff:127.0.0.1]:80"} {
		h.call(ask{method: "GET", path: "/healthz", header: map[string]string{"Host": host}}).want(http.StatusOK)
	}
	for _, host := range []string{"evil.example", "evil.example:" + port, "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1:" + port, "0.0.0.0:" + port, "[::]:" + port, "xn--localhost", "localhost.", "localhost:80:80", "127.1", "2130706433"} {
		h.call(ask{method: "GET", path: "/healthz", header: map[string]string{"Host": host}}).problem(http.StatusMisdirectedRequest, delivery.CodeWrongHost)
		h.call(ask{method: "POST", path: "/services/cart/rollback", contentType: "application/json", header: map[string]string{"Host": host}}).problem(http.StatusMisdirectedRequest, delivery.CodeWrongHost)
	}
}

// A page of another site, or of another port of this machine, is turned away,
// even if it got hold of the token.
func TestCrossSite(t *testing.T) {
	h := build(t).shop()
	for name, header := range map[string]map[string]string{
		"another origin":      {"Origin": "https://evil.example"},
		"another port":        {"Origin": "http://127.0.0.1:3000"},
		"another scheme":      {"Origin": strings.Replace(h.url, "http:", "https:", 1)},
		"an opaque origin":    {"Origin": "null"},
		"an empty origin":     {"Origin": ""},
		"a cross-site fetch":  {"Sec-Fetch-Site": "cross-site"},
		"a neighbour's fetch": {"Sec-Fetch-Site": "same-site"},
		"a new word":          {"Sec-Fetch-Site": "nearby"},
	} {
		t.Run(name, func(t *testing.T) {
			h.call(ask{method: "POST", path: "/services/cart/rollback", contentType: "application/json", header: header}).problem(http.StatusForbidden, delivery.CodeCrossSite)
			h.call(ask{method: "GET", path: "/status", header: header}).problem(http.StatusForbidden, delivery.CodeCrossSite)
		})
	}
	h.call(ask{method: "GET", path: "/status", header: map[string]string{"Origin": h.url, "Sec-Fetch-Site": "same-origin"}}).want(http.StatusOK)
	h.call(ask{method: "GET", path: "/status", header: map[string]string{"Sec-Fetch-Site": "none"}}).want(http.StatusOK)
}

// No answer may be framed, sniffed, cached or read by another site.
func TestHeaders(t *testing.T) {
	h := build(t)
	for _, a := range []ask{{method: "GET", path: "/healthz"}, {method: "GET", path: "/docs"}, {method: "GET", path: "/nowhere"}, {method: "GET", path: "/status", bare: true}} {
		r := h.call(a)
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Cache-Control": "no-store", "Cross-Origin-Resource-Policy": "same-origin"} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s: %s = %q, want %q", r.asked, name, got, want)
			}
		}
		if got := r.Header.Get("Access-Control-Allow-Origin"); got != "" {
			t.Errorf("%s: Access-Control-Allow-Origin = %q, want none", r.asked, got)
		}
		if got := r.Header.Get("Content-Security-Policy"); !strings.Contains(got, "default-src 'none'") {
			t.Errorf("%s: Content-Security-Policy = %q", r.asked, got)
		}
	}
}

// Who may do what is listed as the routes have it, each of them once, from those
// who may least on.
func TestRights(t *testing.T) {
	h := build(t)
	all := h.server.Rights()
	there, level := map[string]delivery.Access{}, 0
	for _, r := range all {
		if _, twice := there[r.Route]; twice || r.What == "" {
			t.Errorf("%+v is listed twice, or says nothing", r)
		}
		there[r.Route] = r.Need
		at := slices.Index(delivery.Accesses(), r.Need)
		if at+1 < level {
			t.Errorf("%+v comes too late", r)
		}
		level = at + 1
	}
	for _, c := range contract() {
		undescribed := c.method == "HEAD" || strings.HasPrefix(c.path, "/openapi") || c.path == "/docs"
		if _, listed := there[c.method+" "+c.path]; !listed && !undescribed {
			t.Errorf("%s %s is not listed", c.method, c.path)
		}
	}
	for route, want := range map[string]delivery.Access{"GET /healthz": delivery.Nobody, "GET /changes": delivery.Reader, "POST /changes": delivery.Deployer, "PUT /project": delivery.Admin} {
		if got := there[route]; got != want {
			t.Errorf("%s needs %q, want %q", route, got, want)
		}
	}
}
