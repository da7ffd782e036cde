package control

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric/embedded"
)

// Trail is how a rollout went, as it is drawn: at most maxMoments moments, however
// long it took. That of one that has ended comes from its tape alone, so that it
// is the same a year later.
type Trail struct {
	Every   int64    // seconds that a moment stands for
	Moments []Moment // oldest first; one without requests is missing
}

// Moment is a few seconds of both releases, and what the judge knew at their end.
type Moment struct {
	Second         int64 // the first
	Stable, Canary Side
	Errors         *analysis.Band // of all that was judged so far; nil: nothing was
}

// maxMoments is how many moments of a rollout are drawn.
const maxMoments = 120

// Trail returns how a rollout went so far. What is not on tape yet is taken from
// the counts at hand.
func (l *Loop) Trail(ctx context.Context, r delivery.Rollout) (Trail, error) {
	out := Trail{Every: 1}
	var last int64
	err := l.films.read(ctx, l, r.ID, func(f *film) {
		t := f.track.open(f.follower.Judge())
		last = f.last
		if !r.State.Final() {
			l.tail(r, &t, max(last+1, r.Started.Unix()))
		}
		out = t.trail()
	})
	return out, err
}

// tail adds what happened since a second, and the judge's word of this moment.
func (l *Loop) tail(r delivery.Rollout, t *track, since int64) {
	last, heard := l.counts.closed()
	if !heard || r.Started.IsZero() || !compares(r.Plan) {
		return
	}
	for _, s := range l.counts.Seconds(embedded.Arms{Route: routeName(r.Env, r.Service), Stable: r.From, Canary: r.To, First: since, Last: last}) {
		if leftOut(r, s) == "" && s.Stable.Units+s.Canary.Units > 0 {
			t.add(nil, s.Block)
		}
	}
	word, judged := l.picture().verdicts[r.ID]
	if i := slices.IndexFunc(word.Checks, func(c delivery.Check) bool { return c.Name == "errors" && c.Kind == "" }); judged && i >= 0 && len(t.list) > 0 {
		c := word.Checks[i]
		t.list[len(t.list)-1].errors = &analysis.Band{
			Check: c.Name, Unit: c.Unit, Stable: c.Stable, Canary: c.Canary, Low: c.Low, High: c.High,
			Lowest: c.Low > -1, Highest: c.High < 1, NStable: c.NStable, NCanary: c.NCanary,
		}
	}
}

// track is moments while they are added up. Once there are too many, each stands
// for twice as many seconds: the same seconds give the same track, however they came.
type track struct {
	every, first int64
	list         []arms
}

// arms is one moment of a track.
type arms struct {
	second         int64
	stable, canary analysis.Arm
	errors         *analysis.Band
}

// add adds a second. The judge is asked what it knew before it; nil knows nothing.
func (t *track) add(j *analysis.Judge, b analysis.Block) {
	if len(t.list) == 0 {
		t.every, t.first = 1, b.Second
	}
	for (b.Second-t.first)/t.every >= maxMoments {
		t.coarsen(j)
	}
	at := t.place(b.Second)
	if n := len(t.list); n == 0 || t.list[n-1].second != at {
		t.close(j)
		t.list = append(t.list, arms{second: at})
	}
	m := &t.list[len(t.list)-1]
	m.stable, m.canary = both(m.stable, b.Stable), both(m.canary, b.Canary)
}

func (t *track) place(second int64) int64 { return t.first + (second-t.first)/t.every*t.every }

// close asks the judge what it knows at the end of the last moment.
func (t *track) close(j *analysis.Judge) {
	if n := len(t.list); n > 0 && j != nil {
		t.list[n-1].errors = errorsOf(j)
	}
}

