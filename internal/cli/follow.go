package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"time"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

const (
	frameTime   = 250 * time.Millisecond // between two looks when the block is redrawn
	lineTime    = 400 * time.Millisecond // between two looks when lines are printed
	settleTime  = 700 * time.Millisecond // after the end, for the last counts to arrive
	awayLimit   = 30 * time.Second       // how long a server that is away is waited for
	ledgerBatch = 500
)

// follower watches one change until it is over, a person has to act, or the
// time is up. It looks at the state of the world again and again; it keeps
// nothing that a killed server or a lost connection could spoil.
type follower struct {
	s       *session
	api     *client.Client
	out     io.Writer // where progress goes
	id      delivery.ChangeID
	quiet   bool          // no progress
	timeout time.Duration // 0: as long as it takes
	back    bool          // going back is what was asked for
	only    string        // end when this environment is over; "": all
	project delivery.Project
	seen    scene
	screen  screen
	since   int64           // newest ledger line that was read
	after   int64           // ledger lines up to this one are no news
	told    int             // how many of the scene's events were looked at for news
	said    map[string]bool // waits that were printed
	proofs  map[delivery.RolloutID]proof
}

// scene is what the world looks like in one moment.
type scene struct {
	now    time.Time
	whole  client.Whole
	live   map[delivery.RolloutID]control.Live
	events []delivery.Event // of this change, in order
	next   *delivery.Answer // why it is not in the next environment yet
}

// fate says how a change stands: over or not, and what the program says of it.
type fate struct {
	over    bool
	code    exit
	rollout delivery.Rollout // that it turns on
	env     string           // the environment it is not in
	gate    *delivery.Gate   // what keeps it out
}

// follow watches a change and tells how it ended.
func (s *session) follow(ctx context.Context, f *follower) error {
	f.s, f.screen.out, f.screen.width = s, f.out, s.look.width
	if f.live() {
		defer f.screen.done()
	}
	var err error
	if f.project, _, err = f.api.Project(ctx); err != nil {
		return err
	}
	watching := ctx
	if f.timeout > 0 {
		var stop context.CancelFunc
		watching, stop = context.WithTimeout(ctx, f.timeout)
		defer stop()
	}
	end, err := f.watch(watching)
	switch {
	case err == nil:
		return f.tell(ctx, end)
	case ctx.Err() != nil:
		f.leave("interrupted")
		return ended(exitInterrupted)
	case errors.Is(err, context.DeadlineExceeded):
		f.leave(span(f.timeout) + " are over")
		return ended(exitTimeout)
	}
	return err
}

// live reports whether progress is one block that is drawn again and again.
func (f *follower) live() bool { return f.s.look.live && !f.quiet }

// watch looks until the fate of the change is known.
func (f *follower) watch(ctx context.Context) (fate, error) {
	pause := lineTime
	if f.live() {
		pause = frameTime
	}
	tick := time.NewTicker(pause)
	defer tick.Stop()
	var lost time.Time
	for {
		err := f.look(ctx)
		_, refused := errors.AsType[*client.Problem](err)
		switch {
		case ctx.Err() != nil:
			return fate{}, ctx.Err()
		case err == nil:
			lost = time.Time{}
			f.progress()
			if end := f.fate(); end.over {
				return end, f.settle(ctx, end)
			}
		case refused:
			return fate{}, err
		case lost.IsZero():
			lost = time.Now()
			f.say(fmt.Sprintf("  %s the server does not answer; the traffic goes on, and so does this when it is back", f.s.look.sign(signWaits)))
			_ = f.api.Again()
		case time.Since(lost) > awayLimit:
			return fate{}, err
		default:
			_ = f.api.Again() // there may be nothing to find yet
		}
		select {
		case <-ctx.Done():
			return fate{}, ctx.Err()
		case <-tick.C:
		}
	}
}

// settle looks once more when the last counts are in.
func (f *follower) settle(ctx context.Context, end fate) error {
	if !end.rollout.State.Final() {
		return nil
	}
	pause := time.NewTimer(settleTime)
	defer pause.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-pause.C:
	}
	if err := f.look(ctx); err != nil && !errors.Is(err, client.ErrNoServer) {
		return err
	}
	f.progress()
	return nil
}

