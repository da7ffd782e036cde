package control

import (
	"context"
	"fmt"
	"slices"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

// Explained is what was judged about one rollout of a change, and how.
type Explained struct {
	Rollout delivery.RolloutID   `json:"rollout"`
	Service string               `json:"service"`
	Env     string               `json:"env"`
	Version string               `json:"version"`
	Was     string               `json:"from_version,omitempty"`
	State   delivery.State       `json:"state"`
	Reason  string               `json:"reason"`
	Waiting *delivery.Blocker    `json:"waiting_on"`
	Live    bool                 `json:"live"`              // the verdict is of this moment; else it is the one that the last move was made on
	Verdict *delivery.Verdict    `json:"verdict"`           // null: nothing was judged
	Nothing string               `json:"nothing,omitempty"` // why nothing was judged
	Policy  delivery.JudgePolicy `json:"policy"`            // with its defaults, and all metrics
	Twin    bool                 `json:"twin,omitempty"`
	Bands   []Band               `json:"bands"` // how the verdict came about, as far as it is on tape
}

// Band is what the judge knew at the end of one second. Each interval holds with
// the chance 1-alpha at all seconds at once.
type Band struct {
	Second  int64            `json:"second"`
	Outcome delivery.Outcome `json:"outcome"`
	Checks  []BandCheck      `json:"checks"`
}

// BandCheck is one check of a band, in the words of delivery.Check.
type BandCheck struct {
	Name    string  `json:"name"`
	Stable  float64 `json:"stable"`
	Canary  float64 `json:"canary"`
	Low     float64 `json:"low"`
	High    float64 `json:"high"`
	Against float64 `json:"evidence_against"`
	For     float64 `json:"evidence_for"`
}

// maxBands is how many moments of a rollout are drawn.
const maxBands = 120

// Explain says what was judged about each rollout of a change, oldest first.
func (l *Loop) Explain(ctx context.Context, id delivery.ChangeID) ([]Explained, error) {
	rollouts, err := l.rolloutsOf(ctx, id)
	if err != nil {
		return nil, err
	}
	pic := l.picture()
	out := []Explained{}
	for _, r := range rollouts {
		e := explained(r, pic)
		parts, err := l.d.Store.Tape(ctx, r.ID)
		if err != nil {
			return nil, err
		}
		if len(parts) > 0 {
			if e.Bands, err = bands(parts); err != nil {
				return nil, fmt.Errorf("control: tape of %s: %w", r.ID, err)
			}
		}
		out = append(out, e)
	}
	return out, nil
}

// Judged says what was judged about one rollout, without how that came about.
func (l *Loop) Judged(r delivery.Rollout) Explained { return explained(r, l.picture()) }

func explained(r delivery.Rollout, pic live) Explained {
	e := Explained{
		Rollout: r.ID, Service: r.Service, Env: r.Env, Version: r.Version, Was: r.Was, State: r.State, Reason: r.Reason, Waiting: r.Waiting,
		Verdict: r.Verdict, Policy: analysis.Defaults(r.Plan.Judge), Twin: r.Plan.Twin, Bands: []Band{},
	}
	if v, ok := pic.verdicts[r.ID]; ok && !r.State.Final() {
		e.Verdict, e.Live = &v, true
	}
	if e.Verdict != nil && e.Verdict.Incident == "" && !compares(r.Plan) && e.Verdict.Outcome == delivery.NoData {
		e.Verdict = nil
	}
	if e.Verdict == nil {
		e.Nothing = unjudged(r)
	}
	return e
}

func (l *Loop) rolloutsOf(ctx context.Context, id delivery.ChangeID) ([]delivery.Rollout, error) {
	if _, err := l.d.Store.Change(ctx, id); err != nil {
		return nil, err
	}
	all, err := l.d.Store.Rollouts(ctx, store.RolloutQuery{Change: id})
	slices.SortFunc(all, func(a, b delivery.Rollout) int { return int(a.Seq - b.Seq) })
	return all, err
}

// unjudged says why there is no verdict on a rollout.
func unjudged(r delivery.Rollout) string {
	switch {
	case r.From == "":
		return "it is the first release here: there was nothing to compare it with"
	case r.From == r.To:
		return "it was the stable release already"
	case r.Plan.Judge.Off:
		return "the judge is off here (judge: {off: true})"
	case !compares(r.Plan):
		return "it goes to everybody at once here, so there is nothing to compare it with"
	case r.State == delivery.Queued:
		return "it is queued"
	case r.Exposed.IsZero() && r.State.Final():
		return "it ended before anybody used it"
	}
	return "nobody has used it yet"
}

// compares reports whether a plan has a step at which both releases answer.
func compares(p delivery.Plan) bool {
	return slices.ContainsFunc(p.Steps, func(s delivery.Step) bool { return s.Weight > 0 && s.Weight < delivery.Full })
}

// bands draws a tape.
func bands(parts [][]byte) ([]Band, error) {
	all := 0
	if _, err := analysis.Entries(parts, func(analysis.Entry) { all++ }); err != nil {
		return nil, err
	}
	every, n := all/maxBands+1, 0
	out := []Band{}
	_, err := analysis.Play(parts, func(j *analysis.Judge, e analysis.Entry) {
		if n++; e.Step || n%every != 0 && n != all {
			return
		}
		v := j.Verdict()
		b := Band{Second: e.Block.Second, Outcome: v.Outcome, Checks: []BandCheck{}}
		for _, c := range v.Checks {
			b.Checks = append(b.Checks, BandCheck{c.Name, c.Stable, c.Canary, c.Low, c.High, c.Against, c.For})
		}
		out = append(out, b)
	})
	return out, err
}
