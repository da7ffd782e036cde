package control

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
	"github.com/slipway-cd/slipway/internal/workload"
)

// Bounds on asking for the numbers of metrics.
const (
	askEvery   = 5 * time.Second  // what is at hand; a server that is asked has an interval of its own
	askServer  = 15 * time.Second // a server, unless the metric says how often
	askTimeout = 10 * time.Second // of one question
	askSlots   = 8                // questions at a time to one source
	askBackoff = time.Minute      // the longest pause after failures
	askAgain   = 10 * time.Second // until the same complaint is told again
	askQueue   = 2000             // answers that wait for the judge
	askWords   = 300              // bytes of a complaint
)

// readKey names a metric of a rollout.
type readKey struct {
	id     delivery.RolloutID
	metric string
}

// readers ask whoever has numbers, beside the loop, which never waits for them,
// and keep the answers until the judge takes them.
type readers struct {
	mu    sync.Mutex
	of    map[readKey]*asked
	slots map[delivery.MetricSource]chan struct{}
	busy  sync.WaitGroup
}

// asked is what is known of one metric.
type asked struct {
	going bool      // a question is under way
	due   time.Time // when to ask next
	next  int64     // first second that is not known yet
	fails int       // in a row
	got   []metric.Reading
	with  int64     // second of the block that the last reading of any kind went with
	said  string    // the last complaint
	when  time.Time // it was told
}

func newReaders() *readers {
	return &readers{of: map[readKey]*asked{}, slots: map[delivery.MetricSource]chan struct{}{}}
}

func (s *readers) wait() { s.busy.Wait() }

// over forgets the metrics of a rollout that has ended.
func (s *readers) over(id delivery.RolloutID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.of {
		if key.id == id {
			delete(s.of, key)
		}
	}
}

// ask asks for the numbers of a rollout's metrics that are due.
func (l *Loop) ask(ctx context.Context, v *view, r delivery.Rollout, j *judgement) {
	if r.State == delivery.Reverting {
		return // what it did is settled
	}
	for _, m := range r.Plan.Judge.Metrics {
		if len(m.Callers) > 0 {
			continue // they are counted by the data plane
		}
		q := metric.Ask{
			Metric: m, Service: r.Service, Env: r.Env,
			Stable: metric.Side{Release: r.From, Version: r.Was}, Canary: metric.Side{Release: r.To, Version: r.Version},
			Last: v.now.Add(-settle).Unix() - 1,
		}
		if m.Kind == delivery.KindLevel && r.Plan.Twin {
			if q.Stable.Instances, q.Canary.Instances = v.twin(r); len(q.Stable.Instances) == 0 || len(q.Canary.Instances) == 0 {
				continue // nothing of the same age yet
			}
		}
		l.readers.begin(ctx, question{q, l.source(v, m.From), readKey{r.ID, m.Name}, j.next, l.Ring})
	}
}

// twin lists the fresh instances of both releases.
func (v *view) twin(r delivery.Rollout) (stable, canary []string) {
	for _, s := range v.statuses {
		if s.Spec.Service != r.Service || s.Spec.Env != r.Env || s.Phase != workload.Ready {
			continue
		}
		id := string(s.Spec.ID)
		n, err := strconv.Atoi(id[strings.LastIndexByte(id, '.')+1:])
		switch {
		case s.Spec.Release == r.To:
			canary = append(canary, id)
		case s.Spec.Release == r.From && err == nil && n >= r.Plan.Old:
			stable = append(stable, id)
		}
	}
	return stable, canary
}

// question is what is asked, of whom, and who hears of the answer.
type question struct {
	metric.Ask
	of    metric.Driver // nil: nobody has such numbers
	key   readKey
	first int64 // second from which on the judge wants to know, the first time
	ring  func()
}

// begin asks one question unless it is not due, or the last is not answered.
func (s *readers) begin(ctx context.Context, q question) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.of[q.key]
	if a == nil {
		a = &asked{next: q.first}
		s.of[q.key] = a
	}
	if a.going || now.Before(a.due) {
		return
	}
	if q.of == nil {
		a.complain(nobody(q.Metric.From), q.Last, now)
		a.due = now.Add(askAgain)
		return
	}
	if q.First = a.next; q.First > q.Last {
		return
	}
	slots := s.slots[q.Metric.From]
	if slots == nil {
		slots = make(chan struct{}, askSlots)
		s.slots[q.Metric.From] = slots
	}
	a.going = true
	s.busy.Go(func() {
		answer, err := read(ctx, q, slots)
		if ctx.Err() == nil {
			s.take(q, answer, err)
			q.ring()
		}
	})
}

