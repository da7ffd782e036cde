// Package accesslog writes one JSON line a request to a file that it rotates. It
// redacts and decides nothing: what is given is written, or dropped and counted
// when the disk is slower than the requests. Its tests are real files.
package accesslog

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"
)

// Entry is one request as it is written down. Empty fields are left out, but
// for those that say what happened.
type Entry struct {
	Time     time.Time // of arrival
	Trace    [16]byte
	Span     [8]byte
	Listener string
	Route    string
	Release  string
	Caller   string // of the edge, or "(preview)" and its like
	Method   string
	Host     string
	Path     string // with the names of its query's parameters, "/a?token&x"
	Status   int    // 0 when the caller went away before there was one
	Outcome  string
	Error    string
	In, Out  int64 // bytes of the bodies
	Took     time.Duration
	Upstream string // address of the instance that answered, or was asked last
	Attempts int
	Agent    string
	Client   netip.Addr
	Protocol string // "HTTP/1.1"
}

// Append appends the entry as one JSON object and a line break.
func (e *Entry) Append(dst []byte) []byte {
	dst = append(dst, `{"time":"`...)
	dst = e.Time.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000Z")
	dst = append(dst, `","trace_id":"`...)
	dst = hex.AppendEncode(dst, e.Trace[:])
	dst = append(dst, `","span_id":"`...)
	dst = hex.AppendEncode(dst, e.Span[:])
	dst = append(dst, '"')
	dst = text(dst, "listener", e.Listener)
	dst = text(dst, "route", e.Route)
	dst = text(dst, "release", e.Release)
	dst = text(dst, "caller", e.Caller)
	dst = text(dst, "method", e.Method)
	dst = text(dst, "host", e.Host)
	dst = text(dst, "path", e.Path)
	dst = number(dst, "status", int64(e.Status))
	dst = text(dst, "outcome", e.Outcome)
	dst = text(dst, "error", e.Error)
	dst = number(dst, "bytes_in", e.In)
	dst = number(dst, "bytes_out", e.Out)
	dst = append(dst, `,"duration_ms":`...)
	dst = millis(dst, e.Took)
	dst = text(dst, "upstream", e.Upstream)
	dst = number(dst, "attempts", int64(e.Attempts))
	dst = text(dst, "user_agent", e.Agent)
	if e.Client.IsValid() {
		dst = append(dst, `,"client":"`...)
		dst = e.Client.WithZone("").AppendTo(dst) // a zone is any text
		dst = append(dst, '"')
	}
	dst = text(dst, "protocol", e.Protocol)
	return append(dst, '}', '\n')
}

func number(dst []byte, name string, n int64) []byte {
	dst = append(dst, ',', '"')
	dst = append(dst, name...)
	dst = append(dst, '"', ':')
	return strconv.AppendInt(dst, n, 10)
}

// millis writes d in milliseconds with three decimals.
func millis(dst []byte, d time.Duration) []byte {
	us := max(d.Microseconds(), 0)
	dst = strconv.AppendInt(dst, us/1000, 10)
	us %= 1000
	return append(dst, '.', byte('0'+us/100), byte('0'+us/10%10), byte('0'+us%10))
}

func text(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(dst, ',', '"')
	dst = append(dst, name...)
	dst = append(dst, '"', ':')
	return quote(dst, value)
}

// quote writes a JSON string (RFC 8259, 7); what is not UTF-8 becomes U+FFFD.
func quote(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20 || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			r, size := utf8.DecodeRuneInString(s[i:])
			dst = utf8.AppendRune(dst, r)
			i += size
			continue
		}
		i++
	}
	return append(dst, '"')
}
