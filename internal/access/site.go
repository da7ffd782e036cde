package access

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// FromHere refuses what was asked under another name or by another site, whoever asks.
func (g *Guard) FromHere(r *http.Request) error {
	if err := g.Named(r); err != nil {
		return err
	}
	return sameSite(r)
}

// Named refuses what was asked under a name that is not this server's.
func (g *Guard) Named(r *http.Request) error {
	if ours(g.d.Addr, r.Host) {
		return nil
	}
	return &delivery.Refusal{Code: delivery.CodeWrongHost, Why: "this server does not answer to the name " + hostOnly(r.Host), Next: "ask http://127.0.0.1 or the address the server was started with"}
}

// ours reports whether a Host header names the server at addr. A name that somebody
// else points at 127.0.0.1 (DNS rebinding) does not; an address always means us.
func ours(addr, hostport string) bool {
	host := hostOnly(hostport)
	if strings.EqualFold(host, "localhost") {
		return true
	}
	configured := hostOnly(addr)
	if host != "" && strings.EqualFold(host, configured) {
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	if ip.Unmap().IsLoopback() {
		return true
	}
	bound, err := netip.ParseAddr(configured)
	return err == nil && bound.IsUnspecified() || configured == "" && addr != ""
}

// hostOnly returns the host of host, host:port, [v6] or [v6]:port.
func hostOnly(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
}

// sameSite refuses what a page of another site sends. Pages of other ports of
// this machine are other sites too: the services that Slipway runs are there.
func sameSite(r *http.Request) error {
	site := r.Header.Get("Sec-Fetch-Site")
	switch site {
	case "", "none", "same-origin":
	default:
		return crossSite("a page of another site asked")
	}
	origins := r.Header.Values("Origin")
	if len(origins) > 0 && !ownOrigin(r, origins) {
		return crossSite("the origin " + strings.Join(origins, ", ") + " is not this server")
	}
	return nil
}

// ownPage reports whether a browser says that a page of this server sends r.
func ownPage(r *http.Request) bool {
	origins := r.Header.Values("Origin")
	return r.Header.Get("Sec-Fetch-Site") == "same-origin" || len(origins) > 0 && ownOrigin(r, origins)
}

// ownOrigin reports whether the origin of a request is this server. A browser that
// says same-origin knows the scheme better than we do where something in front of us
// speaks TLS.
func ownOrigin(r *http.Request, origins []string) bool {
	u, err := url.Parse(origins[0])
	if len(origins) > 1 || err != nil || !strings.EqualFold(u.Host, r.Host) {
		return false
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return u.Scheme == scheme || u.Scheme == "https" && r.Header.Get("Sec-Fetch-Site") == "same-origin"
}

// changes reports whether a method may change something.
func changes(method string) bool {
	return method != http.MethodGet && method != http.MethodHead && method != http.MethodOptions
}

func crossSite(why string) error {
	return &delivery.Refusal{Code: delivery.CodeCrossSite, Why: why, Next: "ask from the command line, or from a page of this server"}
}

// ErrWithheld says that a browser followed a link of another site and keeps the
// session back, as it should. From a page of this server it will show it.
var ErrWithheld = errors.New("a link on another site led here, and the browser keeps the session back")

// led reports whether a link on another site led a person here. It may look; what
// the page of another site itself asks for is not a document.
func led(r *http.Request) bool {
	h := r.Header
	return r.Method == http.MethodGet && h.Get("Sec-Fetch-Mode") == "navigate" && h.Get("Sec-Fetch-Dest") == "document" &&
		(h.Get("Sec-Fetch-Site") == "cross-site" || h.Get("Sec-Fetch-Site") == "same-site") && len(h.Values("Origin")) == 0
}

// markTime bounds how long it is known that a browser was asked to load a page again.
const markTime = 5 // seconds

// mark reports whether the browser that was led here shall load the page again, and
// lets it remember that it was told so: it is told once.
func (g *Guard) mark(w http.ResponseWriter, r *http.Request) bool {
	if _, err := r.Cookie(g.Cookie()); err == nil {
		return false
	}
	if _, err := r.Cookie(g.markName()); err == nil {
		return false
	}
	http.SetCookie(w, &http.Cookie{Name: g.markName(), Value: "1", Path: "/", HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteLaxMode, MaxAge: markTime})
	return true
}

// unmark lets the browser forget what mark told it, for the next link.
func (g *Guard) unmark(w http.ResponseWriter, r *http.Request) {
	if _, err := r.Cookie(g.markName()); err == nil {
		http.SetCookie(w, &http.Cookie{Name: g.markName(), Path: "/", HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteLaxMode, MaxAge: -1})
	}
}

func (g *Guard) markName() string { return "slipway_again_" + g.port }
