package analysis

import "math"

// runs are several looks at a series one after the other, so that a change in the
// midst of it is not averaged away: the i-th has a stake of 1/2, then 1/4, then
// 1/(2i(i-1)) of the evidence, and keeps what it had at its end. It is not carried
// over into the next, because both look at the same instances.
type runs struct {
	series
	slope    float64
	stake    float64
	rest     float64 // of the runs before
	reserve  float64 // of those to come
	restarts float64
	peak     float64
}

func newRuns(slope float64) runs { return runs{slope: slope, stake: 0.5, reserve: 0.5} }

func (r *runs) add(v float64, s *spreads) {
	r.series.add(v)
	r.peak = max(r.peak, r.evidence(s))
	if r.n >= restartEvery {
		r.restart(s)
	}
}

func (r *runs) evidence(s *spreads) float64 {
	return logAdd(math.Log(r.stake)+s.evidence(&r.series, r.slope), math.Log(r.rest+r.reserve))
}

func (r *runs) restart(s *spreads) {
	r.rest = min(r.rest+r.stake*number(s.evidence(&r.series, r.slope)), 1e300)
	r.restarts++
	r.stake = 0.5 / (r.restarts * (r.restarts + 1))
	r.reserve = 0.5 / (r.restarts + 1)
	r.series = series{}
}
