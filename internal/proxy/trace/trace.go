// Package trace continues W3C trace contexts or begins them, and reads and sets
// members of W3C baggage. It records and sends nothing; its tests hold it to the
// two recommendations and to its fuzz targets.
//
// Sources: https://www.w3.org/TR/trace-context-1/ and https://www.w3.org/TR/baggage/.
package trace

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// ParentHeader and StateHeader carry a trace context, in the spelling of http.Header.
const (
	ParentHeader = "Traceparent"
	StateHeader  = "Tracestate"
)

// ParentLen is the length of what AppendParent appends, in bytes.
const ParentLen = 55

// maxMembers is how many members a tracestate may have (section 3.3.1.1).
const maxMembers = 32

// Carrier is where a request's headers are read, as match.Request.
type Carrier interface {
	// Value returns the i-th line, from 0, of the header of that canonical name.
	Value(name string, i int) (value string, there bool)
}

// Context is one request's place in a trace. The zero value is none.
type Context struct {
	Trace   [16]byte
	Parent  [8]byte // the caller's span; zero when the trace begins here
	Span    [8]byte // our hop's
	Sampled bool    // whoever takes part in the trace should record it

	state bool      // what came as tracestate is sound and goes on with it
	value [1]string // of ParentHeader, so that Set needs no slice
}

// Start continues the trace that a request came with, under a new span for our
// hop, or begins one when it came with none or with a malformed one. Of the
// traces begun here share, from 0 to delivery.Full, are sampled; a caller's own
// decision is kept.
func Start(from Carrier, share delivery.Weight) Context {
	parent, there := from.Value(ParentHeader, 0)
	if _, twice := from.Value(ParentHeader, 1); there && !twice {
		if c, ok := parse(parent); ok {
			c.Span = NewSpan()
			c.state = soundState(from)
			return c
		}
	}
	return begin(share)
}

// begin draws a new trace. It is sampled when the last 56 bits of its identifier
// are at least as large as the part of their range that is not; so whoever
// samples by the identifier as OpenTelemetry does chooses the same traces.
func begin(share delivery.Weight) Context {
	c := Context{Span: NewSpan()}
	binary.BigEndian.PutUint64(c.Trace[:8], rand.Uint64())
	binary.BigEndian.PutUint64(c.Trace[8:], rand.Uint64())
	for c.Trace == [16]byte{} { // all zeroes are invalid
		c.Trace[15] = byte(rand.Uint32())
	}
	const whole = uint64(1) << 56
	rejected := whole / uint64(delivery.Full) * uint64(delivery.Full-min(max(share, 0), delivery.Full))
	c.Sampled = share > 0 && binary.BigEndian.Uint64(c.Trace[8:])&(whole-1) >= rejected
	return c
}

// NewSpan draws the identifier of a span.
func NewSpan() (id [8]byte) {
	for id == [8]byte{} {
		binary.BigEndian.PutUint64(id[:], rand.Uint64())
	}
	return id
}

// parse reads a traceparent. One of a later version is read as far as this
// version knows it (section 4.3); version ff does not exist.
func parse(s string) (c Context, ok bool) {
	if len(s) < ParentLen || s[2] != '-' || s[35] != '-' || s[52] != '-' || !lowerHex(s[:2]) || !lowerHex(s[53:55]) || s[:2] == "ff" {
		return Context{}, false
	}
	if len(s) > ParentLen && (s[:2] == "00" || s[ParentLen] != '-') {
		return Context{}, false
	}
	if !lowerHex(s[3:35]) || !lowerHex(s[36:52]) {
		return Context{}, false
	}
	for i := range c.Trace {
		c.Trace[i] = nibble(s[3+2*i])<<4 | nibble(s[4+2*i])
	}
	for i := range c.Parent {
		c.Parent[i] = nibble(s[36+2*i])<<4 | nibble(s[37+2*i])
	}
	c.Sampled = nibble(s[54])&1 == 1
	return c, c.Trace != [16]byte{} && c.Parent != [8]byte{}
}

func lowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func nibble(c byte) byte {
	if c >= 'a' {
		return c - 'a' + 10
	}
	return c - '0'
}

// AppendParent appends the traceparent for whoever is called next: version 00,
// our span as the parent, and no flag but sampled.
func (c *Context) AppendParent(dst []byte) []byte {
	dst = append(dst, "00-"...)
	dst = hex.AppendEncode(dst, c.Trace[:])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, c.Span[:])
	if c.Sampled {
		return append(dst, "-01"...)
	}
	return append(dst, "-00"...)
}

// KeepsState says whether the request's tracestate, if it has one, goes on as it is.
func (c *Context) KeepsState() bool { return c.state }

// Set puts the context in place of the one that h came with. h shares memory
// with c from then on.
func (c *Context) Set(h http.Header) {
	var b [ParentLen]byte
	c.value[0] = string(c.AppendParent(b[:0]))
	h[ParentHeader] = c.value[:]
	if !c.state {
		delete(h, StateHeader)
	}
}

// soundState says whether the lines of a tracestate are worth passing on: at
// most 32 members, each with a valid key, that is there once, and a valid value.
func soundState(from Carrier) bool {
	var keys [maxMembers]string
	n := 0
	for i := 0; ; i++ {
		line, there := from.Value(StateHeader, i)
		if !there {
			return true
		}
		for member := range strings.SplitSeq(line, ",") {
			if member = strings.Trim(member, " \t"); member == "" {
				continue // an empty member is allowed, and is none
			}
			key, value, both := strings.Cut(member, "=")
			if !both || !soundKey(key) || !soundValue(value) || n == maxMembers || slices.Contains(keys[:n], key) {
				return false
			}
			keys[n] = key
			n++
		}
	}
}

// soundKey accepts the keys of both levels of the recommendation: level 2 lets
// a simple key begin with a digit and hold an @ anywhere.
func soundKey(k string) bool {
	if k == "" || len(k) > 256 || k[0] == '_' || k[0] == '-' || k[0] == '*' || k[0] == '/' || k[0] == '@' {
		return false
	}
	for i := range len(k) {
		switch c := k[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case c == '_', c == '-', c == '*', c == '/', c == '@':
		default:
			return false
		}
	}
	return true
}

// soundValue accepts 1 to 256 printable characters but "," and "=". What stood
// around a member was trimmed, so the last one is no space.
func soundValue(v string) bool {
	if v == "" || len(v) > 256 {
		return false
	}
	for i := range len(v) {
		if c := v[i]; c < 0x20 || c > 0x7e || c == '=' {
			return false
		}
	}
	return true
}
