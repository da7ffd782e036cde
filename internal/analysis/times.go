package analysis

import (
	"fmt"
	"math"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// timesTest judges a distribution of times that another source has, by the
// threshold tests of the latency of requests with the metric's own margins. It
// is proven at one quantile.
type timesTest struct {
	refusal
	*latencyTest
	burst dispersion
	limit float64

	highest float64 // log evidence so far
	nb, nc  float64 // units in judged readings
	xb, xc  float64 // of them, those beyond the threshold nearest to the quantile
}

func newTimesTest(m delivery.Metric, p delivery.JudgePolicy) *timesTest {
	p.LatencyRatio, p.LatencyAdd = m.Ratio-1, inSeconds(m.Add)
	p.PromoteLatency, p.PromoteLatencyAdd = m.PromoteRatio-1, inSeconds(m.PromoteAdd)
	l := newLatencyTest(p, Arm{})
	l.proven = []float64{m.Quantile}
	return &timesTest{latencyTest: l, limit: endLimit(p.Alpha)}
}

func inSeconds(s float64) time.Duration { return time.Duration(min(s, 1e9) * float64(time.Second)) }

func timesProblem(v Value) string {
	if !countable(v.N) {
		return fmt.Sprintf("has %v times", v.N)
	}
	return ""
}

func (t *timesTest) observe(r Reading) {
	if !t.usable(r, timesProblem) {
		return
	}
	b := Block{
		Stable: Arm{Units: uint64(math.Round(r.Stable.N)), Bins: r.Stable.Bins},
		Canary: Arm{Units: uint64(math.Round(r.Canary.N)), Bins: r.Canary.Bins},
	}
	if why := t.load(b); why != "" {
		t.refuse(why)
		return
	}
	at, ok := t.place()
	t.keep = t.burst.keeps(r)
	t.judge(b, t.limit)
	t.highest = max(t.highest, t.evidence())
	if !ok || b.Stable.Units == 0 {
		return
	}
	n := float64(b.Stable.Units)
	over := t.exceeds(0, b.Stable, at.bin)
	far := over - n*at.expected
	t.burst.add(far*far, n*at.expected*(1-at.expected))
	if b.Canary.Units > 0 {
		t.nb += n
		t.xb += over
		t.nc += float64(b.Canary.Units)
		t.xc += t.exceeds(1, b.Canary, at.bin+at.shift)
	}
}

// placed is where a rollback threshold is, and stable's expected share beyond it.
type placed struct {
	bin, shift int
	expected   float64
}

// place returns the rollback threshold nearest to the quantile that promotion
// asks for; ok is false before there is one.
func (t *timesTest) place() (at placed, ok bool) {
	far := math.Inf(1)
	for i := range t.thresholds {
		h := &t.thresholds[i]
		if d := math.Abs(h.quantile - t.proven[0]); d < far {
			far, at = d, placed{bin: h.bin, shift: h.shift}
		}
	}
	at.expected = t.recent.exceeding(at.bin)
	return at, len(t.thresholds) > 0
}

func (t *timesTest) peak() float64 { return t.highest }

func (t *timesTest) proof() float64 {
	if len(t.proofs) == 0 {
		return 0
	}
	return t.proofs[0].promote.peak
}

func (t *timesTest) interval() (low, high float64, known [2]bool) {
	if len(t.proofs) == 0 {
		return math.Inf(-1), math.Inf(1), known
	}
	p := &t.proofs[0]
	return slower(p.bounds, Edge(p.bin+1))
}

func (t *timesTest) estimates() estimates {
	e := estimates{nStable: t.nb, nCanary: t.nc, badStable: t.xb, badCanary: t.xc}
	e.stable, e.canary = t.estimate(t.proven[0], t.nc)
	return e
}

func (t *timesTest) remaining(passAt float64) float64 {
	if len(t.proofs) == 0 {
		return math.Inf(1)
	}
	return t.latencyTest.remaining(&t.proofs[0], passAt) / t.keep
}
