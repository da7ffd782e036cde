package embedded

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// Arms names both releases of a route, and what of them is asked for.
type Arms struct {
	Route          string // Route.Name
	Stable, Canary delivery.ReleaseID
	First, Last    int64 // Unix seconds, both included
}

// Second is what both arms of a route did in one second, over all callers.
type Second struct {
	analysis.Block
	Mixed                          bool // the split changed within it
	StableRequests, CanaryRequests uint64
}

// Seconds returns the seconds in which either arm had a request that the split
// drew, oldest first, with the pairs of mirrored requests beside them.
func (s *Store) Seconds(a Arms) []Second {
	s.frames.mu.Lock()
	defer s.frames.mu.Unlock()
	sums := tally{arms: a, by: map[int64]*Second{}, rest: map[int64]float64{}}
	s.frames.each(a.Route, a.First, a.Last, func(l *line) bool {
		return traffic.Drawn(l.caller) && (l.release == a.Stable || l.release == a.Canary) ||
			l.caller == traffic.MirrorCaller && l.release == a.Canary
	}, sums.add)
	return sums.seconds()
}

// AtCallers returns the seconds of those callers of a route whose requests were
// counted by the arm that their key is drawn to there (traffic.Route.Arms). The
// callers are names of routes.
func (s *Store) AtCallers(a Arms, callers []string) []Second {
	s.frames.mu.Lock()
	defer s.frames.mu.Unlock()
	as := traffic.ArmCaller + a.Route + ")"
	sums := tally{arms: a, by: map[int64]*Second{}, rest: map[int64]float64{}}
	for _, caller := range callers {
		s.frames.each(caller, a.First, a.Last, func(l *line) bool {
			return l.caller == as && (l.release == a.Stable || l.release == a.Canary)
		}, sums.add)
	}
	return sums.seconds()
}

// tally adds up blocks by second and arm.
type tally struct {
	arms Arms
	by   map[int64]*Second
	rest map[int64]float64 // by second: what stable's part of the draw leaves to others
}

func (t *tally) add(b *traffic.Block) {
	s := t.by[b.Second]
	if s == nil {
		s = &Second{Block: analysis.Block{Second: b.Second}}
		t.by[b.Second] = s
	}
	if b.Caller == traffic.MirrorCaller {
		if p := b.Pairs; p != nil {
			s.Pairs.Both += p.Both
			s.Pairs.CanaryBad += p.CopyBad
			s.Pairs.StableBad += p.OrigBad
			s.Pairs.CanarySlow += p.CopySlow
			s.Pairs.StableSlow += p.OrigSlow
		}
		return
	}
	s.Mixed = s.Mixed || b.Mixed
	if b.Release == t.arms.Canary {
		addArm(&s.Canary, b)
		addPlaces(&s.Canary, b)
		s.CanaryRequests += b.Requests
		s.Mixed = s.Mixed || s.Weight != 0 && s.Weight != share(b)
		s.Weight = share(b)
		return
	}
	addArm(&s.Stable, b)
	s.StableRequests += b.Requests
	if w := share(b); w > 0 && w < 1 {
		t.rest[b.Second] = 1 - w
	}
}

// share is a block's release's part of the draw; 0 is not known.
func share(b *traffic.Block) float64 { return float64(b.Share) / float64(delivery.Full) }

// addArm adds a block to what its release did.
func addArm(a *analysis.Arm, b *traffic.Block) {
	a.Units += b.Units
	a.Bad += b.UnitsBad
	a.Open += b.UnitsOpen
	a.Drawn += b.Drawn
	a.Bins = addBins(a.Bins, b.Bins)
	if b.Again == nil {
		return
	}
	if a.Again == nil {
		a.Again = &analysis.Arm{}
	}
	a.Again.Units += b.Again.Units
	a.Again.Bad += b.Again.Bad
	a.Again.Open += b.Again.Open
	a.Again.Bins = addBins(a.Again.Bins, b.Again.Bins)
}

// addPlaces adds which instance did what, for the words of a verdict.
func addPlaces(a *analysis.Arm, b *traffic.Block) {
	if len(b.Places) > 0 && a.Places == nil {
		a.Places = make(map[string]analysis.Place, len(b.Places))
	}
	for id, p := range b.Places {
		sum := a.Places[id]
		a.Places[id] = analysis.Place{Units: sum.Units + p.Requests, Bad: sum.Bad + p.Failed}
	}
}

