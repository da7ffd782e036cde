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
}

// httpAsked is a request that net/http has read.
type httpAsked struct{ r *http.Request }

func (a httpAsked) Method() string   { return a.r.Method }
func (a httpAsked) Host() string     { return a.r.Host }
func (a httpAsked) Path() string     { return a.r.URL.Path }
func (a httpAsked) RawQuery() string { return a.r.URL.RawQuery }

func (a httpAsked) Proto() string { return a.r.Proto }

func (a httpAsked) Scheme() string {
	if a.r.TLS != nil {
		return "https"
	}
	return "http"
}

func (a httpAsked) Lines() iter.Seq2[string, string] { return httpLines(a.r.Header).Lines() }

func (a httpAsked) Value(name string, i int) (string, bool) {
	if all := a.r.Header[name]; i < len(all) {
		return all[i], true
	}
	return "", false
}

func (a httpAsked) Peer() netip.Addr {
	at, err := netip.ParseAddrPort(a.r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap()
}
