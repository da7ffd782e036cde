package proxy

import (
	"iter"
	"net/textproto"
	"net/url"
	"unsafe"

	"github.com/slipway-cd/slipway/internal/proxy/wire"
)

// rawAsked is a request that wire has read. What it returns lies in the
// connection's buffer and is good until the request is done.
type rawAsked struct {
	wire.Request
	origin
	path string // decoded
}

// decode prepares the path, which net/http decodes for the full path too.
func (a *rawAsked) decode() {
	a.path = text(a.Request.Path)
	if !a.Escaped {
		return
	}
	if p, err := url.PathUnescape(a.path); err == nil { // the parser has seen to it that every % is whole
		a.path = p
	}
}

func (a *rawAsked) Method() string   { return text(a.Request.Method) }
func (a *rawAsked) Host() string     { return text(a.Request.Host) }
func (a *rawAsked) Path() string     { return a.path }
func (a *rawAsked) RawQuery() string { return text(a.Query) }
func (a *rawAsked) Proto() string    { return "HTTP/1.1" }
func (a *rawAsked) Scheme() string   { return "http" }

// Lines yields the head but for Host.
func (a *rawAsked) Lines() iter.Seq2[string, string] { return rawLines(a.Fields).Lines() }

// rawLines is a head that wire has read.
type rawLines []wire.Field

// Lines yields copies of the head's lines, but for Host, by their canonical names.
func (l rawLines) Lines() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for i := range l {
			if f := &l[i]; f.Kind != wire.KindHost && !yield(textproto.CanonicalMIMEHeaderKey(string(f.Name)), string(f.Value)) {
				return
			}
		}
	}
}

func (a *rawAsked) Value(name string, i int) (string, bool) {
	if name == "Cookie" && !a.Has(wire.KindCookie) || name == "Baggage" && !a.Has(wire.KindBaggage) {
		return "", false
	}
	for f := range a.Fields {
		field := &a.Fields[f]
		if len(field.Name) != len(name) || !sameName(text(field.Name), name) {
			continue
		}
		if i == 0 {
			return text(field.Value), true
		}
		i--
	}
	return "", false
}

// sameName compares two tokens of the same length in any case.
func sameName(a, b string) bool {
	for i := range len(a) {
		c := a[i]
		if lower := c | 0x20; c != b[i] && (lower != b[i]|0x20 || lower < 'a' || lower > 'z') {
			return false
		}
	}
	return true
}

// text views bytes as a string without a copy.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
