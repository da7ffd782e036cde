package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// seen is one request as it arrived at the upstream, byte for byte.
type seen struct {
	raw     []byte // the head
	method  string
	target  string
	fields  [][2]string // in order, names as they were written
	body    []byte
	trailer [][2]string
	chunked bool
	old     bool   // HTTP/1.0
	conn    int    // which of the lane's connections, from 0
	lane    string // address of the upstream
	number  int    // number of the case it came in, for the lane
	place   int    // among the requests of that case
	bad     string // why it is not a well-formed HTTP/1.1 request; "" if it is
	cut     bool   // the connection ended inside the body
}

// values returns the values of a field, in order.
func (q *seen) values(name string) (out []string) {
	for _, f := range q.fields {
		if strings.EqualFold(f[0], name) {
			out = append(out, f[1])
		}
	}
	return out
}

// String is how a request is written in an outcome: "POST /a "hello" +X-Sum: 1".
// The host is told when it is not the usual one.
func (q *seen) String() string {
	if q.bad != "" {
		return fmt.Sprintf("MALFORMED(%s)", q.bad)
	}
	var b strings.Builder
	b.WriteString(q.method + " " + q.target)
	switch host := strings.Join(q.values("Host"), ","); host {
	case usualHost:
	case q.lane:
		b.WriteString(" @upstream")
	default:
		b.WriteString(" @" + host)
	}
	if q.old {
		b.WriteString(" by 1.0")
	}
	if len(q.body) > 0 {
		b.WriteString(" " + brief(q.body))
	}
	for _, f := range q.trailer {
		b.WriteString(" +" + textproto.CanonicalMIMEHeaderKey(f[0]) + ":" + f[1])
	}
	if q.cut {
		b.WriteString(" cut")
	}
	return b.String()
}

// usualHost is the host of every case that is not about hosts.
const usualHost = "t"

// brief is a body as an outcome shows it.
func brief(b []byte) string {
	if len(b) <= 200 {
		return strconv.Quote(string(b))
	}
	return fmt.Sprintf("[%d bytes %08x]", len(b), crc32.ChecksumIEEE(b))
}

// play is what the upstream does with one request whose head it has read. It
// returns false when the connection must not carry another one.
type play func(u *upConn, q *seen) bool

// answering reads the body and answers 200 with the request's target, in the
// head and in the body, so that an answer tells whose it is.
func answering(u *upConn, q *seen) bool {
	return u.readBody(q) && u.answer(q)
}

// lane is a way through one front that one case has for itself: an address of
// the front, and the scripted upstream behind it. Whatever arrives there while
// the case runs was made of the case's bytes.
type lane struct {
	addr string // of the front
	ln   net.Listener
	ctx  context.Context //nolint:containedctx // of the test

	mu    sync.Mutex
	play  play             // guarded by mu
	got   []*seen          // guarded by mu: copies, so that a late one cannot change under a reader
	cases int              // guarded by mu
	conns map[*upConn]bool // guarded by mu: open; true while it waits between two requests
	next  int              // guarded by mu: number of the next connection
	stray []string         // guarded by mu: bytes that are no request
}

// upConn is one connection of the front to the upstream.
type upConn struct {
	net.Conn
	r *bufio.Reader
	l *lane
	n int

	used bool // guarded by l.mu: it carried /warm
}

// newLane opens an upstream that ends with the test.
func newLane(t *testing.T) *lane {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &lane{ln: ln, ctx: t.Context(), conns: map[*upConn]bool{}}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			all.Go(func() { l.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		l.mu.Lock()
		for u := range l.conns {
			_ = u.Close()
		}
		l.mu.Unlock()
		all.Wait()
	})
	return l
}

// begin gives the lane to a case.
func (l *lane) begin(p play) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p == nil {
		p = answering
	}
	l.play, l.got, l.stray = p, nil, nil
	for u := range l.conns {
		u.used = false
	}
	l.cases++
}

