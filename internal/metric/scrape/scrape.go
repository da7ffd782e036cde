// Package scrape asks instances for the metrics they show, as Prometheus does, and
// hands them to a store. It judges nothing and starts nothing; its tests let it
// ask real servers, and such as hang, lie and never end.
package scrape

import (
	"context"
	"hash/maphash"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/metric"
)

// How instances are asked.
const (
	beat      = 200 * time.Millisecond // between two looks for who is due
	timeout   = 2 * time.Second        // for a whole answer
	maxAtOnce = 256                    // asked at a time
	longest   = 30 * time.Second       // between two times to ask who does not answer
	retry     = time.Minute            // between two tries at a page that nobody named
	Normal    = 5 * time.Second        // Target.Every, as a rule
	Close     = time.Second            // Target.Every, while a rollout is looked at closely
)

// Target is one instance to ask.
type Target struct {
	Series metric.Series // whose numbers they are; without a name and labels
	URL    string        // "http://127.0.0.1:10003/metrics"
	Every  time.Duration // between two times
	Guess  bool          // nobody said that there is a page: none is no failure
}

// State is what is known of one target.
type State struct {
	Target
	Found   bool      `json:"found"`         // there is a page
	Up      bool      `json:"up"`            // the last time
	At      time.Time `json:"at"`            // of the last time
	Why     string    `json:"why,omitempty"` // it is not up, or what was left out
	Samples int       `json:"samples"`       // of the last time
}

// Options is what a Scraper works with. All of it is needed.
type Options struct {
	Targets func() []Target // called several times a second; the same instance always has the same place
	Sink    metric.Sink
	Log     *slog.Logger
}

// Scraper asks targets. Make it with New.
type Scraper struct {
	o      Options
	client *http.Client
	seed   maphash.Seed

	mu     sync.Mutex
	states map[string]*state // by instance
	asking int
}

// state is one target and when it is asked next.
type state struct {
	State
	next     time.Time
	busy     bool
	failed   int            // times in a row
	failures map[string]int // ever, by reason
	refused  bool           // the store had no room for some of it, once
}

// New returns a scraper. It does no I/O.
func New(o Options) *Scraper {
	return &Scraper{o: o, seed: maphash.MakeSeed(), states: map[string]*state{}, client: &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			DialContext: (&net.Dialer{Timeout: timeout}).DialContext, MaxIdleConnsPerHost: 1, IdleConnTimeout: 3 * Normal,
			DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Run asks until ctx ends, and returns when nobody is being asked any more.
func (s *Scraper) Run(ctx context.Context) error {
	defer s.client.CloseIdleConnections()
	var busy sync.WaitGroup
	defer busy.Wait()
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		for _, st := range s.due(time.Now()) {
			busy.Go(func() { s.ask(ctx, st) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// States returns what is known of each target.
func (s *Scraper) States() []State {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]State, 0, len(s.states))
	for _, st := range s.states {
		out = append(out, st.State)
	}
	return out
}

// due takes the targets whose time has come, and forgets those that are gone.
func (s *Scraper) due(now time.Time) []*state {
	targets := s.o.Targets()
	s.mu.Lock()
	defer s.mu.Unlock()
	here := make(map[string]bool, len(targets))
	var out []*state
	for _, t := range targets {
		here[t.Series.Instance] = true
		st := s.states[t.Series.Instance]
		if st == nil || st.URL != t.URL || st.Guess != t.Guess {
			st = &state{next: now.Add(s.offset(t)), failures: map[string]int{}}
			s.states[t.Series.Instance] = st
		}
		st.Target = t
		if st.failed == 0 && st.Found && st.next.After(now.Add(t.Every)) {
			st.next = now.Add(s.offset(t)) // it is looked at closely from now on
		}
		if !st.busy && !st.next.After(now) && s.asking < maxAtOnce {
			st.busy = true
			s.asking++
			out = append(out, st)
		}
	}
	for id, st := range s.states {
		if !here[id] && !st.busy {
			delete(s.states, id)
		}
	}
	return out
}

// offset spreads targets over the time between two looks.
func (s *Scraper) offset(t Target) time.Duration {
	return time.Duration(maphash.String(s.seed, t.Series.Instance) % uint64(max(t.Every, 1)))
}

// ask asks one target once. Whatever it does, it costs its own time only.
func (s *Scraper) ask(ctx context.Context, st *state) {
	s.mu.Lock()
	target := st.Target
	s.mu.Unlock()
	begun := time.Now()
	p := s.fetch(ctx, target, begun)
	samples := s.learn(ctx, st, p, begun)
	if len(samples) == 0 {
		return
	}
	refused, why := s.o.Sink.Add(samples)
	if refused == 0 {
		return
	}
	s.mu.Lock()
	first := !st.refused
	st.Why, st.refused = why, true
	s.mu.Unlock()
	if first {
		s.o.Log.WarnContext(ctx, "metrics of an instance are left out", slog.String("instance", target.Series.Instance), slog.Int("samples", refused), slog.String("why", why))
	}
}

// learn takes in what came of asking, and returns what to keep of it. At the end
// of ctx that is nothing: an answer that was cut off says nothing of an instance.
func (s *Scraper) learn(ctx context.Context, st *state, p page, begun time.Time) []metric.Sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.busy = false
	s.asking--
	if ctx.Err() != nil {
		return nil
	}
	took := time.Since(begun)
	st.learn(p, begun, took)
	return st.report(p, begun, took)
}

// learn decides when to ask again.
func (st *state) learn(p page, begun time.Time, took time.Duration) {
	st.At, st.Up, st.Why, st.Samples = begun, p.reason == "", p.why, len(p.samples)
	switch {
	case st.Up:
		st.Found, st.failed = true, 0
		st.next = begun.Add(st.Every)
	case st.Guess && !st.Found:
		st.next = begun.Add(retry)
	default:
		st.failed++
		st.failures[p.reason]++
		wait := st.Every << min(max(st.failed-3, 0), 8) // three times nothing is an instance in trouble
		st.next = begun.Add(took + min(max(wait, st.Every), longest))
	}
}

// report is the page's samples, and what there is to say of the asking itself in
// the names that Prometheus has for it. Of a page that was never there, nothing.
func (st *state) report(p page, begun time.Time, took time.Duration) []metric.Sample {
	if !st.Found && st.Guess {
		return nil
	}
	say := func(name string, k metric.SeriesKind, v float64, labels ...metric.Label) {
		p.samples = append(p.samples, metric.Sample{Series: st.Series.Named(name, labels), Kind: k, At: begun, Value: v})
	}
	up := 0.0
	if st.Up {
		up = 1
	}
	say("up", metric.Gauge, up)
	say("scrape_duration_seconds", metric.Gauge, took.Seconds())
	say("scrape_samples_scraped", metric.Gauge, float64(st.Samples))
	for reason, n := range st.failures {
		say("scrape_failures_total", metric.Counter, float64(n), metric.Label{Name: "reason", Value: reason})
	}
	return p.samples
}