// look reads the world.
func (f *follower) look(ctx context.Context) error {
	next := scene{now: time.Now(), live: map[delivery.RolloutID]control.Live{}, events: f.seen.events}
	var err error
	if next.whole, err = f.api.Change(ctx, f.id); err != nil {
		return err
	}
	for _, r := range next.whole.Rollouts {
		if old, ok := f.seen.live[r.ID]; ok && r.State.Final() && old.Rollout.State.Final() && next.now.Sub(r.Ended) > 3*settleTime {
			next.live[r.ID] = old
			continue
		}
		if next.live[r.ID], err = f.api.Live(ctx, r.ID); err != nil {
			return err
		}
	}
	page, _, err := client.Read[client.List[delivery.Event]](ctx, f.api, fmt.Sprintf("/ledger?change=%d&since=%d&limit=%d", f.id, f.since, ledgerBatch))
	if err != nil {
		return err
	}
	next.events = append(next.events, page.Items...)
	if n := len(page.Items); n > 0 {
		f.since = page.Items[n-1].Seq
	}
	f.seen = next
	if env := f.waitsFor(); env != "" {
		return f.ask(ctx, env)
	}
	return nil
}

// ask reads why the change is not in env yet.
func (f *follower) ask(ctx context.Context, env string) error {
	q := url.Values{"env": {env}}
	answers, _, err := client.Read[client.List[delivery.Answer]](ctx, f.api, "/services/"+url.PathEscape(f.member().Service)+"/why?"+q.Encode())
	if err == nil && len(answers.Items) > 0 {
		f.seen.next = &answers.Items[0]
	}
	return err
}

func (f *follower) member() delivery.Member {
	if m := f.seen.whole.Change.Members; len(m) > 0 {
		return m[0]
	}
	return delivery.Member{}
}

// path lists the environments the change passes, in order.
func (f *follower) path() []string {
	if only := f.seen.whole.Change.Only; only != "" {
		return []string{only}
	}
	return f.project.EnvironmentNames()
}

// newest returns the last rollout of the change in env.
func (f *follower) newest(env string) (delivery.Rollout, bool) {
	for _, r := range slices.Backward(f.seen.whole.Rollouts) {
		if r.Env == env {
			return r, true
		}
	}
	return delivery.Rollout{}, false
}

// waitsFor names the environment that the change is about to enter, or "".
func (f *follower) waitsFor() string {
	for _, env := range f.path() {
		r, ok := f.newest(env)
		switch {
		case !ok:
			return env
		case r.State != delivery.Done:
			return ""
		}
	}
	return ""
}

// fate decides, from what is seen now, whether there is anything to wait for.
func (f *follower) fate() fate {
	for _, env := range f.path() {
		r, begun := f.newest(env)
		if !begun {
			return f.outside(env)
		}
		end := fate{over: true, rollout: r, env: env}
		switch {
		case r.State == delivery.Done:
			if env == f.only {
				return end
			}
			continue
		case f.back && (r.State == delivery.Reverted || r.State == delivery.Cancelled):
			return end
		case r.State == delivery.Reverted:
			end.code = exitRolledBack
		case r.State.Final():
			end.code = exitFailed
		case r.Asked == nil && person(r.Waiting):
			end.code = exitWaiting
		default:
			end.over = false
		}
		return end
	}
	last, _ := f.newest(f.path()[len(f.path())-1])
	return fate{over: true, rollout: last, env: last.Env}
}

// outside says whether the change will enter env by itself.
func (f *follower) outside(env string) fate {
	end := fate{env: env}
	a := f.seen.next
	if a == nil || a.Env != env {
		return end
	}
	m := f.member()
	if a.Release == m.To && a.May && a.Running == m.Version {
		return fate{over: true, env: env} // it runs there already
	}
	if a.Change > f.id {
		return fate{over: true, code: exitFailed, env: env}
	}
	for _, g := range a.Gates {
		if g.Outcome == delivery.GateBlocked && g.Name != "data plane" && a.Flight == nil {
			return fate{over: true, code: exitWaiting, env: env, gate: &g}
		}
	}
	return end
}

// say prints one line of progress, above the block if there is one.
func (f *follower) say(line string) {
	if f.quiet {
		return
	}
	f.screen.above(line)
}

// progress shows what changed.
func (f *follower) progress() {
	switch {
	case f.quiet:
	case f.live():
		f.screen.draw(f.block())
	default:
		f.lines()
	}
}

// leave says that the change goes on without anybody watching.
func (f *follower) leave(why string) {
	f.screen.done()
	f.s.talk(fmt.Sprintf("  %s; change #%d goes on\n  next  slipway watch %d     slipway abort %d\n", why, f.id, f.id, f.id))
}

// newestLine returns the number of the last line of the ledger: what comes after
// it is news to whoever asks for something now.
func newestLine(ctx context.Context, api *client.Client) (int64, error) {
	page, _, err := client.Read[client.List[delivery.Event]](ctx, api, "/ledger?newest=true&limit=1")
	if err != nil || len(page.Items) == 0 {
		return 0, err
	}
	return page.Items[0].Seq, nil
}

// progressTo is where progress goes that is what was asked for.
func (s *session) progressTo() io.Writer { return s.Stdout }
