package control

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// Exposure is what a rollout's release answered while the rollout lasted, and how
// it failed. It is kept as long as the rollout.
type Exposure struct {
	Requests uint64    `json:"requests"`
	Failed   uint64    `json:"failed"`
	Sampled  uint64    `json:"sampled"`  // of those that failed, how many are told apart below
	Failures []Failure `json:"failures"` // the commonest first
	Partly   bool      `json:"partly"`   // some of it was forgotten before it could be counted
}

// Failure is one way in which requests failed.
type Failure struct {
	Method  string           `json:"method"`
	Path    string           `json:"path"` // numbers and identifiers in it as *
	Status  int              `json:"status"`
	Error   string           `json:"error,omitempty"` // of the newest
	Count   uint64           `json:"count"`           // of Exposure.Sampled
	Samples []traffic.Sample `json:"samples"`         // a few, those whose trace is kept before others
}

// What is kept of an exposure.
const (
	maxFailures = 20   // ways to fail, while it is counted
	toldApart   = 5    // of them, that are kept in the end
	maxSamples  = 3    // of each
	sampleHead  = 1000 // bytes of the head of a request or an answer
)

// The counts of a second may change for as long as a request may take, and are at
// hand for a quarter of an hour. They are added to what is kept in between.
const (
	lateAnswers = 75  // seconds
	tallyStride = 60  // seconds that are added at once
	atHand      = 880 // seconds; what is older may be forgotten
	tallyEvery  = 10 * time.Second
)

// kept is an exposure as the store has it.
type keptExposure struct {
	Exposure

	Until int64 `json:"until"` // the last second that is in it
}

// Exposure returns what a rollout did to those who asked, up to now or to its end;
// known is whether that was counted: rollouts of an older Slipway were not.
func (l *Loop) Exposure(ctx context.Context, r delivery.Rollout) (e Exposure, known bool, err error) {
	k, found, err := l.keptExposure(ctx, l.d.Store.Reader, r.ID)
	if err != nil || !found || k.Until >= lastOf(r) {
		return k.Exposure, found, err
	}
	traces, err := l.d.Store.TraceIDs(ctx, r.Change)
	if err != nil {
		return Exposure{}, false, err
	}
	k = l.count(k, r, lastOf(r), traces)
	k.Failures = k.Failures[:min(len(k.Failures), toldApart)]
	return k.Exposure, true, nil
}

// lastOf is the last second that belongs to a rollout.
func lastOf(r delivery.Rollout) int64 {
	if r.Ended.IsZero() {
		return time.Now().Unix()
	}
	return r.Ended.Add(settle).Unix()
}

func (l *Loop) keptExposure(ctx context.Context, from store.Reader, id delivery.RolloutID) (k keptExposure, found bool, err error) {
	k.Failures = []Failure{}
	doc, found, err := from.Exposure(ctx, id)
	if err == nil && found {
		err = json.Unmarshal(doc, &k)
	}
	if err != nil {
		return k, false, fmt.Errorf("control: exposure of %s: %w", id, err)
	}
	return k, found, nil
}

// count adds what is at hand of the seconds up to last.
func (l *Loop) count(k keptExposure, r delivery.Rollout, last int64, traces []string) keptExposure {
	route, first := routeName(r.Env, r.Service), max(k.Until+1, r.Started.Unix())
	if last < first {
		return k
	}
	requests, failed := l.counts.Exposure(route, r.To, first, last)
	k.Requests, k.Failed = k.Requests+requests, k.Failed+failed
	k.Partly = k.Partly || first < time.Now().Unix()-atHand
	k.Failures = slices.Clone(k.Failures)
	for _, s := range l.counts.samples(func(s traffic.Sample) bool {
		at := s.At.Unix()
		return s.Route == route && s.Release == r.To && at >= first && at <= last && traffic.Drawn(s.Caller)
	}) {
		k.tell(s, traces)
	}
	slices.SortStableFunc(k.Failures, func(a, b Failure) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.key(), b.key()))
	})
	k.Until = last
	return k
}

