package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var updateConform = flag.Bool("conform.update", false, "write the tables of differences below testdata/conform anew")

// conformCase is one thing a caller can do to a front.
//
// What happened is written as an outcome: the answers in order, "open" or
// "closed", a bar, and the requests that the upstream got. An answer of the
// front itself is its status alone; one of the upstream has its X-Answer and,
// when it is not the same, its body:
//
//	200 /a, 400; closed | GET /a
//
// A request that broke off at the upstream is left out where breaking is not
// the point: how far it came is a matter of chance, and it is never carried out.
//
// "waits" among the answers means that the front wanted more than was sent,
// and says what it did when the caller had no more.
type conformCase struct {
	name    string
	sends   []string        // writes; each is made when the front has read the one before
	methods []string        // of the requests sent, for reading their answers; GET when there are more
	play    play            // of the upstream; nil answers 200
	talk    func(c *caller) // instead of sends, for a caller who listens while it speaks
	want    string          // outcome of both paths of ours
	cuts    bool            // requests that broke off are told
	ours    func(t *testing.T, r *conformRecord)
}

// conformRecord is what one front made of a case.
type conformRecord struct {
	answers []*heard
	waits   int // the answer before which the front waited for more; -1 if it never did
	open    bool
	got     []*seen
	stray   []string
	cuts    bool
	folded  bool
	end     *seen // the terminator, when the connection was open
}

// heard is one answer as the caller got it.
type heard struct {
	*http.Response
	body []byte
	cut  bool   // it ended before its framing said so
	junk bool   // it is no HTTP
	note string // what a caller saw that is no answer
}

// String is how an answer is written in an outcome.
func (a *heard) String() string {
	if a.note != "" {
		return a.note
	}
	if a.junk {
		return "junk " + brief(a.body)
	}
	s := fmt.Sprint(a.StatusCode)
	if a.StatusCode < 200 {
		return s
	}
	if by := a.Header.Get("X-Answer"); by != "" {
		s += " " + by
		if string(a.body) != by && len(a.body) > 0 && !a.cut {
			s += " " + brief(a.body)
		}
		for _, name := range slices.Sorted(maps.Keys(a.Trailer)) {
			if len(a.Trailer[name]) > 0 { // else it was announced and did not come
				s += " +" + name + ":" + strings.Join(a.Trailer[name], ",")
			}
		}
	}
	if a.cut && !a.refused() { // a refusal may end in a reset: the front reads no more
		s += " cut"
	}
	return s
}

// refused says whether the answer is the front's own no.
func (a *heard) refused() bool {
	return a.note == "" && !a.junk && a.StatusCode >= 400 && a.Header.Get("X-Answer") == ""
}

// String is the record as an outcome.
func (r *conformRecord) String() string { return r.outcome(false) }

// outcome writes the record; for a peer it is not told how it worded a refusal.
func (r *conformRecord) outcome(peer bool) string {
	var parts []string
	for i, a := range r.answers {
		if i == r.waits {
			parts = append(parts, "waits")
		}
		if peer && a.refused() {
			parts = append(parts, "refused")
		} else {
			parts = append(parts, a.String())
		}
	}
	if r.waits >= len(r.answers) {
		parts = append(parts, "waits")
	}
	if len(parts) == 0 {
		parts = []string{"no answer"}
	}
	end := "closed"
	if r.open {
		end = "open"
	}
	var got []string
	for _, q := range r.got {
		if !q.cut || r.cuts {
			got = append(got, q.String())
		}
	}
	if r.folded {
		parts, got = fold(parts), fold(got)
	}
	for _, s := range r.stray {
		got = append(got, "STRAY "+s)
	}
	if len(got) == 0 {
		got = []string{"nothing"}
	}
	return printable(strings.Join(parts, ", ") + "; " + end + " | " + strings.Join(got, ", "))
}

// fold replaces a list of equal words by one with their number.
func fold(list []string) []string {
	if alike := slices.Compact(slices.Clone(list)); len(alike) == 1 && len(list) > 1 {
		return []string{fmt.Sprintf("%d times %s", len(list), alike[0])}
	}
	return list
}