func addBins(to, from map[int]uint32) map[int]uint32 {
	if to == nil {
		to = make(map[int]uint32, len(from))
	}
	for bin, n := range from {
		to[bin] += n
	}
	return to
}

// seconds returns what was added up. The weight of one in which the canary had no
// request is known from stable's, which had all others to itself.
func (t *tally) seconds() []Second {
	out := make([]Second, 0, len(t.by))
	for _, at := range slices.Sorted(maps.Keys(t.by)) {
		s := *t.by[at]
		if s.Weight == 0 {
			s.Weight = t.rest[at]
		}
		if s.Weight >= 1 {
			s.Weight = 0 // nothing was drawn
		}
		out = append(out, s)
	}
	return out
}

// Exposure adds up what a release answered on a route, to requests that the
// split drew.
func (s *Store) Exposure(route string, release delivery.ReleaseID, first, last int64) (requests, failed uint64) {
	s.frames.mu.Lock()
	defer s.frames.mu.Unlock()
	s.frames.each(route, first, last, func(l *line) bool { return l.release == release && traffic.Drawn(l.caller) },
		func(b *traffic.Block) {
			requests += b.Requests
			failed += failedOf(b)
		})
	return requests, failed
}

func failedOf(b *traffic.Block) uint64 { return b.Server + b.Connect + b.Timeout + b.Broken + b.Shed }

// Total is what a service answered in an environment, to requests that the split
// drew, whoever called.
type Total struct {
	Env, Service     string
	Requests, Failed uint64
}

// Totals adds up the window of seconds that ends with last, of the services that want
// picks, by service and environment. seconds is how many of them anything is known
// of: a store that has just begun knows fewer.
func (s *Store) Totals(last, window int64, want func(service string) bool) (list []Total, seconds int64) {
	s.frames.mu.Lock()
	defer s.frames.mu.Unlock()
	first := max(last-window+1, s.frames.earliest())
	for route := range s.frames.routes {
		env, service, _ := strings.Cut(route, "/")
		if !want(service) {
			continue
		}
		t := Total{Env: env, Service: service}
		s.frames.each(route, first, last, func(l *line) bool { return traffic.Drawn(l.caller) }, func(b *traffic.Block) {
			t.Requests += b.Requests
			t.Failed += failedOf(b)
		})
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b Total) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Env, b.Env))
	})
	return list, max(0, last-first+1)
}

// Call is one edge between two services, as the data plane saw it.
type Call struct {
	Env, Caller, Callee string
	Requests, Failed    uint64
	Seconds             int64 // that they were counted in: those of the window since the first request that is known
}

// callWindow is how far back calls are added up, in seconds.
const callWindow = 600

// Calls adds up the edges of the last ten minutes; service "" means all.
func (s *Store) Calls(service string) []Call {
	s.frames.mu.Lock()
	defer s.frames.mu.Unlock()
	by := map[[3]string]*Call{}
	last := max(s.frames.newest, s.frames.heard.Unix())
	first := max(last-callWindow+1, s.frames.earliest())
	for route := range s.frames.routes {
		env, callee, _ := strings.Cut(route, "/")
		want := func(l *line) bool {
			return traffic.Drawn(l.caller) && (service == "" || callee == service || l.caller == service)
		}
		s.frames.each(route, first, last, want, func(b *traffic.Block) {
			id := [3]string{env, b.Caller, callee}
			if by[id] == nil {
				by[id] = &Call{Env: env, Caller: b.Caller, Callee: callee, Seconds: last - first + 1}
			}
			by[id].Requests += b.Requests
			by[id].Failed += failedOf(b)
		})
	}
	out := make([]Call, 0, len(by))
	for _, call := range by {
		out = append(out, *call)
	}
	slices.SortFunc(out, func(a, b Call) int {
		return cmp.Or(cmp.Compare(a.Env, b.Env), cmp.Compare(a.Caller, b.Caller), cmp.Compare(a.Callee, b.Callee))
	})
	return out
}
