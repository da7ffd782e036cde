package access

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Deps is what a guard knows and asks.
type Deps struct {
	Root   string // token of the server's owner, who may do everything; an empty one opens nothing
	Addr   string // host:port people reach the server at; its host is accepted in Host headers beside loopback
	Public bool   // who shows nothing may read
}

// Guard decides who may ask. It is safe for concurrent use; make it with New.
type Guard struct {
	d Deps

	mu       sync.Mutex
	sessions map[[sha256.Size]byte]session
}

type session struct {
	who  delivery.Who
	ends time.Time
}

// New returns a guard. It does no I/O.
func New(d Deps) *Guard { return &Guard{d: d, sessions: map[[sha256.Size]byte]session{}} }

// Cookie is the name of the cookie that holds a session.
const Cookie = "slipway_session"

const sessionTime = 12 * time.Hour

// Who returns who asks. Nobody is no error: whoever has to be somebody is
// checked by Need. An error is a *delivery.Refusal: the request came from another
// site or under another name, or what it shows is not right.
func (g *Guard) Who(r *http.Request) (delivery.Who, error) {
	if !ours(g.d.Addr, r.Host) {
		return delivery.Who{}, &delivery.Refusal{Code: delivery.CodeWrongHost, Why: "this server does not answer to the name " + hostOnly(r.Host), Next: "ask http://127.0.0.1 or the address the server was started with"}
	}
	if err := sameSite(r); err != nil {
		return delivery.Who{}, err
	}
	if r.Header.Get("Authorization") != "" {
		if same(bearer(r), g.d.Root) {
			return delivery.Who{Name: "api", Access: delivery.Admin}, nil
		}
		return delivery.Who{}, &delivery.Refusal{Code: delivery.CodeUnauthorized, Why: "this is not the token of the server", Next: "slipway status finds the token by itself; or set SLIPWAY_TOKEN from STATE/token"}
	}
	if c, err := r.Cookie(Cookie); err == nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		if s, ok := g.sessions[sha256.Sum256([]byte(c.Value))]; ok && time.Now().Before(s.ends) {
			return s.who, nil
		}
	}
	if g.d.Public {
		return delivery.Who{Name: "anonymous", Access: delivery.Reader}, nil
	}
	return delivery.Who{}, nil
}

// Need refuses who has less access than need: nobody with CodeUnauthorized,
// anybody else with CodeForbidden.
func Need(who delivery.Who, need delivery.Access) error {
	switch {
	case who.Access.Allows(need):
		return nil
	case who.Access == delivery.Nobody:
		return &delivery.Refusal{Code: delivery.CodeUnauthorized, Why: "this needs the token of the server", Next: "slipway status finds the token by itself; or set SLIPWAY_TOKEN from STATE/token"}
	}
	return &delivery.Refusal{Code: delivery.CodeForbidden, Why: who.Name + " is a " + string(who.Access) + ", and this needs a " + string(need), Who: "an admin gives access", Next: "slipway token create NAME --role " + string(need)}
}

// SignIn opens a session for who holds the token, and sets its cookie.
func (g *Guard) SignIn(w http.ResponseWriter, r *http.Request, token string) (delivery.Who, error) {
	if !same(token, g.d.Root) {
		return delivery.Who{}, &delivery.Refusal{Code: delivery.CodeUnauthorized, Field: "token", Why: "this is not a token of this server", Next: "slipway open prints a link that signs you in"}
	}
	who, value := delivery.Who{Name: "admin", Access: delivery.Admin}, rand.Text()
	g.mu.Lock()
	g.sessions[sha256.Sum256([]byte(value))] = session{who: who, ends: time.Now().Add(sessionTime)}
	g.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: Cookie, Value: value, Path: "/", HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode, MaxAge: int(sessionTime / time.Second)})
	return who, nil
}

// SignOut ends the session of a request, and takes its cookie back.
func (g *Guard) SignOut(w http.ResponseWriter, r *http.Request) error {
	if c, err := r.Cookie(Cookie); err == nil {
		g.mu.Lock()
		delete(g.sessions, sha256.Sum256([]byte(c.Value)))
		g.mu.Unlock()
	}
	http.SetCookie(w, &http.Cookie{Name: Cookie, Path: "/", HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode, MaxAge: -1})
	return nil
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
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
	default:
		return crossSite("a page of another site asked")
	}
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		return nil
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	u, err := url.Parse(origins[0])
	if len(origins) > 1 || err != nil || u.Scheme != scheme || !strings.EqualFold(u.Host, r.Host) {
		return crossSite("the origin " + strings.Join(origins, ", ") + " is not this server")
	}
	return nil
}

func crossSite(why string) error {
	return &delivery.Refusal{Code: delivery.CodeCrossSite, Why: why, Next: "ask from the command line, or from a page of this server"}
}

// bearer returns the bearer token of a request, or "".
func bearer(r *http.Request) string {
	all := r.Header.Values("Authorization")
	if len(all) != 1 {
		return ""
	}
	scheme, rest, _ := strings.Cut(all[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(rest)
}

// same compares in a time that depends on neither. The empty token is nobody's.
func same(token, want string) bool {
	a, b := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1 && want != ""
}
