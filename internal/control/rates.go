package control

import (
	"math"
	"time"

	"github.com/slipway-cd/slipway/internal/metric/embedded"
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

// minutes of golden signals that a service shows, and how long a point of them is.
const (
	signalSpan = 10 * time.Minute
	signalStep = 10 * time.Second
)

// Signals are the golden signals of a service in an environment over the last ten
// minutes: of each release that answered.
type Signals struct {
	First    time.Time       `json:"first"`
	Step     time.Duration   `json:"step"`
	Requests []embedded.Line `json:"requests"` // a second
	Failed   []embedded.Line `json:"failed"`   // a second
	P95      []embedded.Line `json:"p95"`      // in seconds
}

// Signals reads the golden signals of a service.
func (l *Loop) Signals(service, env string) (Signals, error) {
	now := time.Now().Truncate(signalStep)
	s := Signals{First: now.Add(-signalSpan), Step: signalStep}
	q := embedded.Query{Service: service, Env: env, First: s.First, Last: now.Add(-time.Second), Step: signalStep, Show: embedded.ShowRate}
	var err error
	for _, ask := range []struct {
		name string
		show embedded.Show
		to   *[]embedded.Line
	}{
		{embedded.Requests, embedded.ShowRate, &s.Requests},
		{embedded.Failures, embedded.ShowRate, &s.Failed},
		{embedded.Latency, embedded.ShowQuantile, &s.P95},
	} {
		q.Select, q.Show, q.Quantile = embedded.Selector{Name: ask.name}, ask.show, 0.95
		if *ask.to, err = l.d.Numbers.Query(q); err != nil {
			return s, err
		}
	}
	return s, nil
}
