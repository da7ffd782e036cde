package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/proxy/upstream"
	"github.com/slipway-cd/slipway/internal/proxy/wire"
)

// call is one request to one instance, as the full path makes it.
type call struct {
	req      *http.Request
	whole    []byte // the body, when it is short; else it is req.Body
	stop     func() // makes a read of req.Body that waits return
	answered func() // called at the first byte of an answer
	interim  func(code int, header textproto.MIMEHeader) error
}

// roundTrip makes the call and returns its answer's head. It is the one place
// that knows the clients for both protocols; ctx ends the exchange, body included. No byte was sent when the error is a
// *dialError or an *upstream.DialError.
func roundTrip(ctx context.Context, p *endpoint, c call) (*http.Response, error) {
	if p.protocol == delivery.HTTP1 {
		return c.speakHTTP1(ctx, p)
	}
	if c.interim != nil {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotFirstResponseByte: c.answered, Got1xxResponse: c.interim})
	}
	req := c.req.WithContext(ctx)
	if req.Header["Upgrade"] != nil {
		req.Header = req.Header.Clone() // another attempt may go elsewhere
		delete(req.Header, "Upgrade")   // HTTP/2 has none, and whoever gets one may ignore it (RFC 9110, 7.8)
		delete(req.Header, "Connection")
	}
	if c.whole != nil {
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(c.whole)), nil }
		req.Body, _ = req.GetBody()
	}
	return p.client.RoundTrip(req)
}

// speakHTTP1 makes the call over a connection of our own. One that was kept and
// turns out to have been closed is not the instance's fault: a request that may
// be repeated goes out again, over a fresh one.
func (c call) speakHTTP1(ctx context.Context, p *endpoint) (*http.Response, error) {
	whole := c.whole != nil || c.req.Body == nil
	again := whole && idempotent(c.req.Method)
	get := p.upstream.Get
	if !again {
		get = p.upstream.GetChecked
	}
	for {
		conn, err := get(ctx)
		if err != nil {
			return nil, errors.Join(err, context.Cause(ctx))
		}
		res, err := conn.Do(ctx, c.upstream(append(appendRequest(conn.Scratch(), c.req), c.whole...)))
		if c.answered != nil && conn.Answered() {
			c.answered()
		}
		if err == nil {
			return answerOf(conn, res)
		}
		conn.Discard()
		if !again || !stale(err) {
			return nil, err
		}
		get = p.upstream.GetFresh
	}
}

func (c call) upstream(head []byte) *upstream.Request {
	r := &upstream.Request{Head: head, Method: c.req.Method}
	if c.whole == nil && c.req.Body != nil {
		r.Body, r.Length, r.Stop = c.req.Body, c.req.ContentLength, c.stop
		if r.Length < 0 {
			r.Length = wire.Chunked
		}
		r.Expect = hasToken(c.req.Header["Expect"], "100-continue")
		if c.req.Trailer != nil {
			r.Trailer = func() []wire.Field { return fieldsOf(c.req.Trailer) }
		}
	}
	if c.interim != nil {
		r.Interim = func(res *wire.Response) error {
			return c.interim(res.Status, textproto.MIMEHeader(headerOf(res.Fields)))
		}
	}
	return r
}

func fieldsOf(h http.Header) []wire.Field {
	var out []wire.Field
	for name, values := range h {
		for _, v := range values {
			out = append(out, wire.Field{Name: []byte(name), Value: []byte(v)})
		}
	}
	return out
}

// appendRequest writes a request's head.
func appendRequest(b []byte, r *http.Request) []byte {
	b = append(append(b, r.Method...), ' ')
	b = append(appendTarget(b, r.URL.RequestURI()), " HTTP/1.1\r\nHost: "...)
	b = append(append(b, r.Host...), "\r\n"...)
	for name, values := range r.Header {
		for _, v := range values {
			if name == "Content-Length" || name == "User-Agent" && v == "" { // written below; none was sent
				continue
			}
			b = append(append(b, name...), ": "...)
			b = append(append(b, v...), "\r\n"...)
		}
	}
	switch {
	case r.ContentLength > 0 || r.ContentLength == 0 && (r.Header["Content-Length"] != nil || asksForLength(r.Method)):
		b = appendLength(b, r.ContentLength)
	case r.ContentLength < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
		if len(r.Trailer) > 0 {
			b = append(b, "Trailer: "...)
			first := true
			for name := range r.Trailer {
				if !first {
					b = append(b, ", "...)
				}
				b, first = append(b, name...), false
			}
			b = append(b, "\r\n"...)
		}
	}
	return append(b, "\r\n"...)
}

