package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

// changeFacts is all that the page of a change is made of, as it was read.
type changeFacts struct {
	Change   delivery.Change
	Rollouts []delivery.Rollout // oldest first
	Picked   delivery.Rollout   // the one that is shown in full
	Ahead    []string           // environments that it may still enter, in their order
	Judged   control.Explained  // of Picked, as the rest
	Trail    control.Trail
	Exposure control.Exposure
	Counted  bool             // Exposure is known
	Moves    []delivery.Event // of Picked, oldest first
	Holds    []store.HoldRecord
	From, To delivery.Release  // From is empty of a first release
	Kept     []string          // IDs of the traces that are kept
	Ledger   []delivery.Event  // of the change, newest first: enough for a page, and one more
	Before   int64             // line before which that is; 0 is the newest
	All      bool              // every line is to be shown
	Stables  []delivery.Stable // of the service, in all environments
	Back     *delivery.Hold    // on what a roll back from Picked would go to
	Actions  []action          // what can be done, the most likely first
}

// A page shows so many lines of the ledger, and looks for those that tell something
// among so many.
const (
	ledgerPage = 15
	maxLedger  = 200
)

// maxHolds is how many holds of a service are looked through.
const maxHolds = 100

// maxMoves is how many lines of a rollout are read: the first ones tell its steps.
const maxMoves = store.MaxLimit

// change is one page for every kind of change.
func (w *Web) change(ctx context.Context, q request) (page, error) {
	id, err := w.changeID(ctx, q)
	if err != nil {
		return page{}, err
	}
	of, err := w.changeFacts(ctx, q, id)
	if err != nil {
		return page{}, err
	}
	v := changeViewOf(of)
	if v.Preview, err = w.previewOf(ctx, q.Who, of.Picked); err != nil {
		return page{}, err
	}
	return page{Tab: "changes", Title: v.Title, Name: "change", View: v, Live: true}, nil
}

// changeID reads which change the address means; one that is not there is refused
// with those that are.
func (w *Web) changeID(ctx context.Context, q request) (delivery.ChangeID, error) {
	name := q.PathValue("id")
	id, err := strconv.ParseInt(name, 10, 64)
	if err == nil {
		_, err = w.d.Store.Change(ctx, delivery.ChangeID(id))
		if !errors.Is(err, delivery.ErrNotFound) {
			return delivery.ChangeID(id), err
		}
	}
	latest, err := w.d.Store.Changes(ctx, store.ChangeQuery{Limit: 3})
	if err != nil {
		return 0, err
	}
	no := &delivery.Refusal{Code: delivery.CodeUnknownChange, Field: "change", Why: fmt.Sprintf("there is no change #%s", inert(name)), Next: "slipway deploy SERVICE VERSION"}
	if len(latest) > 0 {
		var names []string
		for _, c := range latest {
			names = append(names, fmt.Sprintf("#%d (%s %s)", c.ID, c.Members[0].Service, c.Members[0].Version))
		}
		no.Why += "; the latest are " + strings.Join(names, ", ")
		no.Next = fmt.Sprintf("slipway watch %d", latest[0].ID)
	}
	return 0, no
}

// changeFacts reads what the page shows.
func (w *Web) changeFacts(ctx context.Context, q request, id delivery.ChangeID) (of changeFacts, err error) {
	s := w.d.Store
	if of.Change, err = s.Change(ctx, id); err != nil {
		return of, err
	}
	rollouts, err := s.RolloutsOf(ctx, []delivery.ChangeID{id})
	if err != nil {
		return of, err
	}
	if of.Rollouts = rollouts[id]; len(of.Rollouts) == 0 {
		return of, fmt.Errorf("web: change %d has no rollout", id)
	}
	if of.Picked, err = pick(of.Rollouts, q.URL.Query().Get("env")); err != nil {
		return of, err
	}
	r := of.Picked
	if of.To, err = s.Release(ctx, r.To); err != nil {
		return of, err
	}
	if r.From != "" {
		if of.From, err = s.Release(ctx, r.From); err != nil {
			return of, err
		}
	}
	of.Judged = w.d.Loop.Judged(r)
	if of.Trail, err = w.d.Loop.Trail(ctx, r); err != nil {
		return of, err
	}
	if of.Exposure, of.Counted, err = w.d.Loop.Exposure(ctx, r); err != nil {
		return of, err
	}
	return of, w.changeRecords(ctx, q, &of)
}

// changeRecords reads what the ledger and the like know of a change.
func (w *Web) changeRecords(ctx context.Context, q request, of *changeFacts) (err error) {
	s, r := w.d.Store, of.Picked
	if of.Moves, err = s.Events(ctx, store.EventQuery{Rollout: r.ID, Limit: maxMoves}); err != nil {
		return err
	}
	all, err := s.HoldsOf(ctx, r.Service, maxHolds)
	if err != nil {
		return err
	}
	stables, err := s.Stables(ctx)
	if err != nil {
		return err
	}
	of.Stables = slices.DeleteFunc(stables, func(x delivery.Stable) bool { return x.Service != r.Service })
	if st, stands := of.stable(r); stands {
		of.Back = heldRelease(all, st.Previous)
	}
	of.Holds = slices.DeleteFunc(all, func(h store.HoldRecord) bool {
		pinned := h.Kind == delivery.Pinned && h.Lifted == nil && h.Service == r.Service && h.Env == r.Env && r.State == delivery.Queued
		return !pinned && (h.Kind != delivery.Quarantine || h.Release != r.To)
	})
	if of.Kept, err = s.TraceIDs(ctx, of.Change.ID); err != nil {
		return err
	}
	of.All = q.URL.Query().Get("ledger") == "all"
	if of.Before, err = lineOf(q.URL.Query().Get("before")); err != nil {
		return err
	}
	of.Ledger, err = s.Events(ctx, store.EventQuery{Change: of.Change.ID, Before: of.Before, Newest: true, Limit: maxLedger + 1})
	if err != nil {
		return err
	}
	if of.Ahead, err = w.ahead(ctx, *of); err != nil {
		return err
	}
	of.Actions = w.changeActions(q.Who, *of)
	return nil
}

