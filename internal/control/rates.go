package control

import (
	"math"
	"time"
)

// Rate is what a service is asked in an environment, as the data plane sees it.
type Rate struct {
	Env     string  `json:"env"`
	Service string  `json:"service"`
	Second  float64 `json:"per_second"`   // requests
	Failed  float64 `json:"failed_share"` // of them, from 0 to 1
}

// rateWindow is over how long a rate is taken.
const rateWindow = time.Minute

// Rates returns what the services that want picks were asked in the last minute, by
// service and environment. Those that were asked nothing are not among them.
func (l *Loop) Rates(want func(service string) bool) []Rate {
	last, known := l.counts.closed()
	if !known {
		return nil
	}
	var out []Rate
	totals, seconds := l.counts.Totals(last, int64(rateWindow/time.Second), want)
	for _, t := range totals {
		if t.Requests > 0 {
			out = append(out, Rate{t.Env, t.Service, rounded(float64(t.Requests) / float64(seconds)), float64(t.Failed) / float64(t.Requests)})
		}
	}
	return out
}

// rounded keeps two digits, which is what a rate of a minute tells: a page that
// shows it does not change for nothing.
func rounded(v float64) float64 {
	if v <= 0 {
		return 0
	}
	scale := math.Pow(10, 1-math.Floor(math.Log10(v)))
	return math.Round(v*scale) / scale
}