// asksForLength says whether a request without a body should say so (RFC 9110, 8.6).
func asksForLength(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}

// appendTarget writes a target. HTTP/2 carries bytes in it that would end a
// request line, or begin another header, over HTTP/1.
func appendTarget(b []byte, target string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(target) {
		if c := target[i]; c > ' ' && c != 0x7f && c != '#' {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return b
}

// answerOf wraps an answer for net/http.
func answerOf(conn *upstream.Conn, res *wire.Response) (*http.Response, error) {
	out := &http.Response{
		StatusCode: res.Status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: res.Minor,
		Status: strconv.Itoa(res.Status) + " " + string(res.Reason), Header: headerOf(res.Fields), ContentLength: res.Length,
	}
	if res.Upgrade {
		nc, early, err := conn.Hijack()
		if err != nil {
			conn.Discard()
			return nil, err
		}
		out.Body = &hijacked{Conn: nc, early: bytes.Clone(early)}
		conn.Discard()
		return out, nil
	}
	if res.Length < 0 {
		out.ContentLength = -1
	}
	for _, line := range out.Header["Trailer"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name)); name != "" && !wire.ForbiddenTrailer([]byte(name)) {
				if out.Trailer == nil {
					out.Trailer = http.Header{}
				}
				out.Trailer[name] = nil
			}
		}
	}
	out.Body = &answerBody{conn: conn, res: out, Body: conn.Body()}
	return out, nil
}

// headerOf copies fields into a header.
func headerOf(fields []wire.Field) http.Header {
	h := make(http.Header, len(fields))
	values := make([]string, 0, len(fields)) // one array for all
	for i := range fields {
		f := &fields[i]
		name := canonicalName(f.Name)
		values = append(values, string(f.Value))
		if before := h[name]; before != nil {
			h[name] = append(before, values[len(values)-1])
			continue
		}
		n := len(values)
		h[name] = values[n-1 : n : n]
	}
	return h
}

// canonicalName returns a field's name as http.Header has it.
func canonicalName(name []byte) string {
	if s, common := commonNames[string(name)]; common {
		return s
	}
	return textproto.CanonicalMIMEHeaderKey(string(name))
}

// commonNames spares copies of names that most answers have.
var commonNames = func() map[string]string {
	m := map[string]string{}
	for _, name := range [...]string{
		"Accept-Ranges", "Age", "Cache-Control", "Connection", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Length",
		"Content-Security-Policy", "Content-Type", "Date", "Etag", "Expires", "Keep-Alive", "Last-Modified", "Link", "Location", "Pragma", "Server",
		"Set-Cookie", "Strict-Transport-Security", "Transfer-Encoding", "Vary", "Via", "X-Content-Type-Options", "X-Frame-Options", "X-Powered-By", "X-Request-Id",
	} {
		m[name], m[strings.ToLower(name)] = name, name
	}
	m["ETag"] = "Etag"
	return m
}()

// answerBody is an answer's body. Its connection is kept if it is read to its end.
type answerBody struct {
	*upstream.Body
	conn   *upstream.Conn
	res    *http.Response
	closed bool
}

// Read reads, and at the end takes the trailers in.
func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.Body.Read(p)
	if err == io.EOF { //nolint:errorlint // io.Reader's own
		b.ends()
	}
	return n, err
}

// ends takes the trailers in.
func (b *answerBody) ends() {
	if fields := b.Trailer(); len(fields) > 0 {
		b.res.Trailer = headerOf(fields)
	}
}

// Close ends the use of the connection.
func (b *answerBody) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	if b.Done() {
		b.conn.Release()
	} else {
		b.conn.Discard()
	}
	return nil
}

// hijacked is the instance's side of an upgraded connection.
type hijacked struct {
	net.Conn
	early []byte
}

// NetConn returns the connection itself.
func (h *hijacked) NetConn() net.Conn { return h.Conn }

// Read gives first what came with the head.
func (h *hijacked) Read(p []byte) (int, error) {
	if len(h.early) > 0 {
		n := copy(p, h.early)
		h.early = h.early[n:]
		return n, nil
	}
	return h.Conn.Read(p)
}
