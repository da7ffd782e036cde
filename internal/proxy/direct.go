package proxy

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/proxy/upstream"
	"github.com/slipway-cd/slipway/internal/proxy/wire"
)

// isDirect says whether the request can go to instances that speak HTTP/1.1
// straight, as on the raw path: its body is whole, it is no call of gRPC, nothing
// is to be disturbed or copied, and it stays a request.
func (x *exchange) isDirect() bool {
	return x.body.replayable() && !x.grpc && x.fault == nil && x.route.spec.Mirror == nil && x.r.Header["Upgrade"] == nil
}

// carryDirect makes attempts as long as the instance speaks HTTP/1.1. One that
// does not is returned, and the other way goes on there.
func (x *exchange) carryDirect(p *endpoint) *endpoint {
	ctx := x.r.Context()
	if x.gate, _ = ctx.Value(gateKey{}).(*gate); x.gate != nil {
		x.gate.asking.Store(&x.direct)
		defer x.gate.asking.Store(nil)
	}
	d := &x.direct
	d.from, d.interim, d.body, d.deadline = x, x.passInterim, x.body.whole, x.deadline
	for p.protocol == delivery.HTTP1 {
		conn, res, err := d.ask(ctx, &x.passage, p)
		if err == nil {
			x.answerDirect(p, conn, res)
			return nil
		}
		failed := attempted{why: x.whyDirect(err), replayable: true, untouched: true, answered: conn != nil && conn.Answered()}
		if conn != nil {
			conn.Discard()
		}
		x.lost(p, failed.why)
		if p = x.again(ctx, failed); p == nil {
			x.refuse(failed.why)
			return nil
		}
		x.ticket.retried()
	}
	return p
}

// watched is speaker's: a gate learns of the end of its caller before net/http does.
func (x *exchange) watched() (by, left bool) {
	if x.gate == nil {
		return false, false
	}
	return true, x.gate.over()
}

// whyDirect sorts an error of the exchange with an instance.
func (x *exchange) whyDirect(err error) failure {
	if x.r.Context().Err() != nil {
		return failure{cancelled, err}
	}
	return sort(err, x.limit)
}

// appendHead writes the head that the instance gets.
func (x *exchange) appendHead(b []byte) []byte {
	r := x.r
	b = append(append(b, r.Method...), ' ')
	b = appendURL(b, r)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(append(b, r.Host...), "\r\n"...)
	named := r.Header["Connection"]
	for name, values := range r.Header {
		kind := wire.KindOf(unsafe.Slice(unsafe.StringData(name), len(name))) // looks, and keeps nothing
		if kind.Framing() || x.ours(kind, name) || named != nil && hasToken(named, name) {
			continue
		}
		for _, v := range values {
			b = append(append(b, name...), ": "...)
			b = append(append(b, v...), "\r\n"...)
		}
	}
	if te := r.Header["Te"]; te != nil && hasToken(te, "trailers") {
		b = append(b, "Te: trailers\r\n"...)
	}
	b = x.appendOurs(b)
	if n := int64(len(x.body.whole)); n > 0 || r.Header["Content-Length"] != nil || asksForLength(r.Method) {
		b = appendLength(b, n)
	}
	return append(b, "\r\n"...)
}

// appendURL writes a request's target without its host.
func appendURL(b []byte, r *http.Request) []byte {
	path := r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	b = appendTarget(b, path)
	if r.URL.ForceQuery || r.URL.RawQuery != "" {
		b = appendTarget(append(b, '?'), r.URL.RawQuery)
	}
	return b
}

// passInterim passes an interim answer on.
func (x *exchange) passInterim(res *wire.Response) error {
	return x.interim(res.Status, headerOf(res.Fields))
}

// answerDirect passes an instance's answer on.
func (x *exchange) answerDirect(p *endpoint, conn *upstream.Conn, res *wire.Response) {
	defer p.unclaim()
	whole := false
	defer func() {
		if whole {
			conn.Release()
		} else {
			conn.Discard()
		}
	}()
	if !x.crossed {
		x.answered(time.Since(x.ticket.began))
	}
	if res.Upgrade { // nobody asked for it
		x.refuse(failure{broken, errNotAsked})
		return
	}
	x.look = x.route.lookIntoFields(res)
	announced := x.putHead(res)
	x.w.WriteHeader(res.Status)
	streams := res.Length < 0 || strings.HasPrefix(text(res.First(wire.KindContentType)), "text/event-stream")
	if streams || res.Length > longAnswer {
		p.streams.add(x)
		defer p.streams.remove(x)
	}
	x.direct.waitsFor(conn)
	body := conn.Body()
	n, err := x.passBody(body, streams)
	x.direct.waitsFor(nil)
	if err != nil {
		why := x.whyDirect(err)
		if why.how != cancelled {
			why.how = broken
			x.blame(p, why)
		}
		x.endDirect(why, res, n)
		// The caller must see a broken connection: a clean end would be a lie.
		panic(http.ErrAbortHandler)
	}
	p.answered()
	h := x.w.Header()
	for _, f := range body.Trailer() {
		name := canonicalName(f.Name)
		if !slices.Contains(announced, name) {
			name = http.TrailerPrefix + name
		}
		h[name] = append(h[name], string(f.Value))
	}
	x.endDirect(failure{how: finished}, res, n)
	whole = true
}