// tell adds a failed request to those that failed alike.
func (k *keptExposure) tell(s traffic.Sample, traces []string) {
	k.Sampled++
	one := Failure{Method: s.Method, Path: shape(s.Path), Status: s.Status, Error: s.Error}
	i := slices.IndexFunc(k.Failures, func(f Failure) bool { return f.key() == one.key() })
	if i < 0 {
		if len(k.Failures) >= maxFailures {
			return
		}
		k.Failures, i = append(k.Failures, one), len(k.Failures)
	}
	f := &k.Failures[i]
	f.Count++
	f.Error = s.Error
	s.Asked, s.Answered = headOf(s.Asked), headOf(s.Answered)
	f.Samples = append(slices.Clone(f.Samples), s)
	slices.SortStableFunc(f.Samples, func(a, b traffic.Sample) int {
		return cmp.Compare(missing(a, traces), missing(b, traces))
	})
	f.Samples = f.Samples[:min(len(f.Samples), maxSamples)]
}

// missing is 1 of a sample without a trace that is kept.
func missing(s traffic.Sample, traces []string) int {
	if s.Trace != "" && slices.Contains(traces, s.Trace) {
		return 0
	}
	return 1
}

func headOf(text string) string {
	if len(text) > sampleHead {
		return strings.ToValidUTF8(text[:sampleHead], "") + "…"
	}
	return text
}

// key is what failures have in common that failed alike.
func (f Failure) key() string {
	return fmt.Sprintf("%s %s %d %s", f.Method, f.Path, f.Status, numbers.ReplaceAllString(f.Error, "*"))
}

// shape is a path without what differs from one request to the next.
func shape(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if numbers.MatchString(p) && !version.MatchString(p) || len(p) > 40 {
			parts[i] = "*"
		}
	}
	return strings.Join(parts, "/")
}

var (
	numbers = regexp.MustCompile(`[0-9]+`)
	version = regexp.MustCompile(`^v[0-9]+$`)
)

// tally keeps what rollouts did to those who asked: now and then while they are
// under way, and once and for all when their last requests are answered.
func (l *Loop) tally(ctx context.Context, v *view) {
	closed, heard := l.counts.closed()
	if !heard || v.now.Sub(l.tallied) < tallyEvery {
		return
	}
	l.tallied = v.now
	open, err := l.d.Store.Unsettled(ctx)
	due := slices.DeleteFunc(open, func(r delivery.Rollout) bool { return r.State.Final() && closed-lateAnswers < lastOf(r) })
	if err == nil && len(due) > 0 {
		err = l.tallyAll(ctx, due, closed-lateAnswers)
	}
	if err != nil && ctx.Err() == nil {
		l.d.Log.ErrorContext(ctx, "what rollouts did to those who asked could not be kept; will try again", slog.Any("error", err))
	}
}

// tallyAll keeps the exposure of rollouts up to a second, in one write.
func (l *Loop) tallyAll(ctx context.Context, due []delivery.Rollout, last int64) error {
	type counted struct {
		id      delivery.RolloutID
		settled bool
		k       keptExposure
		doc     json.RawMessage
	}
	var all []counted
	for _, r := range due {
		k, _, err := l.keptExposure(ctx, l.d.Store.Reader, r.ID)
		if err != nil {
			return err
		}
		one := counted{id: r.ID, settled: r.State.Final()}
		if !one.settled && last < max(k.Until, r.Started.Unix())+tallyStride {
			continue
		}
		traces, err := l.d.Store.TraceIDs(ctx, r.Change)
		if err != nil {
			return err
		}
		one.k = l.count(k, r, min(last, lastOf(r)), traces)
		if one.settled {
			one.k.Failures = one.k.Failures[:min(len(one.k.Failures), toldApart)]
		}
		if one.doc, err = json.Marshal(one.k); err != nil {
			return fmt.Errorf("control: exposure of %s: %w", r.ID, err)
		}
		all = append(all, one)
	}
	if len(all) == 0 {
		return nil
	}
	return l.save(ctx, "exposures", func(tx *store.Tx) error {
		for _, one := range all {
			if err := tx.PutExposure(one.id, one.settled, one.doc); err != nil {
				return err
			}
			for _, f := range one.k.Failures {
				for _, s := range f.Samples {
					if err := lasting(tx, one.settled, s.Trace); err != nil {
						return err
					}
				}
			}
		}
		return nil
	})
}

// lasting lets the trace of a sample stay for ever once the sample does.
func lasting(tx *store.Tx, settled bool, trace string) error {
	if !settled || trace == "" {
		return nil
	}
	return tx.LastTrace(trace)
}
