package control

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/promotion"
	"github.com/slipway-cd/slipway/internal/rollout"
	"github.com/slipway-cd/slipway/internal/store"
)

// write puts a move into the store: the rollout, what the world shall look
// like, and a ledger line for each, in one transaction. It writes nothing when
// nothing differs. Nothing is done that is not written here first.
func (l *Loop) write(ctx context.Context, v *view, was delivery.Rollout, m rollout.Move) (bool, error) {
	wants, route := l.differing(v, was, m)
	same := unchanged(v, was, m.Rollout)
	if same && len(wants) == 0 && route == nil && m.Stable == nil && m.Hold == nil {
		return false, nil
	}
	err := l.save(ctx, moveName(was, m.Rollout), func(tx *store.Tx) error {
		if err := l.appendTape(tx, was.ID); err != nil {
			return err
		}
		saved, err := tx.SaveRollout(m.Rollout)
		if err != nil {
			return err
		}
		if err := appendMove(tx, was, saved, v.now); err != nil {
			return err
		}
		if was.Started.IsZero() && !saved.Started.IsZero() { // from here on it is counted what it does
			if err := tx.PutExposure(saved.ID, false, json.RawMessage(`{}`)); err != nil {
				return err
			}
		}
		for _, w := range wants {
			if err := tx.SetWant(w); err != nil {
				return err
			}
			if err := appendIntent(tx, saved, v.now, fmt.Sprintf("run/%s/%d", w.Release, w.Count), wantText(v, w)); err != nil {
				return err
			}
		}
		if route != nil {
			if err := tx.SaveRoute(*route); err != nil {
				return err
			}
			if err := appendIntent(tx, saved, v.now, fmt.Sprintf("route/%d", route.Gen), routeText(v, *route)); err != nil {
				return err
			}
		}
		if m.Stable != nil {
			if err := tx.SetStable(*m.Stable); err != nil {
				return err
			}
			text := fmt.Sprintf("%s is stable in %s", m.Stable.Version, m.Stable.Env)
			if err := appendLine(tx, saved, v.now, delivery.EventStable, "stable/"+string(m.Stable.Release), text, m.Stable); err != nil {
				return err
			}
		}
		if m.Hold != nil {
			h := *m.Hold
			return putHold(ctx, tx, &h)
		}
		return nil
	})
	l.taped(v, was.ID, err)
	return err == nil, err
}

// moveName names a move by where it leads.
func moveName(was, is delivery.Rollout) string {
	name := fmt.Sprintf("%s in %s from %s to %s %d", is.Version, is.Env, was.State, is.State, is.Step)
	if is.Waiting != nil {
		name += " waiting on " + is.Waiting.On
	}
	return name
}

// differing returns what of a move's picture of the world is not written yet.
func (l *Loop) differing(v *view, r delivery.Rollout, m rollout.Move) ([]delivery.Want, *delivery.Route) {
	var wants []delivery.Want
	for _, w := range m.Wants {
		old, found := v.want(w.Service, w.Env, w.Release)
		if !found && w.Count == 0 || found && old.Count == w.Count && old.Until.Equal(w.Until) {
			continue
		}
		wants = append(wants, w)
	}
	if m.Split == nil {
		return wants, nil
	}
	row, found := v.routeRow(r.Env, r.Service)
	if found && slices.Equal(row.Split, m.Split) && row.Preview == m.Preview {
		return wants, nil
	}
	return wants, &delivery.Route{
		Service: r.Service, Env: r.Env, Gen: row.Gen + 1, Split: m.Split, Preview: m.Preview, Salt: string(r.ID), Acked: row.Acked, At: v.now,
	}
}

func (v *view) want(service, env string, id delivery.ReleaseID) (delivery.Want, bool) {
	i := slices.IndexFunc(v.Wants, func(w delivery.Want) bool { return w.Service == service && w.Env == env && w.Release == id })
	if i < 0 {
		return delivery.Want{}, false
	}
	return v.Wants[i], true
}

// unchanged says whether a rollout is as it is stored.
func unchanged(v *view, was, is delivery.Rollout) bool {
	for _, r := range v.open {
		if r.ID == was.ID {
			was = r // aim may have changed a queued one
		}
	}
	if was.State == delivery.Queued && is.State == delivery.Queued && was.From == is.From {
		was.Plan = is.Plan // it is aimed afresh each time; only what it begins with counts
	}
	if sameWait(was.Waiting, is.Waiting) {
		was.Waiting = is.Waiting
	}
	a, errA := json.Marshal(was)
	b, errB := json.Marshal(is)
	return errA == nil && errB == nil && string(a) == string(b)
}

// sameWait says whether two blockers are the same but for what an instance said
// last, which follows a semicolon: a chatty one must not fill the ledger.
func sameWait(a, b *delivery.Blocker) bool {
	if a == nil || b == nil || a.On != b.On || !a.Until.Equal(b.Until) {
		return false
	}
	x, _, _ := strings.Cut(a.What, ";")
	y, _, _ := strings.Cut(b.What, ";")
	return x == y
}

// Moved is what a machine reads in a line of the ledger about a rollout that moved.
type Moved struct {
	From    delivery.State    `json:"from"`
	Weight  delivery.Weight   `json:"weight"` // of the step it is at
	Waiting *delivery.Blocker `json:"waiting_on"`
	Verdict *delivery.Verdict `json:"verdict,omitempty"` // that it moved on, if that is a new one
	Cause   *delivery.Cause   `json:"cause,omitempty"`
}

// MoveOf reads what a line of the ledger says for machines; false is another kind of line.
func MoveOf(e delivery.Event) (Moved, bool) {
	var m Moved
	ok := e.Kind == delivery.EventMoved && len(e.Data) > 0 && json.Unmarshal(e.Data, &m) == nil
	return m, ok
}

