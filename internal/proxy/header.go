package proxy

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/slipway-cd/slipway/internal/proxy/forward"
	"github.com/slipway-cd/slipway/internal/proxy/mirror"
	"github.com/slipway-cd/slipway/internal/proxy/trace"
)

// hopByHop belongs to one connection and is never passed on (RFC 9110, 7.6.1).
var hopByHop = [...]string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate",
	"Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// removeHopByHop deletes the headers of one connection, those it names itself too.
func removeHopByHop(h http.Header) {
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name != "" {
				h.Del(name)
			}
		}
	}
	for _, name := range hopByHop {
		delete(h, name)
	}
}

// hasToken says whether a comma-separated header names token.
func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(name), token) {
				return true
			}
		}
	}
	return false
}

// upgradeOf returns the protocol that a head switches to, or "". HTTP/2 is none:
// over it requests would pass that nobody routed or counted.
func upgradeOf(h http.Header) string {
	if hasToken(h["Connection"], "upgrade") && !hasToken(h["Upgrade"], "h2c") {
		return h.Get("Upgrade")
	}
	return ""
}

// outgoing returns the request as the instance gets it, but for its address,
// context and body.
func outgoing(r *http.Request, way forward.Way, key, cohort string) *http.Request {
	h := r.Header.Clone()
	protocol := upgradeOf(h)
	trailers := hasToken(h["Te"], "trailers")
	removeHopByHop(h)
	if trailers {
		h.Set("Te", "trailers")
	}
	if protocol != "" {
		h.Set("Connection", "Upgrade")
		h.Set("Upgrade", protocol)
	}
	if _, named := h["User-Agent"]; !named {
		h["User-Agent"] = []string{""} // none, instead of Go's own
	}
	way.Set(h)
	if !way.Believed {
		delete(h, mirror.Header)
	}
	h[keyHeader] = []string{key}
	delete(h, cohortHeader)
	if cohort != "" {
		h[cohortHeader] = []string{cohort}
	}
	return &http.Request{
		Method:        r.Method,
		URL:           &url.URL{Scheme: "http", Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery, ForceQuery: r.URL.ForceQuery},
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        h,
		Host:          r.Host,
		ContentLength: r.ContentLength,
		Trailer:       r.Trailer, // the same map: its values come after the body
	}
}

// copyAnswer copies an answer's head to the caller's.
func copyAnswer(to, from http.Header) {
	removeHopByHop(from)
	for name, values := range from {
		to[name] = append(to[name], values...)
	}
	if _, named := to["Content-Type"]; !named {
		to["Content-Type"] = nil // none, instead of a guess by the server
	}
}

// tell puts into the head that an instance gets what it hands on to those it
// calls in turn, many stacks without any code of theirs: the trace, and the
// sticky key and cohort as baggage.
func (x *passage) tell(h http.Header, cohort string) {
	x.trace.Set(h)
	var room [256]byte
	h[trace.BaggageHeader] = []string{string(x.appendBaggage(room[:0], cohort))}
}

// appendBaggage appends the baggage of the request with our members in it.
func (x *passage) appendBaggage(b []byte, cohort string) []byte {
	return trace.AppendBaggage(b, x.asked, trace.Pair{Name: keyBaggage, Value: x.who.key}, trace.Pair{Name: cohortBaggage, Value: cohort})
}