// nobody says that there is no one to ask.
func nobody(from delivery.MetricSource) string {
	if from == delivery.FromPrometheus {
		return "slipway.yaml names no server that answers PromQL (prometheus: {url: ...})"
	}
	return "this server has no numbers from " + string(from)
}

// read asks a driver in its turn, for a bounded time.
func read(ctx context.Context, q question, slots chan struct{}) (metric.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	case <-ctx.Done():
		return metric.Answer{}, fmt.Errorf("%s is busy with other questions", q.Metric.From)
	}
	answer, err := q.of.Read(ctx, q.Ask)
	if err == nil {
		err = garbage(q.Ask, answer)
	}
	return answer, err
}

// garbage says what no source may answer.
func garbage(q metric.Ask, a metric.Answer) error {
	if most := int(q.Last-q.First) + 1; len(a.Readings) > most {
		return fmt.Errorf("%s answered with %d readings of %d seconds", q.Metric.From, len(a.Readings), most)
	}
	last := q.First - 1
	for _, x := range a.Readings {
		if x.Second <= last || x.Second > q.Last || x.Seconds < 0 || int64(x.Seconds) > askQueue {
			return fmt.Errorf("%s answered with a reading of %d seconds to second %d, after one of second %d", q.Metric.From, x.Seconds, x.Second, last)
		}
		last = x.Second
	}
	return nil
}

// take keeps an answer. An error says nothing of the release: it is told as the
// reason why there is no data, and the question is asked again.
func (s *readers) take(q question, answer metric.Answer, err error) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.of[q.key]
	if a == nil {
		return // the rollout has ended
	}
	a.going = false
	every := askEvery
	if q.Metric.From == delivery.FromPrometheus {
		every = cmp.Or(q.Metric.Every, askServer)
	}
	if err != nil {
		a.fails++
		a.due = now.Add(max(every, min(time.Second<<min(a.fails, 10), askBackoff)))
		a.complain(err.Error(), q.Last, now)
		return
	}
	a.fails, a.due = 0, now.Add(every)
	told := false
	for _, x := range answer.Readings {
		if x.Second <= answer.Until { // what is later may still change
			x.Metric = q.key.metric
			a.got = append(a.got, x)
			told = true
		}
	}
	a.next = max(a.next, min(answer.Until, q.Last)+1)
	if answer.Missing != "" && !told {
		a.complain(answer.Missing, q.Last, now)
	}
	if over := len(a.got) - askQueue; over > 0 {
		a.got = slices.Clone(a.got[over:])
	}
}

// complain puts a reason why there is no data in the place of it, now and then.
func (a *asked) complain(why string, second int64, now time.Time) {
	if len(why) > askWords {
		why = strings.ToValidUTF8(why[:askWords], "") + "…"
	}
	if !utf8.ValidString(why) {
		why = strings.ToValidUTF8(why, "?")
	}
	if why == a.said && now.Sub(a.when) < askAgain {
		return
	}
	a.said, a.when = why, now
	a.got = append(a.got, metric.Reading{Second: second, Reading: analysis.Reading{Wrong: why}})
}

// dueOf is whose readings are due, and the seconds that they may go with.
type dueOf struct {
	key  readKey
	j    *judgement
	r    delivery.Rollout
	by   map[int64]*sum
	last int64
}

// due takes the readings that go with the seconds up to last. A reading is known
// later than the counts of its last second, so it goes with a later one; the
// distance to the one before stays what it covers, and none goes with a second
// that is left out.
func (s *readers) due(d dueOf, fill func(*metric.Reading)) []metric.Reading {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.of[d.key]
	if a == nil {
		return nil
	}
	var out []metric.Reading
	told, any := d.j.told[d.key.metric]
	for len(a.got) > 0 {
		x := a.got[0]
		x.Metric = d.key.metric
		second := max(x.Second, d.j.next, a.with+1)
		if x.Wrong == "" && any {
			second = max(second, told+int64(x.Seconds))
		}
		for second <= d.last && idle(d.r, d.by, second) {
			second++
		}
		if second > d.last {
			break
		}
		a.got, a.with = a.got[1:], second
		if x.Wrong == "" {
			told, any = second, true
			fill(&x)
		}
		x.Second = second
		out = append(out, x)
	}
	return out
}

// idle says whether a second is left out whatever happened in it.
func idle(r delivery.Rollout, by map[int64]*sum, second int64) bool {
	if s := by[second]; s != nil {
		return leftOut(r, *s) != ""
	}
	return warming(r, second)
}
