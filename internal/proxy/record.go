package proxy

import (
	"encoding/hex"
	"iter"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/accesslog"
	"github.com/slipway-cd/slipway/internal/proxy/redact"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// lines is a head of a request or an answer.
type lines interface {
	// Lines yields each line's name and value.
	Lines() iter.Seq2[string, string]
}

// httpLines is a head that net/http has read.
type httpLines http.Header

// Lines yields the head in the order of its names.
func (h httpLines) Lines() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, name := range slices.Sorted(maps.Keys(h)) {
			for _, value := range h[name] {
				if !yield(name, value) {
					return
				}
			}
		}
	}
}

// record keeps of an ended request what the table asks for: a line of the access
// log, its spans, and a sample of one that failed.
// own is what the last attempt came to, which another release may have made.
func (x *passage) record(n ended, own failure, c class) {
	by := &x.e.table.Load().recording
	logged := by.logs(c.bad() || n.status == 0, &x.trace)
	traced := x.traced()
	if !logged && !traced && !c.bad() {
		return
	}
	now := time.Now()
	if logged {
		e := x.entry(n.status, now)
		e.Outcome, e.Error, e.In, e.Out = c.String(), redact.Error(n.why.err), n.in, n.out
		x.e.access.Add(&e)
	}
	kept := c.bad() && x.e.counts.samples(now)
	if traced || kept && by.failures && x.e.spans.On() {
		x.export(n, own, c, now)
	}
	if kept {
		x.e.counts.sample(x.sample(n, now))
	}
}

// entry describes the request for the access log. It is good until the request
// is done.
func (x *passage) entry(status int, now time.Time) accesslog.Entry {
	e := accesslog.Entry{
		Time: x.began, Trace: x.trace.Trace, Span: x.trace.Span, Client: x.asked.Peer(),
		Listener: x.l.spec.Name, Caller: x.account,
		Method: x.asked.Method(), Host: redact.Host(x.asked.Host()), Path: redact.Text(x.asked.Path()),
		Status: status, Took: now.Sub(x.began), Attempts: x.asks, Protocol: x.asked.Proto(),
	}
	if x.route != nil {
		e.Route = x.route.spec.Name
	}
	if x.pool != nil {
		e.Release = string(x.pool.spec.Release)
	}
	if x.last != nil {
		e.Upstream = x.last.addr
	}
	if q := x.asked.RawQuery(); q != "" {
		e.Path = string(redact.Query(append([]byte(e.Path), '?'), q))
	}
	if agent, there := x.asked.Value("User-Agent", 0); there {
		e.Agent = redact.Text(agent)
	}
	return e
}

// sample describes a failed request for people.
func (x *passage) sample(n ended, now time.Time) traffic.Sample {
	s := traffic.Sample{
		At: x.began, Route: x.route.spec.Name, Release: x.pool.spec.Release, Caller: x.account,
		Method: strings.Clone(x.asked.Method()), Path: strings.Clone(redact.Text(x.asked.Path())),
		Status: n.status, Error: strings.Clone(redact.Error(n.why.err)), Took: now.Sub(x.began),
		Trace: hex.EncodeToString(x.trace.Trace[:]), Asked: headOf(x.asked.Host(), x.asked),
	}
	if n.head != nil {
		s.Answered = redact.Head(n.head.Lines())
	}
	if x.last != nil {
		s.Endpoint = x.last.id
	}
	return s
}

// headOf shows a request's head, without what may be a secret.
func headOf(host string, of lines) string {
	out := "Host: " + redact.Host(host)
	if head := redact.Head(of.Lines()); head != "" {
		out += "\n" + head
	}
	return out
}

// refused keeps of a request that got no further than our own answer what there
// is to keep. It is on no release's account.
func (x *passage) refused(p *problem) {
	x.e.refusals.add(x.l.spec.Name, p.Code)
	by := &x.e.table.Load().recording
	if by.logs(p.Status >= 500, &x.trace) {
		e := x.entry(p.Status, time.Now())
		e.Outcome, e.Error = "refused", p.Code
		x.e.access.Add(&e)
	}
}