// requests returns what arrived so far.
func (l *lane) requests() []*seen {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*seen(nil), l.got...)
}

// warm says whether a connection that carried /warm is open.
func (l *lane) warm() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for u := range l.conns {
		if u.used {
			return true
		}
	}
	return false
}

// mark notes that the connection carried /warm.
func (u *upConn) mark() {
	u.l.mu.Lock()
	defer u.l.mu.Unlock()
	u.used = true
}

// quiet says whether every connection to the upstream is closed or between two
// requests.
func (l *lane) quiet() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, idle := range l.conns {
		if !idle {
			return false
		}
	}
	return true
}

func (l *lane) serve(c net.Conn) {
	l.mu.Lock()
	u := &upConn{Conn: c, r: bufio.NewReaderSize(c, 256<<10), l: l, n: l.next}
	l.next++
	l.conns[u] = true
	l.mu.Unlock()
	defer func() {
		_ = c.Close()
		l.mu.Lock()
		delete(l.conns, u)
		l.mu.Unlock()
	}()
	for {
		if _, err := u.r.Peek(1); err != nil {
			return
		}
		l.mu.Lock()
		l.conns[u] = false
		do := l.play
		l.mu.Unlock()
		q, err := u.readHead()
		if err != nil {
			l.mu.Lock()
			l.stray = append(l.stray, brief(q.raw))
			l.mu.Unlock()
			return
		}
		q.conn, q.lane = u.n, l.ln.Addr().String()
		l.mu.Lock()
		q.number, q.place = l.cases, len(l.got)
		copied := *q
		l.got = append(l.got, &copied)
		l.mu.Unlock()
		if q.bad != "" || !do(u, q) {
			return
		}
		l.mu.Lock()
		l.conns[u] = true
		l.mu.Unlock()
	}
}

// readHead reads a head to its empty line and says what is wrong with it. It
// is stricter than a real server: a front must not lean on one's leniency.
func (u *upConn) readHead() (*seen, error) {
	q := &seen{}
	var lines []string
	for {
		line, err := u.r.ReadString('\n')
		q.raw = append(q.raw, line...)
		if err != nil {
			return q, err
		}
		if !strings.HasSuffix(line, "\r\n") {
			q.flaw("bare LF")
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "" && len(lines) == 0 {
			q.flaw("empty line before the request")
			return q, nil
		}
		if line == "" {
			break
		}
		lines = append(lines, line)
	}
	parts := strings.Split(lines[0], " ")
	if len(parts) != 3 || parts[2] != "HTTP/1.1" && parts[2] != "HTTP/1.0" || !token(parts[0]) || parts[1] == "" || !visible(parts[1]) {
		q.flaw(fmt.Sprintf("request line %q", lines[0]))
		return q, nil
	}
	q.method, q.target, q.old = parts[0], parts[1], parts[2] == "HTTP/1.0"
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ":")
		if !ok || !token(name) {
			q.flaw(fmt.Sprintf("field line %q", line))
		}
		value = strings.Trim(value, " \t")
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			q.flaw(fmt.Sprintf("control character in %q", line))
		}
		q.fields = append(q.fields, [2]string{name, value})
	}
	if hosts := q.values("Host"); len(hosts) > 1 || len(hosts) == 0 && !q.old {
		q.flaw(fmt.Sprintf("%d Host fields", len(hosts)))
	}
	te, cl := q.values("Transfer-Encoding"), q.values("Content-Length")
	switch {
	case len(te) > 0 && len(cl) > 0:
		q.flaw("Content-Length beside Transfer-Encoding")
	case len(te) > 1 || len(te) == 1 && !strings.EqualFold(te[0], "chunked"):
		q.flaw(fmt.Sprintf("Transfer-Encoding %q", te))
	case len(te) > 0 && q.old:
		q.flaw("Transfer-Encoding in HTTP/1.0")
	case len(cl) > 1 || len(cl) == 1 && !digits(cl[0]):
		q.flaw(fmt.Sprintf("Content-Length %q", cl))
	}
	q.chunked = len(te) == 1
	return q, nil
}

