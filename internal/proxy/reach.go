package proxy

import (
	"net"
	"path"
	"slices"
	"strings"

	"github.com/slipway-cd/slipway/internal/traffic"
)

// listener says which routes an address leads to.
type listener struct {
	spec  traffic.Listener
	only  *route
	hosts map[string][]prefix // "" is any host, ".example.org" every name below it; in the order they are tried
	wild  bool                // there is a host that begins with a dot
}

// prefix is one path at which a route is reached.
type prefix struct {
	path  string // without a slash at its end
	route *route
}

// listener resolves an address's routes; public ones by host and path.
func (t *table) listener(spec traffic.Listener) *listener {
	l := &listener{spec: spec, hosts: map[string][]prefix{}}
	if spec.Only != "" {
		l.only = t.routes[spec.Only]
		return l
	}
	for i := range t.spec.Routes {
		r := t.routes[t.spec.Routes[i].Name]
		if r.spec.Env != spec.Env {
			continue
		}
		for _, at := range r.spec.Reaches() {
			host, below := strings.CutPrefix(at.Host, "*")
			l.wild = l.wild || below
			l.hosts[host] = append(l.hosts[host], prefix{strings.TrimRight(at.Path, "/"), r})
		}
	}
	for _, prefixes := range l.hosts {
		slices.SortStableFunc(prefixes, func(a, b prefix) int {
			if d := len(b.path) - len(a.path); d != 0 {
				return d
			}
			return len(b.route.when) - len(a.route.when) // who asks for more is asked first
		})
	}
	return l
}

// match finds the route of a request: the edge's only one; else at the exact
// host, then at the longest wildcard above it, then at any host; there the
// longest path prefix that ends on a segment border, and among equals the one
// with the most conditions, all of which must hold.
func (l *listener) match(a asked) *route {
	if l.spec.Only != "" {
		return l.only
	}
	clean := a.Path()
	if strings.Contains(clean, "/.") || strings.Contains(clean, "//") {
		clean = path.Clean(clean) // a service may resolve dots too: both must mean the same route
	}
	host := hostOf(a.Host())
	if r := first(l.hosts[host], clean, a); r != nil {
		return r
	}
	if l.wild {
		for at := strings.IndexByte(host, '.'); at >= 0; {
			if r := first(l.hosts[host[at:]], clean, a); r != nil {
				return r
			}
			next := strings.IndexByte(host[at+1:], '.')
			if next < 0 {
				break
			}
			at += 1 + next
		}
	}
	return first(l.hosts[""], clean, a)
}

func first(prefixes []prefix, urlPath string, a asked) *route {
	for _, p := range prefixes {
		under := p.path == "" || // "*" of OPTIONS too
			strings.HasPrefix(urlPath, p.path) && (len(urlPath) == len(p.path) || urlPath[len(p.path)] == '/')
		if under && p.route.when.Holds(a) {
			return p.route
		}
	}
	return nil
}

// hostOf returns a Host header's name in lower case, without port and final dot.
func hostOf(hostport string) string {
	host := hostport
	if strings.Contains(hostport, ":") {
		if h, _, err := net.SplitHostPort(hostport); err == nil {
			host = h
		}
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}
