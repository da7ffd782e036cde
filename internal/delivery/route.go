package delivery

import "time"

// Share is one release's part of a split.
type Share struct {
	Release ReleaseID `json:"release"`
	Weight  Weight    `json:"weight"`
}

// Route is the desired and the acknowledged split of one service's traffic in
// one environment. Candidates come first and the stable release last, so that
// a growing weight only ever adds callers to the candidate.
type Route struct {
	Service string    `json:"service"`
	Env     string    `json:"env"`
	Gen     int64     `json:"generation"`        // of Split, counted up at each change
	Split   []Share   `json:"split"`             // desired
	Preview ReleaseID `json:"preview,omitempty"` // answers on the preview route
	Salt    string    `json:"salt"`              // of the sticky assignment; one per rollout
	Acked   int64     `json:"acked"`             // highest Gen the data plane has acknowledged
	At      time.Time `json:"at"`
}

// WeightOf returns the share of release in the desired split.
func (r Route) WeightOf(release ReleaseID) Weight {
	var w Weight
	for _, s := range r.Split {
		if s.Release == release {
			w += s.Weight
		}
	}
	return w
}

// Validate refuses a split that does not add up: every weight lies within 0 and
// Full, no release is named twice, and the sum is Full, or 0 where nobody is
// served.
func (r Route) Validate() error {
	var sum Weight
	seen := map[ReleaseID]bool{}
	for _, s := range r.Split {
		switch {
		case s.Weight < 0 || s.Weight > Full:
			return Invalid("split", "weight "+s.Weight.String()+" of "+string(s.Release)+" is outside 0 % to 100 %")
		case seen[s.Release]:
			return Invalid("split", "names "+string(s.Release)+" twice")
		}
		seen[s.Release] = true
		sum += s.Weight
	}
	if sum != Full && sum != 0 {
		return Invalid("split", "adds up to "+sum.String()+", not 100 % or 0 %")
	}
	return nil
}
