package proxy_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// bend changes a few bytes of a request.
func bend(t *rapid.T, whole string) string {
	b := []byte(whole)
	odd := rapid.SampledFrom([]byte("\x00\t\n\v\r !\"#%*+,-./0159:;=AaXx_{\x7f\x80\xa0\xff"))
	for range rapid.IntRange(1, 3).Draw(t, "changes") {
		at := rapid.IntRange(0, len(b)-1).Draw(t, "at")
		switch rapid.SampledFrom([]string{"set", "put", "drop", "double", "swap"}).Draw(t, "how") {
		case "set":
			b[at] = odd.Draw(t, "byte")
		case "put":
			b = append(b[:at:at], append([]byte{odd.Draw(t, "byte")}, b[at:]...)...)
		case "drop":
			if len(b) > 1 {
				b = append(b[:at:at], b[at+1:]...)
			}
		case "double":
			end := min(len(b), at+rapid.IntRange(1, 40).Draw(t, "length"))
			b = append(b[:end:end], append([]byte(nil), b[at:]...)...)
		case "swap":
			to := rapid.IntRange(0, len(b)-1).Draw(t, "to")
			b[at], b[to] = b[to], b[at]
		}
	}
	return string(b)
}

// TestConformMutants bends valid requests at random. Whatever both paths of ours
// make of one, each request that the instance gets is well-formed, and the two
// agree on which these are. What net/http refuses ours does not pass on; what
// both take has to arrive alike, or something was read in two ways.
func TestConformMutants(t *testing.T) {
	t.Parallel()
	full, raw, std := planeFront(t, "full", true), planeFront(t, "raw", false), stdFront(t)
	whole := rapid.SampledFrom([]string{
		"GET /a?b=c HTTP/1.1\r\nHost: t\r\nX-A: b\r\n\r\n",
		"POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 11\r\nX-A: b\r\n\r\nhello hello",
		"POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n6\r\n hello\r\n0\r\n\r\n",
		"PUT /a HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\nConnection: keep-alive\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
		"POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhelloGET /a HTTP/1.1\r\nHost: t\r\n\r\n",
		"DELETE http://t/a HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n",
		"POST /a HTTP/1.0\r\nHost: t\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
	})
	rapid.Check(t, func(rt *rapid.T) {
		bent := bend(rt, whole.Draw(rt, "request"))
		f, r, s := full.bent(rt, bent), raw.bent(rt, bent), std.bent(rt, bent)
		for name, one := range map[string]*conformRecord{"full": f, "raw": r} {
			for _, q := range one.got {
				if q.bad != "" {
					rt.Errorf("the %s path passes %s on, of %q", name, q, bent)
				}
			}
		}
		if a, b := f.carried(), r.carried(); !slices.Equal(a, b) {
			rt.Errorf("of %q the full path passes on\n  %q\nthe raw one\n  %q", bent, a, b)
		}
		ours, theirs := r.carried(), s.carried()
		for i, q := range ours {
			if i >= len(theirs) && emptyLineBefore(bent, r.whole()[:i]) {
				return // net/http takes one behind a POST only (RFC 9112, 2.2, anywhere)
			}
			if i >= len(theirs) || theirs[i] != q {
				rt.Errorf("of %q ours passes on\n  %q\nand net/http\n  %q", bent, ours, theirs)
			}
		}
	})
}

// emptyLineBefore says whether an empty line stands before the request that comes
// after those.
func emptyLineBefore(bent string, after []*seen) bool {
	if strings.HasPrefix(bent, "\r\n") || strings.Contains(bent, "\r\n\r\n\r\n") {
		return true
	}
	if len(after) == 0 {
		return false
	}
	body := string(after[len(after)-1].body)
	return body != "" && strings.Contains(bent, body+"\r\n")
}

// rest follows a bent request. It is none itself, and long enough for most
// lengths that one may say by now, so that few fronts wait for more.
var rest = strings.Repeat("x", 12000) + "\r\n\r\n"

// bent plays a bent request to the front.
func (f *conformFront) bent(t *rapid.T, bytes string) *conformRecord {
	l := <-f.lanes
	defer func() { f.lanes <- l }()
	l.begin(nil)
	r, err := l.converse(l.ctx, &conformCase{sends: []string{bytes + rest}}, patience{waits: -1, stall: conformStall, answer: conformLimit})
	if err != nil {
		t.Fatalf("%s: %v, of %q", f.name, err, bytes)
	}
	return r
}

// whole returns the requests that the instance got to their ends.
func (r *conformRecord) whole() []*seen {
	return slices.DeleteFunc(slices.Clone(r.got), func(q *seen) bool { return q.cut || q.bad != "" })
}

// carried tells the whole requests: method, path and body, which is what fronts
// may not differ in. ReverseProxy takes out of a query what it cannot parse, and
// loses trailers.
func (r *conformRecord) carried() []string {
	var all []string
	for _, q := range r.whole() {
		path, _, _ := strings.Cut(q.target, "?")
		if plain, err := url.PathUnescape(path); err == nil {
			path = plain
		}
		all = append(all, q.method+" "+path+" "+string(q.body))
	}
	return all
}
