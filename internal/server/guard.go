package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// harden sets the headers every answer has, whoever asked.
func harden(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
}

// admit says who may not even ask. A browser is turned away before its token is
// looked at: a page of another site must learn nothing, not even whether a
// token is right.
func (s *Server) admit(r *http.Request, open bool) *problem {
	if !s.ours(r.Host) {
		p := newProblem(codeWrongHost, "this server does not answer to the name "+hostOnly(r.Host))
		p.Hint = "ask http://127.0.0.1 or the address the server was started with"
		return p
	}
	if p := sameSite(r); p != nil {
		return p
	}
	if open || tokenOf(r).is(s.d.Token) {
		return nil
	}
	p := newProblem(codeUnauthorized, "this needs the token of the server")
	if r.Header.Get("Authorization") != "" {
		p.Detail = "this is not the token of the server"
	}
	p.Hint = "slipway status finds the token by itself; or set SLIPWAY_TOKEN from STATE/token"
	return p
}

// ours reports whether a Host header names this server. A name that somebody
// else points at 127.0.0.1 (DNS rebinding) does not; an address always means us.
func (s *Server) ours(hostport string) bool {
	host := hostOnly(hostport)
	if strings.EqualFold(host, "localhost") {
		return true
	}
	configured := hostOnly(s.d.Addr)
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
	return err == nil && bound.IsUnspecified() || configured == "" && s.d.Addr != ""
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
func sameSite(r *http.Request) *problem {
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

func crossSite(detail string) *problem {
	p := newProblem(codeCrossSite, detail)
	p.Hint = "ask from the command line, or from a page of this server"
	return p
}

// token is what a request shows as its right to ask.
type token string

// tokenOf returns the bearer token of a request, or "".
func tokenOf(r *http.Request) token {
	all := r.Header.Values("Authorization")
	if len(all) != 1 {
		return ""
	}
	scheme, rest, _ := strings.Cut(all[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token(strings.TrimSpace(rest))
}

// is compares in a time that depends on neither. The empty token is nobody's.
func (t token) is(want string) bool {
	a, b := sha256.Sum256([]byte(t)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1 && want != ""
}