// pick is the rollout that the page is about: of the environment asked for, else
// the one under way, else the last.
func pick(all []delivery.Rollout, env string) (delivery.Rollout, error) {
	newest := slices.Backward(all)
	if env != "" {
		var envs []string
		for _, r := range newest {
			if r.Env == env {
				return r, nil
			}
			envs = append(envs, r.Env)
		}
		slices.Reverse(envs)
		return delivery.Rollout{}, delivery.Unknown(delivery.CodeUnknownEnvironment, "rollout of this change in", env, slices.Compact(envs), "")
	}
	for _, r := range newest {
		if r.State.Active() {
			return r, nil
		}
	}
	for _, r := range newest {
		if !r.State.Final() {
			return r, nil
		}
	}
	return all[len(all)-1], nil
}

// lineOf reads the number of a line of the ledger.
func lineOf(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return 0, delivery.Invalid("before", "is the number of a line of the ledger")
	}
	return n, nil
}

// ahead lists the environments that a change may still enter: those after the last
// one that it is stable in. A change that went back or was overtaken enters none.
func (w *Web) ahead(ctx context.Context, of changeFacts) ([]string, error) {
	last := of.Rollouts[len(of.Rollouts)-1]
	if of.Change.Only != "" || last.State.Final() && last.State != delivery.Done {
		return nil, nil
	}
	p, err := w.d.Loop.Project(ctx)
	if err != nil {
		return nil, err
	}
	if _, stands := of.stable(last); last.State == delivery.Done && !stands {
		return nil, nil
	}
	var out []string
	for env := p.After(last.Env); env != ""; env = p.After(env) {
		out = append(out, env)
	}
	return out, nil
}

// stable is what runs where a rollout brought its release, if that is still it.
func (of changeFacts) stable(r delivery.Rollout) (delivery.Stable, bool) {
	i := slices.IndexFunc(of.Stables, func(s delivery.Stable) bool { return s.Env == r.Env && s.Release == r.To })
	if i < 0 {
		return delivery.Stable{}, false
	}
	return of.Stables[i], true
}

// heldRelease is the hold that keeps a release from going anywhere, if there is one.
func heldRelease(all []store.HoldRecord, id delivery.ReleaseID) *delivery.Hold {
	i := slices.IndexFunc(all, func(h store.HoldRecord) bool {
		return h.Kind == delivery.Quarantine && h.Release == id && h.Lifted == nil
	})
	if i < 0 {
		return nil
	}
	h := all[i].Hold // of its own: the list is narrowed later
	return &h
}

// changeActions is what can be done with a change now.
func (w *Web) changeActions(who delivery.Who, of changeFacts) []action {
	r := of.Picked
	if !r.State.Final() {
		return w.actionsOfRollout(who, r)
	}
	for _, h := range of.Holds {
		if h.Lifted == nil {
			return []action{w.actionOfHold(who, h.Hold).class("main")}
		}
	}
	st, stands := of.stable(r)
	if r.State != delivery.Done || !stands {
		return nil
	}
	var out []action
	if last := of.Rollouts[len(of.Rollouts)-1]; last.State == delivery.Done && len(of.Ahead) > 0 {
		before := delivery.Cell{Env: last.Env, Release: last.To, Version: last.Version, Change: last.Change}
		out = append(out, w.actPromote(who, r.Service, before, delivery.Cell{Env: of.Ahead[0]}).class("main"))
	}
	if st.Previous != "" {
		out = append(out, w.actBack(who, r.Service, delivery.Cell{Env: r.Env, Release: r.To, Version: r.Version, Before: st.Previous, BeforeHeld: of.Back}))
	}
	return out
}

// trace is the page of one request that failed.
func (w *Web) trace(ctx context.Context, q request) (page, error) {
	id, err := w.changeID(ctx, q)
	if err != nil {
		return page{}, err
	}
	name := strings.ToLower(q.PathValue("trace"))
	tr, found, err := w.d.Store.Trace(ctx, name)
	if err != nil {
		return page{}, err
	}
	if !found || tr.Change != id {
		return page{}, &delivery.Refusal{
			Code: codeNoTrace, Field: "trace", Next: fmt.Sprintf("slipway trace %d", id),
			Why: fmt.Sprintf("no trace %s is kept of change #%d; those that its page shows are kept with it, others for thirty days", inert(cutText(name, 40)), id),
		}
	}
	slices.SortStableFunc(tr.Spans, func(a, b delivery.Span) int { return cmp.Compare(a.Start.UnixNano(), b.Start.UnixNano()) })
	return page{Tab: "changes", Title: fmt.Sprintf("A request to %s · change #%d", tr.Service, id), Name: "trace", View: traceViewOf(tr)}, nil
}

// codeNoTrace is of a trace that is not kept.
const codeNoTrace delivery.RefusalCode = "unknown_trace"