func appendMove(tx *store.Tx, was, is delivery.Rollout, now time.Time) error {
	text := fmt.Sprintf("%s in %s: %s", is.Version, is.Env, is.Reason)
	if !rollout.Changed(was, is) && is.Waiting != nil {
		text = fmt.Sprintf("%s in %s waits: %s", is.Version, is.Env, is.Waiting.What)
	}
	d := Moved{From: was.State, Waiting: is.Waiting}
	if s, ok := is.At(); ok {
		d.Weight = s.Weight
	}
	if (is.State != was.State || is.Step != was.Step) && !sameVerdict(was.Verdict, is.Verdict) {
		d.Verdict = is.Verdict
	}
	if is.Cause.Kind != "" {
		d.Cause = &is.Cause
	}
	return appendLine(tx, is, now, delivery.EventMoved, "move", text, d)
}

// sameVerdict reports whether a move was made on no new word of the judge.
func sameVerdict(was, is *delivery.Verdict) bool {
	return was != nil && is != nil && was.At.Equal(is.At) && was.Outcome == is.Outcome
}

func appendIntent(tx *store.Tx, r delivery.Rollout, now time.Time, key, text string) error {
	return appendLine(tx, r, now, delivery.EventIntent, key, text, nil)
}

// appendLine writes one line whose key holds the rollout's generation, so that
// writing it again is writing it once.
func appendLine(tx *store.Tx, r delivery.Rollout, now time.Time, kind delivery.EventKind, key, text string, data any) error {
	e := delivery.Event{
		At: now, Kind: kind, Change: r.Change, Rollout: r.ID, Service: r.Service, Env: r.Env,
		Key: fmt.Sprintf("%s/%d/%s", r.ID, r.Gen, key), State: r.State, Step: r.Step, By: "slipway", Text: text,
	}
	if data != nil {
		doc, err := json.Marshal(data)
		if err != nil {
			return fmt.Errorf("control: event data: %w", err)
		}
		e.Data = doc
	}
	_, err := tx.Append(e)
	return err
}

func wantText(v *view, w delivery.Want) string {
	text := fmt.Sprintf("run %d of %s in %s", w.Count, v.version(w.Release), w.Env)
	if !w.Until.IsZero() {
		text += ", warm until " + w.Until.Format(time.TimeOnly)
	}
	return text
}

func routeText(v *view, r delivery.Route) string {
	var text strings.Builder
	text.WriteString("route " + r.Service + " in " + r.Env + ":")
	for _, s := range r.Split {
		text.WriteString(" " + v.version(s.Release) + " " + s.Weight.String())
	}
	if r.Preview != "" {
		text.WriteString(", preview " + v.version(r.Preview))
	}
	return text.String()
}

func (v *view) version(id delivery.ReleaseID) string {
	if rel, ok := v.Releases[id]; ok {
		return rel.Version
	}
	return string(id)
}

// propose queues what may be promoted by itself, one at a time: each changes
// the world that the next is decided on.
func (l *Loop) propose(ctx context.Context, v *view) (bool, error) {
	l.mu.Lock()
	w := l.live.world
	l.mu.Unlock()
	all := promotion.Proposals(w)
	if len(all) == 0 {
		return false, nil
	}
	c := all[0]
	err := l.save(ctx, "propose "+c.Service+" "+c.Version+" to "+c.Env, func(tx *store.Tx) error {
		if again, err := l.late(ctx, tx, v.Project, c); again || err != nil {
			return err
		}
		p, _, err := tx.Project(ctx)
		if err != nil {
			return err
		}
		w, err := l.worldIn(ctx, tx, p)
		if err != nil {
			return err
		}
		_, err = l.promote(ctx, tx, w, c, PromoteRequest{By: "slipway"})
		return err
	})
	if err != nil {
		return false, fmt.Errorf("control: promote %s %s to %s: %w", c.Service, c.Version, c.Env, err)
	}
	return true, nil
}

// late says whether a person was faster than the automation: what was seen a
// moment ago is looked at again where nobody can come between.
func (l *Loop) late(ctx context.Context, tx *store.Tx, p delivery.Project, c promotion.Candidate) (bool, error) {
	w, err := l.worldIn(ctx, tx, p)
	if err != nil {
		return false, err
	}
	r, flying := w.Flight(c.Service, c.Env)
	before, _ := w.Stable(c.Service, p.Before(c.Env))
	return flying && r.Change >= c.Change || before.Release != c.Release || w.HoldOn(c.Service, c.Env, c.Release) != nil, nil
}

// expire lets go of warm instances whose time has come.
func (l *Loop) expire(ctx context.Context, v *view) (bool, error) {
	wrote := false
	for _, w := range v.Wants {
		if w.Until.IsZero() || v.now.Before(w.Until) {
			continue
		}
		w.Count = 0
		err := l.save(ctx, "let "+v.version(w.Release)+" in "+w.Env+" go cold", func(tx *store.Tx) error {
			if err := tx.SetWant(w); err != nil {
				return err
			}
			_, err := tx.Append(delivery.Event{
				At: v.now, Kind: delivery.EventIntent, Change: w.Change, Service: w.Service, Env: w.Env, By: "slipway",
				Key:  fmt.Sprintf("cold/%s/%s/%s/%d", w.Env, w.Service, w.Release, w.Until.UnixMicro()),
				Text: fmt.Sprintf("rollback window of %s in %s is over", v.version(w.Release), w.Env),
			})
			return err
		})
		if err != nil {
			return wrote, fmt.Errorf("control: let go of %s: %w", w.Release, err)
		}
		wrote = true
	}
	return wrote, nil
}
