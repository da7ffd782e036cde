package proxy

import (
	"iter"
	"net/http"
	"net/netip"

	"github.com/slipway-cd/slipway/internal/proxy/match"
)

// asked is what the way of a request depends on, whichever path has read it.
type asked interface {
	match.Request
	Host() string   // as sent: with its port, in any case
	Path() string   // decoded; "*" for OPTIONS of the whole server
	Proto() string  // "HTTP/1.1"
	Scheme() string // "http", or "https" when the caller's connection is encrypted
	lines           // without Host

	Remote() netip.Addr    // the other end of the connection
	asksFor(as netip.Addr) // sets Peer
}

// origin is where a request comes from.
type origin struct{ remote, client netip.Addr }

func (o *origin) Peer() netip.Addr       { return o.client }
func (o *origin) Remote() netip.Addr     { return o.remote }
func (o *origin) asksFor(who netip.Addr) { o.client = who }

// httpAsked is a request that net/http has read.
type httpAsked struct {
	r *http.Request
	origin
}

func asks(r *http.Request) httpAsked {
	a := httpAsked{r: r}
	if at, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		a.remote = at.Addr().Unmap()
		a.client = a.remote
	}
	return a
}

func (a *httpAsked) Method() string   { return a.r.Method }
func (a *httpAsked) Host() string     { return a.r.Host }
func (a *httpAsked) Path() string     { return a.r.URL.Path }
func (a *httpAsked) RawQuery() string { return a.r.URL.RawQuery }

func (a *httpAsked) Proto() string { return a.r.Proto }

func (a *httpAsked) Scheme() string {
	if a.r.TLS != nil {
		return "https"
	}
	return "http"
}

func (a *httpAsked) Lines() iter.Seq2[string, string] { return httpLines(a.r.Header).Lines() }

func (a *httpAsked) Value(name string, i int) (string, bool) {
	if all := a.r.Header[name]; i < len(all) {
		return all[i], true
	}
	return "", false
}