// coarsen makes each moment twice as long.
func (t *track) coarsen(j *analysis.Judge) {
	t.close(j)
	t.every *= 2
	var list []arms
	for _, m := range t.list {
		at := t.place(m.second)
		if n := len(list); n > 0 && list[n-1].second == at {
			last := &list[n-1]
			last.stable, last.canary = both(last.stable, m.stable), both(last.canary, m.canary)
			if m.errors != nil {
				last.errors = m.errors
			}
			continue
		}
		m.second = at
		list = append(list, m)
	}
	t.list = list
}

// open returns a copy of which the last moment is closed too.
func (t *track) open(j *analysis.Judge) track {
	out := *t
	out.list = slices.Clone(t.list)
	out.close(j)
	return out
}

func (t *track) trail() Trail {
	out := Trail{Every: max(t.every, 1), Moments: []Moment{}}
	for _, m := range t.list {
		out.Moments = append(out.Moments, Moment{Second: m.second, Stable: side(m.stable), Canary: side(m.canary), Errors: m.errors})
	}
	return out
}

// errorsOf is what a judge knows of errors; nil while that is nothing.
func errorsOf(j *analysis.Judge) *analysis.Band {
	all := j.Bands()
	if len(all) == 0 || all[0].NCanary == 0 {
		return nil
	}
	return &all[0]
}

// both adds up two arms as far as they are drawn, and changes neither.
func both(a, b analysis.Arm) analysis.Arm {
	out := analysis.Arm{Units: a.Units + b.Units, Bad: a.Bad + b.Bad, Bins: make(map[int]uint32, max(len(a.Bins), len(b.Bins)))}
	for _, bins := range []map[int]uint32{a.Bins, b.Bins} {
		for bin, n := range bins {
			out.Bins[bin] += n
		}
	}
	return out
}

// films are the tapes that are looked at, each read once however often it is asked
// for, and the parts that were added read alone.
type films struct {
	mu    sync.Mutex
	of    map[delivery.RolloutID]*film
	order []delivery.RolloutID // the one that was looked at longest ago comes first
}

// maxFilms is how many tapes are remembered.
const maxFilms = 16

// film is one tape as far as it was read.
type film struct {
	mu       sync.Mutex
	follower analysis.Follower
	track    track
	points   []Point
	last     int64 // second of the last entry
}

// take returns the film of a rollout; the one that was asked for longest ago is forgotten.
func (s *films) take(id delivery.RolloutID) *film {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = map[delivery.RolloutID]*film{}
	}
	if s.of[id] == nil {
		s.of[id] = &film{}
	}
	s.order = append(slices.DeleteFunc(s.order, func(o delivery.RolloutID) bool { return o == id }), id)
	if len(s.order) > maxFilms {
		delete(s.of, s.order[0])
		s.order = s.order[1:]
	}
	return s.of[id]
}

// drop forgets a film that could not be read.
func (s *films) drop(id delivery.RolloutID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.of, id)
	s.order = slices.DeleteFunc(s.order, func(o delivery.RolloutID) bool { return o == id })
}

// read brings the film of a rollout up to date and lets look see it.
func (s *films) read(ctx context.Context, l *Loop, id delivery.RolloutID, look func(*film)) error {
	f := s.take(id)
	f.mu.Lock()
	defer f.mu.Unlock()
	parts, err := l.d.Store.TapeFrom(ctx, id, f.follower.Parts())
	if err != nil {
		return err
	}
	for _, part := range parts {
		if err := f.follower.Read(part, f.see); err != nil {
			s.drop(id)
			return fmt.Errorf("control: tape of %s: %w", id, err)
		}
	}
	look(f)
	return nil
}

// see takes one entry in, before the judge is told.
func (f *film) see(j *analysis.Judge, e analysis.Entry) {
	if e.Step {
		return
	}
	b := e.Block
	f.last = b.Second
	if e.Left != "" || b.Stable.Units+b.Canary.Units == 0 {
		return
	}
	f.track.add(j, b)
	p := Point{Second: b.Second, Stable: side(b.Stable), Canary: side(b.Canary)}
	p.Stable.Requests, p.Canary.Requests = b.Stable.Units, b.Canary.Units // a tape counts callers
	f.points = append(f.points, p)
}