// printable writes what a terminal and a table cannot hold as \xNN.
func printable(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			fmt.Fprintf(&b, "\\x%02x", s[i])
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// asPeer rewrites an outcome that is wanted of ours for comparison with a peer's.
func asPeer(want string) string {
	all := strings.Split(want, otherwise)
	for n, one := range all {
		head, rest, _ := strings.Cut(one, "; ")
		parts := strings.Split(head, ", ")
		for i, p := range parts {
			if len(p) == 3 && p[0] >= '4' {
				parts[i] = "refused"
			}
		}
		all[n] = strings.Join(parts, ", ") + "; " + rest
	}
	return strings.Join(all, otherwise)
}

// terminator is sent after every case: a connection that lives on answers it,
// and then everything the case led to has happened.
const terminator = "GET /end HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"

// Bounds that only a broken front reaches, on however slow a machine; and what
// shows that a peer waits for more, which it is then listed for.
const (
	conformLimit = 30 * time.Second
	conformStall = 6 * time.Second
	conformPeek  = 20 * time.Millisecond // when it is known to wait
)

// patience is how long the judge waits for one front.
type patience struct {
	waits  int           // the answer before which it is known to wait for more, or -1
	stall  time.Duration // without an answer shows that it waits for more
	answer time.Duration // for an answer that must come

	// When the front is to close after so many answers the terminator waits for
	// them: a close with bytes unread is a reset, and might cost an answer.
	closing int

	open func(*lane) int // the front's; see conformFront
}

// run plays a case to a front. expect is the outcome known beforehand, which
// only saves the time to find out that a front waits.
func (f *conformFront) run(t *testing.T, c *conformCase, expect string) *conformRecord {
	t.Helper()
	l := <-f.lanes
	defer func() { f.lanes <- l }()
	l.begin(c.play)
	p := patience{open: f.open, waits: waitsAt(expect), closing: closesAt(expect), stall: conformLimit, answer: conformLimit}
	if c.talk != nil {
		p.closing = 0
	}
	if !f.ours {
		p.stall = conformStall
		if strings.Contains(expect, "no answer") || strings.Contains(expect, `echo ""`) {
			p.answer = time.Second // a peer that is known to hang must not cost minutes
		}
	}
	r, err := l.converse(t.Context(), c, p)
	if err != nil {
		t.Fatalf("%s: %v", f.name, err)
	}
	return r
}

// waitsAt returns before which answer an outcome has "waits", or -1.
func waitsAt(outcome string) int {
	head, _, _ := strings.Cut(outcome, "; ")
	for i, p := range strings.Split(head, ", ") {
		if p == "waits" {
			return i
		}
	}
	return -1
}

// closesAt returns after how many answers an outcome has the front close; 0 if
// it refuses, for that takes the terminator or leaves it.
func closesAt(outcome string) int {
	head, rest, _ := strings.Cut(outcome, "; ")
	parts := strings.Split(head, ", ")
	if !strings.HasPrefix(rest, "closed") || slices.Contains(parts, "waits") || slices.Contains(parts, "no answer") {
		return 0
	}
	if first := parts[0]; first == "refused" || len(first) == 3 && first[0] >= '4' {
		return 0
	}
	return len(parts)
}

func (l *lane) converse(ctx context.Context, c *conformCase, p patience) (*conformRecord, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", l.addr)
	if err != nil {
		return nil, err
	}
	tcp := conn.(*net.TCPConn)
	r := &conformRecord{waits: -1, cuts: c.cuts}
	by := &caller{heard: make(chan struct{}), TCPConn: tcp, ctx: ctx, patience: p, br: bufio.NewReaderSize(tcp, 64<<10), r: r, l: l}
	if c.talk != nil {
		c.talk(by)
	}
	var writing sync.WaitGroup
	writing.Go(func() {
		if by.gone {
			return
		}
		for i, s := range append(slices.Clip(c.sends), terminator) {
			if i > 0 && i < len(c.sends) && awaitRead(ctx, tcp) != nil {
				return
			}
			if i == len(c.sends) {
				if <-by.heard; by.lost.Load() {
					return
				}
			}
			if _, err := io.WriteString(tcp, s); err != nil {
				return // the front has hung up, and the answers tell why
			}
		}
	})
	if !by.gone {
		by.listen(c.methods)
	}
	_ = tcp.Close()
	writing.Wait()
	if by.gone && p.open != nil { // the front may not even have begun, and then it would in the next case
		if err := until(ctx, func() bool { return p.open(l) == 0 }); err != nil {
			return nil, fmt.Errorf("the front keeps the connection of a caller that has gone: %w, after %s", err, r)
		}
	}
	if err := l.settle(ctx); err != nil {
		return nil, fmt.Errorf("%w, after %s", err, r)
	}
	r.finish(l)
	return r, nil
}

// finish takes what the upstream got, and the terminator apart.
func (r *conformRecord) finish(l *lane) {
	l.mu.Lock()
	r.got, r.stray = l.got, l.stray
	l.mu.Unlock()
	n, m := len(r.answers), len(r.got)
	if n > 0 && m > 0 && r.got[m-1].String() == "GET /end" && r.answers[n-1].String() == "200 /end" {
		r.answers, r.got, r.end, r.open = r.answers[:n-1], r.got[:m-1], r.got[m-1], true
	}
}

// caller is the judge as a client of a front.
type caller struct {
	*net.TCPConn
	ctx context.Context //nolint:containedctx // of the one case it plays
	br  *bufio.Reader
	r   *conformRecord
	l   *lane

	patience patience
	heard    chan struct{} // closed when the terminator may be sent
	gone     bool          // the caller has ended the connection
	lost     atomic.Bool   // what came is no HTTP, or broke off
}

// leave ends the connection in the middle of what was going on.
func (c *caller) leave() { c.gone = true; _ = c.Close() }

// vanish is leave without a FIN.
func (c *caller) vanish() { _ = c.SetLinger(0); c.leave() }

// send writes bytes as they are. An error shows in what is read.
func (c *caller) send(s string) { _, _ = io.WriteString(c, s) }

// next reads one answer and keeps it in the record; nil at the end.
func (c *caller) next(method string) *heard {
	_ = c.SetReadDeadline(time.Now().Add(c.patience.answer))
	if _, err := c.br.Peek(1); err != nil {
		return nil
	}
	a := readAnswer(c.br, method)
	c.r.answers = append(c.r.answers, a)
	return a
}

// nextIfAny is next, which gives up early and returns nil.
func (c *caller) nextIfAny(method string) *heard {
	most := conformStall
	if c.patience.stall < conformLimit {
		most = time.Second // a peer
	}
	_ = c.SetReadDeadline(time.Now().Add(most))
	if _, err := c.br.Peek(1); err != nil {
		return nil
	}
	return c.next(method)
}

// finalOnly is final, and forgets the interim answers before it: they are a
// matter of chance.
func (c *caller) finalOnly(method string) {
	if a := c.final(method); a != nil {
		c.r.answers = []*heard{a}
	}
}

// final reads answers up to one that is no interim one.
func (c *caller) final(method string) *heard {
	for {
		if a := c.next(method); a == nil || a.junk || a.StatusCode >= 200 || a.StatusCode == http.StatusSwitchingProtocols {
			return a
		}
	}
}

// note writes something into the outcome, among the answers.
func (c *caller) note(format string, args ...any) {
	c.r.answers = append(c.r.answers, &heard{note: fmt.Sprintf(format, args...)})
}

// until waits for what only a broken front never comes to.
func until(ctx context.Context, ok func() bool) error {
	ctx, stop := context.WithTimeout(ctx, conformLimit)
	defer stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// await waits until the upstream has got n requests, heads at least.
func (c *caller) await(n int) {
	if until(c.ctx, func() bool { return len(c.l.requests()) >= n }) != nil {
		c.note("the upstream has got %d of %d requests", len(c.l.requests()), n)
	}
}

// awaitParting waits until the connection that carried /warm is closed.
func (c *caller) awaitParting() {
	if until(c.ctx, func() bool { return !c.l.warm() }) != nil {
		c.note("the upstream did not close")
	}
}

// same folds answers that are all alike, and their requests, into one with
// their number.
func (c *caller) same() { c.r.folded = true }

// listen reads answers until the front closes.
func (c *caller) listen(methods []string) {
	tcp, br, r := c.TCPConn, c.br, c.r
	finals, told := 0, false
	tell := func() {
		if !told {
			told = true
			close(c.heard)
		}
	}
	defer tell()
	for {
		if len(r.answers) >= c.patience.closing {
			tell()
		}
		limit := conformLimit
		switch {
		case r.waits >= 0:
		case len(r.answers) == c.patience.waits:
			limit = conformPeek
		default:
			limit = c.patience.stall
		}
		_ = tcp.SetReadDeadline(time.Now().Add(limit))
		_, err := br.Peek(1)
		if errors.Is(err, os.ErrDeadlineExceeded) && r.waits < 0 {
			r.waits = len(r.answers)
			_ = tcp.CloseWrite()
			continue
		}
		if err != nil {
			return
		}
		_ = tcp.SetReadDeadline(time.Now().Add(conformLimit))
		method := http.MethodGet
		if finals < len(methods) {
			method = methods[finals]
		}
		a := readAnswer(br, method)
		r.answers = append(r.answers, a)
		if a.junk || a.cut {
			c.lost.Store(true)
			return
		}
		if a.StatusCode >= 200 {
			finals++
		}
	}
}

func readAnswer(br *bufio.Reader, method string) *heard {
	res, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		return &heard{junk: true, body: []byte(err.Error())}
	}
	a := &heard{Response: res}
	if res.StatusCode < 200 {
		return a
	}
	a.body, err = io.ReadAll(res.Body)
	a.cut = err != nil
	return a
}
