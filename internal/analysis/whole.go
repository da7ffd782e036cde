package analysis

import (
	"fmt"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// whole watches the service as a whole, whichever release answers. It is no test
// of the release: while both releases break what the service promises, or both
// fail mostly, there is an incident, and nothing shall move on. A canary that is
// bad alone is none; neither is one that mends what stable breaks.
type whole struct {
	slo     delivery.SLO
	slow    int      // the bin whose upper edge is the promised latency
	seconds []served // a ring of the last ones in which anything was asked
	n       int      // how many there were
	sum     [2]served
}

// served is what both releases did in one second.
type served struct{ stable, canary armServed }

type armServed struct{ n, bad, slow float64 }

func (a *armServed) add(b armServed, sign float64) {
	a.n += sign * b.n
	a.bad += sign * b.bad
	a.slow += sign * b.slow
}

const (
	defaultPatience = 10 * time.Second
	maxPatience     = 10 * time.Minute
	defaultWithin   = 0.99
	trouble         = 0.5 // share of errors in both releases that is an incident whatever was promised
	leastFailures   = 3   // in a half of the window, or nothing is said of it; and that the canary would have if it were like stable, or nothing is said of it alone
)

func newWhole(p delivery.SLO) whole {
	w := whole{slo: p, seconds: make([]served, max(2, int(p.Patience/time.Second)))}
	w.slow = Bin(p.Latency.Seconds())
	if Edge(w.slow) > p.Latency.Seconds()*(1+1e-9) {
		w.slow-- // the bin holds what is slower, too
	}
	return w
}

// sloProblem says why an objective cannot be watched; "" if it can.
func sloProblem(s delivery.SLO) string {
	switch {
	case !(s.Errors >= 0 && s.Errors < 1):
		return fmt.Sprintf("the promised share of errors is %v, not from 0 to below 1", s.Errors)
	case s.Latency < 0:
		return fmt.Sprintf("the promised latency is %v, below 0", s.Latency)
	case !(s.Within > 0 && s.Within < 1):
		return fmt.Sprintf("the share within the promised latency is %v, not between 0 and 1", s.Within)
	case s.Patience < time.Second || s.Patience > maxPatience:
		return fmt.Sprintf("the patience with a broken promise is %v, not from 1s to %v", s.Patience, maxPatience)
	}
	return ""
}

// observe takes the next second; within are its answers up to each bin.
func (w *whole) observe(b Block, in *[2]within) {
	if b.Stable.Units+b.Canary.Units == 0 {
		return
	}
	now := served{w.arm(b.Stable, &in[0]), w.arm(b.Canary, &in[1])}
	size := len(w.seconds)
	half := size / 2
	if w.n >= size { // the oldest leaves the older half
		w.sum[0].move(w.seconds[w.n%size], -1)
	}
	if young := size - half; w.n >= young { // the oldest of the younger half grows old
		k := w.seconds[(w.n-young)%size]
		w.sum[1].move(k, -1)
		w.sum[0].move(k, 1)
	}
	w.seconds[w.n%size] = now
	w.sum[1].move(now, 1)
	w.n++
}

func (s *served) move(k served, sign float64) {
	s.stable.add(k.stable, sign)
	s.canary.add(k.canary, sign)
}

func (w *whole) arm(a Arm, in *within) armServed {
	k := armServed{n: float64(a.Units), bad: float64(a.Bad)}
	if w.slo.Latency > 0 && w.slow >= 0 {
		k.slow = k.n - float64(in[min(w.slow, Bins-2)])
	}
	return k
}

// incident says what is wrong with the service as a whole; "" if nothing is. A
// promise is broken when it is in both halves of the window, so that one bad
// second is no incident.
func (w *whole) incident() string {
	if w.n < len(w.seconds) {
		return ""
	}
	bad := func(a armServed) float64 { return a.bad }
	slow := func(a armServed) float64 { return a.slow }
	span := (time.Duration(len(w.seconds)) * time.Second).String()
	switch {
	case w.both(trouble, bad):
		stable, canary := w.shares(bad)
		return fmt.Sprintf("both releases fail: %s of the requests to stable and %s of those to the new release in the last %s",
			percent(stable), percent(canary), span)
	case w.slo.Errors > 0 && w.both(w.slo.Errors, bad):
		stable, canary := w.shares(bad)
		return fmt.Sprintf("the service breaks its objective of at most %s errors with both releases: %s on stable and %s on the new one in the last %s",
			percent(w.slo.Errors), percent(stable), percent(canary), span)
	case w.slo.Latency > 0 && w.both(1-w.slo.Within, slow):
		stable, canary := w.shares(slow)
		return fmt.Sprintf("the service breaks its objective of %s within %s with both releases: %s took longer on stable and %s on the new one in the last %s",
			percent(w.slo.Within), w.slo.Latency, percent(stable), percent(canary), span)
	}
	return ""
}

// both says whether in each half of the window the service as a whole is above
// the limit, and each release is too. A canary of which too little is known
// counts as being like stable.
func (w *whole) both(limit float64, of func(armServed) float64) bool {
	for _, h := range w.sum {
		b, c := h.stable, h.canary
		if of(b)+of(c) < leastFailures || of(b)+of(c) <= limit*(b.n+c.n) || of(b) <= limit*b.n {
			return false
		}
		known := c.n*of(b) >= leastFailures*b.n
		if known && of(c) <= limit*c.n {
			return false
		}
	}
	return true
}

func (w *whole) shares(of func(armServed) float64) (stable, canary float64) {
	b, c := w.sum[0].stable, w.sum[0].canary
	b.add(w.sum[1].stable, 1)
	c.add(w.sum[1].canary, 1)
	return of(b) / max(b.n, 1), of(c) / max(c.n, 1)
}