func (q *seen) flaw(why string) {
	if q.bad == "" {
		q.bad = why
	}
}

// readBody reads the body by its framing, strictly.
func (u *upConn) readBody(q *seen) bool {
	var err error
	switch cl := q.values("Content-Length"); {
	case q.chunked:
		err = u.readChunks(q)
	case len(cl) == 1:
		n, _ := strconv.ParseInt(cl[0], 10, 64) // its digits were checked
		var b bytes.Buffer
		_, err = io.CopyN(&b, u.r, n)
		q.body = b.Bytes()
	}
	q.cut = err != nil && q.bad == ""
	u.l.mu.Lock()
	if q.number == u.l.cases {
		copied := *q
		u.l.got[q.place] = &copied
	}
	u.l.mu.Unlock()
	return err == nil && q.bad == ""
}

func (u *upConn) readChunks(q *seen) error {
	for {
		line, err := u.line(q)
		if err != nil {
			return err
		}
		n, err := strconv.ParseUint(line, 16, 31)
		if err != nil {
			q.flaw(fmt.Sprintf("chunk size line %q", line))
			return err
		}
		if n == 0 {
			break
		}
		at := len(q.body)
		q.body = append(q.body, make([]byte, n)...)
		if m, err := io.ReadFull(u.r, q.body[at:]); err != nil {
			q.body = q.body[:at+m]
			return err
		}
		if line, err = u.line(q); err != nil {
			return err
		}
		if line != "" {
			q.flaw(fmt.Sprintf("%q after a chunk's data", line))
			return errors.New(q.bad)
		}
	}
	for {
		line, err := u.line(q)
		if err != nil {
			return err
		}
		if line == "" {
			slices.SortStableFunc(q.trailer, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
			return nil
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !token(name) {
			q.flaw(fmt.Sprintf("trailer line %q", line))
			return errors.New(q.bad)
		}
		switch strings.ToLower(name) {
		case "host", "content-length", "transfer-encoding", "connection", "trailer", "authorization", "content-type":
			q.flaw("trailer " + name) // RFC 9110, 6.5.1
			return errors.New(q.bad)
		}
		q.trailer = append(q.trailer, [2]string{name, strings.TrimSpace(value)})
	}
}

func (u *upConn) line(q *seen) (string, error) {
	line, err := u.r.ReadString('\n')
	if err != nil {
		return "", err
	}
	if !strings.HasSuffix(line, "\r\n") {
		q.flaw("bare LF within a body")
		return "", errors.New(q.bad)
	}
	return line[:len(line)-2], nil
}

func (u *upConn) answer(q *seen) bool {
	body := q.target
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Answer: %s\r\n\r\n", len(body), q.target)
	if q.method == "HEAD" {
		body = ""
	}
	return u.say(head + body)
}

// say sends bytes as they are.
func (u *upConn) say(s string) bool {
	_, err := io.WriteString(u, s)
	return err == nil
}

// reset ends the connection without a FIN.
func (u *upConn) reset() bool {
	_ = u.Conn.(*net.TCPConn).SetLinger(0)
	return false
}

func token(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// waiting returns how much the kernel keeps for the upstream: bytes, and
// connections that were not accepted.
func (l *lane) waiting() (int, error) {
	all, err := unread(l.ln.Addr(), &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
	if err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for u := range l.conns {
		n, err := unread(u.LocalAddr(), u.RemoteAddr())
		if err != nil {
			return 0, err
		}
		all += n
	}
	return all, nil
}

// settle waits until the front is done with the upstream, and the upstream with
// all that was sent to it.
func (l *lane) settle(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if l.quiet() {
			waiting, err := l.waiting()
			if err != nil {
				return err
			}
			if waiting == 0 && l.quiet() {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.New("a connection to the upstream hangs in the middle of a request")
		}
	}
}