// endDirect ends the account of an answered request, whose head is of use only
// when something is wrong with it.
func (x *exchange) endDirect(why failure, res *wire.Response, sent int64) {
	end := ended{why: why, status: res.Status, in: x.body.bytes(), out: sent}
	if why.how == finished && x.look.Found() {
		end.why.err, end.counts, end.field = x.route.fieldError(), failedByField, true
	}
	if why.how != finished || end.field || res.Status >= 500 {
		end.head = rawLines(res.Fields)
	}
	x.close(end)
}

// atOnce is how much of an answer net/http takes without writing any of it.
const atOnce = 2 << 10

// passBody passes an answer's body on, as long as anything moves, and returns how
// much of it there was. With streams no piece waits for the next one.
func (x *exchange) passBody(body *upstream.Body, streams bool) (int64, error) {
	ready := body.Buffered()
	_, _ = x.look.Write(ready)
	if body.Done() && len(ready) <= atOnce {
		n, err := len(ready), error(nil)
		if n > 0 { // else there may be a status that allows no body
			n, err = x.w.Write(ready)
		}
		if err == nil && len(body.Trailer()) > 0 { // else a length is set, behind which there is no trailer
			err = http.NewResponseController(x.w).Flush()
		}
		return int64(n), callersEnd(err)
	}
	x.watches()
	defer x.watch.stop()
	total := int64(0)
	if len(ready) > 0 {
		n, err := x.answering.Write(ready)
		if total = int64(n); err != nil {
			return total, callersEnd(err)
		}
	}
	if streams {
		more, err := x.passPieces(body)
		return total + more, err
	}
	more, err := x.passLooking(body)
	if total += more; err != nil {
		return total, err
	}
	more, err = body.WriteTo(&x.answering) // the kernel moves a long one
	return total + more, err
}

// passPieces passes on a body piece by piece as it comes.
func (x *exchange) passPieces(body *upstream.Body) (total int64, err error) {
	flush := http.NewResponseController(x.w).Flush
	buf := x.e.buffers.pool.Get().(*[]byte)
	defer x.e.buffers.pool.Put(buf)
	for {
		if body.Done() && len(body.Trailer()) == 0 {
			return total, nil
		}
		if err := flush(); err != nil {
			return total, callersEnd(err)
		}
		if body.Done() {
			return total, nil
		}
		n, err := x.passPiece(body, *buf)
		total += n
		if err != nil {
			return total, err
		}
	}
}

// passPiece passes on what comes next of a body, with a look at it if one is
// wanted. The error with which a body ends is none.
func (x *exchange) passPiece(body *upstream.Body, buf []byte) (int64, error) {
	n, err := body.Read(buf)
	var wrote int
	if n > 0 {
		_, _ = x.look.Write(buf[:n])
		var werr error
		if wrote, werr = x.answering.Write(buf[:n]); werr != nil {
			return int64(wrote), callersEnd(werr)
		}
	}
	if body.Done() {
		err = nil
	}
	return int64(wrote), err
}

// callersEnd marks an error of the caller's side.
func callersEnd(err error) error {
	if err == nil {
		return nil
	}
	return &upstream.WriteError{Err: err}
}

// putHead copies an answer's head to the caller's, and returns the trailers that
// it announces.
func (x *exchange) putHead(res *wire.Response) (announced []string) {
	h := x.w.Header()
	size := 0
	for i := range res.Fields {
		size += len(res.Fields[i].Value)
	}
	var all strings.Builder // one string, of which the values are parts
	all.Grow(size)
	values := make([]string, 0, len(res.Fields)) // and one array
	for i := range res.Fields {
		f := &res.Fields[i]
		if f.Kind == wire.KindTrailer {
			announced = appendAnnounced(announced, string(f.Value))
		}
		if f.Kind.HopByHop() || f.Kind == wire.KindContentLength && res.Status == http.StatusNoContent {
			continue // a 204 must have no length (RFC 9110, 8.6), and net/http strips it from HTTP/1 only
		}
		at := all.Len()
		all.Write(f.Value)
		value := all.String()[at:]
		name := canonicalName(f.Name)
		if before := h[name]; before != nil {
			h[name] = append(before, value)
			continue
		}
		values = append(values, value)
		n := len(values)
		h[name] = values[n-1 : n : n]
	}
	if !res.Has(wire.KindContentType) {
		h["Content-Type"] = nil // none, instead of a guess by the server
	}
	if len(announced) > 0 {
		h["Trailer"] = []string{strings.Join(announced, ", ")}
	}
	return announced
}

// appendAnnounced adds the trailers that a list names and that may be passed on.
func appendAnnounced(all []string, list string) []string {
	for name := range strings.SplitSeq(list, ",") {
		name = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name))
		if name != "" && !wire.ForbiddenTrailer([]byte(name)) && !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}
