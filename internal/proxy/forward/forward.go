// Package forward says for whom a request is: it decides whose word on that is taken,
// finds the caller behind believed proxies, and writes Forwarded (RFC 7239) and
// X-Forwarded-*. It keeps nothing and reads no socket; properties and fuzzing judge it.
//
// A peer is believed when it connects from a trusted range, or to an edge, where
// services of ours call. What anybody else says about forwarding is dropped, and the
// instance learns the peer alone. The caller, for rates, stickiness and logs, is the
// rightmost address in X-Forwarded-For that is not trusted; Forwarded is read only
// when there is no X-Forwarded-For. Via is not written, as HAProxy and nginx do not.
package forward

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// Headers that say for whom a request is.
const (
	For       = "X-Forwarded-For"
	Host      = "X-Forwarded-Host"
	Proto     = "X-Forwarded-Proto"
	Port      = "X-Forwarded-Port"
	RealIP    = "X-Real-Ip"
	Forwarded = "Forwarded"
)

// maxHops is how many addresses are looked at; whoever needs more is not found.
const maxHops = 64

// Trust is whose word is taken. The zero value takes nobody's.
type Trust []netip.Prefix

// Compile reads address ranges such as "10.0.0.0/8".
func Compile(ranges []string) (Trust, error) {
	if len(ranges) == 0 {
		return nil, nil
	}
	t := make(Trust, len(ranges))
	for i, r := range ranges {
		p, err := netip.ParsePrefix(r)
		if err != nil {
			return nil, fmt.Errorf("forward: range %d: %w", i+1, err)
		}
		t[i] = p
	}
	return t, nil
}

