package analysis

import "math"

// Band is one number of both releases as it is drawn: what was seen so far, and
// the always-valid interval of the difference. All bands that are ever drawn hold
// the truth at once with probability 1-alpha each, if the difference does not move.
type Band struct {
	Check   string  `json:"check"` // delivery.Check.Name
	Unit    string  `json:"unit"`
	Stable  float64 `json:"stable"`
	Canary  float64 `json:"canary"`
	Low     float64 `json:"low"`  // of canary minus stable; 0 if it is not known
	High    float64 `json:"high"` //
	Lowest  bool    `json:"low_known"`
	Highest bool    `json:"high_known"`
	Against float64 `json:"evidence_against"`
	NStable uint64  `json:"n_stable"`
	NCanary uint64  `json:"n_canary"`
}

// Bands returns what is to be drawn as of the last block: errors, the quantiles
// that promotion needs, and the policy's metrics. It is a part of Verdict without
// its words, and cheaper.
func (j *Judge) Bands() []Band {
	e := &j.errors
	all := make([]Band, 0, 1+len(j.latency.proofs)+len(j.metrics.all))
	first := Band{Check: "errors", Unit: "share", Against: number(e.against.evidence()), NStable: uint64(e.seen.nb), NCanary: uint64(e.seen.nc)}
	first.Stable, first.Canary = e.seen.shares()
	low, high := e.interval()
	all = append(all, first.between(low, high, [2]bool{low > -1, high < 1}))
	for i := range j.latency.proofs {
		p := &j.latency.proofs[i]
		t := j.thresholdOf(p)
		b := Band{
			Check: quantileName(p.quantile), Unit: "s", Against: number(t.against.evidence()),
			NStable: uint64(t.countedFor(p).nb), NCanary: uint64(t.countedFor(p).nc),
		}
		b.Stable, b.Canary = j.latency.estimate(p.quantile, j.latency.counted)
		all = append(all, b.between(slower(p.bounds, Edge(p.bin+1))))
	}
	for i := range j.metrics.all {
		m := &j.metrics.all[i]
		s := m.test.estimates()
		b := Band{
			Check: m.Name, Unit: m.Unit, Against: number(m.test.evidence()), Stable: finiteOr0(s.stable), Canary: finiteOr0(s.canary),
			NStable: whole64(s.nStable), NCanary: whole64(s.nCanary),
		}
		all = append(all, b.between(m.test.interval()))
	}
	return all
}

func (b Band) between(low, high float64, known [2]bool) Band {
	if b.Lowest = known[0] && !math.IsInf(low, 0) && !math.IsNaN(low); b.Lowest {
		b.Low = low
	}
	if b.Highest = known[1] && !math.IsInf(high, 0) && !math.IsNaN(high); b.Highest {
		b.High = high
	}
	return b
}