// Has says whether a is in one of the ranges.
func (t Trust) Has(a netip.Addr) bool {
	if len(t) == 0 {
		return false
	}
	a = a.Unmap()
	for _, p := range t {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// Lines is a request's header: the i-th line of a canonical name, from 0.
type Lines interface {
	Value(name string, i int) (string, bool)
}

// Client returns for whom a believed peer asks: the rightmost address that is
// not trusted. The walk ends at what is no address, as "unknown" and names that
// hide one are; then it is the last hop that could be read. If all are trusted it
// is the first of them.
func (t Trust) Client(peer netip.Addr, said Lines) netip.Addr {
	name, parse, comma := For, parseFor, lastComma
	if _, there := said.Value(For, 0); !there {
		name, parse, comma = Forwarded, parseForwarded, lastUnquotedComma
	}
	lines := 0
	for lines < maxHops {
		if _, there := said.Value(name, lines); !there {
			break
		}
		lines++
	}
	client := peer.Unmap()
	hops := 0
	for i := lines - 1; i >= 0; i-- {
		rest, _ := said.Value(name, i)
		for more := true; more; hops++ {
			if hops >= maxHops {
				return client
			}
			at := comma(rest)
			a, ok := parse(rest[at+1:])
			rest, more = rest[:max(at, 0)], at >= 0
			if !ok {
				return client
			}
			if client = a; !t.Has(a) {
				return client
			}
		}
	}
	return client
}

func lastComma(list string) int { return strings.LastIndexByte(list, ',') }

// lastUnquotedComma passes over commas within quotes, which separate nothing (RFC
// 9110, 5.6.1). A quote that is never closed is of somebody who wants to hide what
// proxies have written after it, and counts for nothing.
func lastUnquotedComma(list string) int {
	comma, quoted := -1, false
	for i := 0; i < len(list); i++ {
		switch {
		case quoted && list[i] == '\\':
			i++
		case list[i] == '"':
			quoted = !quoted
		case list[i] == ',' && !quoted:
			comma = i
		}
	}
	if quoted {
		return lastComma(list)
	}
	return comma
}

// parseFor reads an address as proxies write it: with or without a port, IPv6
// with or without brackets.
func parseFor(s string) (netip.Addr, bool) {
	s = strings.Trim(s, " \t")
	switch {
	case strings.HasPrefix(s, "["):
		end := strings.IndexByte(s, ']')
		if end < 0 || s[end+1:] != "" && s[end+1] != ':' {
			return netip.Addr{}, false
		}
		s = s[1:end]
	case strings.Count(s, ":") == 1:
		s, _, _ = strings.Cut(s, ":")
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, false
	}
	return a.Unmap(), true
}

// parseForwarded reads the "for" of one element of Forwarded.
func parseForwarded(element string) (netip.Addr, bool) {
	for pair := range strings.SplitSeq(element, ";") {
		name, value, ok := strings.Cut(pair, "=")
		if ok && strings.EqualFold(strings.Trim(name, " \t"), "for") {
			return parseFor(strings.Trim(strings.Trim(value, " \t"), `"`))
		}
	}
	return netip.Addr{}, false
}

// Way is how a request came.
type Way struct {
	Peer     netip.Addr // other end of the connection
	Host     string     // asked for
	Secure   bool       // over TLS
	Believed bool       // what the peer says about forwarding is continued, else dropped
}

// Append writes the header lines that an instance gets in place of every line
// named Forwarded, X-Forwarded-For, -Host and -Proto. X-Forwarded-Port and
// X-Real-Ip are passed on when the peer is believed, and else dropped.
func (w Way) Append(b []byte, said Lines) []byte {
	b = append(b, For+": "...)
	b = w.appendFor(b, said)
	b = append(b, "\r\n"+Host+": "...)
	b = append(b, w.host(said)...)
	b = append(b, "\r\n"+Proto+": "...)
	b = append(b, w.proto(said)...)
	b = append(b, "\r\n"+Forwarded+": "...)
	b = w.appendForwarded(b, said)
	return append(b, "\r\n"...)
}

// Set does in h what Append does for lines; h is what was said, too.
func (w Way) Set(h http.Header) {
	said := header(h)
	// One string for all of it: the values are parts of it.
	var store [256]byte
	b := w.appendFor(store[:0], said)
	n := len(b)
	all := string(w.appendForwarded(b, said))
	host, proto := w.host(said), w.proto(said)
	h[For], h[Forwarded] = []string{all[:n]}, []string{all[n:]}
	h[Host], h[Proto] = []string{host}, []string{proto}
	if !w.Believed {
		delete(h, Port)
		delete(h, RealIP)
	}
}

type header http.Header

// Value is Lines'.
func (h header) Value(name string, i int) (string, bool) {
	if all := h[name]; i < len(all) {
		return all[i], true
	}
	return "", false
}

// continued writes what a believed peer said in lines of that name.
func (w Way) continued(b []byte, said Lines, name string) []byte {
	if !w.Believed {
		return b
	}
	for i := 0; ; i++ {
		line, there := said.Value(name, i)
		if !there {
			return b
		}
		if line = strings.Trim(line, " \t"); line != "" {
			b = append(append(b, line...), ", "...)
		}
	}
}

func (w Way) appendFor(b []byte, said Lines) []byte {
	b = w.continued(b, said, For)
	if !w.Peer.IsValid() {
		return append(b, "unknown"...)
	}
	return w.Peer.Unmap().AppendTo(b)
}

func (w Way) appendForwarded(b []byte, said Lines) []byte {
	b = append(w.continued(b, said, Forwarded), "for="...)
	switch a := w.Peer.Unmap(); {
	case !a.IsValid():
		b = append(b, "unknown"...)
	case a.Is4():
		b = a.AppendTo(b)
	default:
		b = append(a.AppendTo(append(b, `"[`...)), `]"`...)
	}
	if w.Host != "" {
		b = appendValue(append(b, ";host="...), w.Host)
	}
	if w.Secure {
		return append(b, ";proto=https"...)
	}
	return append(b, ";proto=http"...)
}

// appendValue writes a token as it is and anything else quoted (RFC 9110, 5.6.4).
func appendValue(b []byte, s string) []byte {
	plain := true
	for i := range len(s) {
		plain = plain && token(s[i])
	}
	if plain {
		return append(b, s...)
	}
	b = append(b, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

func token(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func (w Way) host(said Lines) string {
	if w.Believed {
		if v, there := said.Value(Host, 0); there && v != "" {
			return v
		}
	}
	return w.Host
}

func (w Way) proto(said Lines) string {
	if w.Believed {
		if v, there := said.Value(Proto, 0); there && v != "" {
			return v
		}
	}
	if w.Secure {
		return "https"
	}
	return "http"
}
