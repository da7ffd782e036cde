package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// tell says how it ended, on stdout: the verdict, why, and what comes next.
func (f *follower) tell(ctx context.Context, end fate) error {
	f.screen.done()
	_, raw, err := client.Read[client.Whole](ctx, f.api, fmt.Sprintf("/changes/%d", f.id))
	if err != nil {
		return err
	}
	err = f.s.show(raw, func() string { return f.epilogue(end) }, func() []string { return []string{fmt.Sprint(f.id)} })
	if err != nil {
		return err
	}
	return ended(end.code)
}

// epilogue is the sentence, the why and the next commands.
func (f *follower) epilogue(end fate) string {
	l, r := f.s.look, end.rollout
	switch {
	case end.code == exitRolledBack || f.back && r.State == delivery.Reverted:
		return f.wentBack(r)
	case f.back && r.State == delivery.Cancelled:
		return fmt.Sprintf("  %s %s %s will not enter %s: %s\n", l.sign(signSuperseded), r.Service, r.Version, r.Env, r.Reason)
	case end.code == exitWaiting:
		return f.waits(end)
	case end.code == exitFailed && r.State == delivery.RevertFailed:
		return fmt.Sprintf("  %s the way back failed: %s\n%s", l.bad("✖"), r.Reason, next("slipway why "+r.Service+" --env "+r.Env, "slipway doctor"))
	case end.code == exitFailed && r.ID != "":
		return fmt.Sprintf("  %s change #%d is %s in %s: %s\n%s", l.sign(signSuperseded), f.id, r.State, r.Env, r.Reason, next("slipway status"))
	case end.code == exitFailed:
		return fmt.Sprintf("  %s a newer change, #%d, took over before %s\n%s", l.sign(signSuperseded), f.seen.next.Change, end.env, next(fmt.Sprintf("slipway watch %d", f.seen.next.Change)))
	case f.seen.whole.Change.Origin == delivery.OriginRollback:
		return f.returned(r)
	}
	m := f.member()
	where := strings.Join(f.path(), ", ")
	if f.only != "" {
		where = f.only
	}
	return fmt.Sprintf("  %s %s %s is live in %s. done in %s\n", l.good("✔"), m.Service, m.Version, where, span(f.took(r)))
}

// took is the time from the submission to the end of its last rollout.
func (f *follower) took(r delivery.Rollout) time.Duration {
	if r.Ended.IsZero() {
		return 0
	}
	return r.Ended.Sub(f.seen.whole.Change.Submitted)
}

// wentBack tells of a rollout that was taken back.
func (f *follower) wentBack(r delivery.Rollout) string {
	l := f.s.look
	live := f.seen.live[r.ID]
	to := "to nothing"
	if r.Was != "" {
		to = "to " + r.Was
	}
	said := []string{fmt.Sprintf("%s rolled back %s in %s.", l.sign(signBack), to, span(r.Ended.Sub(cmp.Or(r.Reverted, r.Created))))}
	if !r.Exposed.IsZero() {
		said = append(said, fmt.Sprintf("%s of %s.", plural(live.Exposure.Failed, "failed request"), grouped(int64(live.Exposure.Requests))))
	}
	commands := []string{}
	if live.Exposure.Failed > 0 {
		commands = append(commands, fmt.Sprintf("slipway logs %s --change %d --failed", r.Service, r.Change))
	} else {
		commands = append(commands, fmt.Sprintf("slipway logs %s --change %d", r.Service, r.Change))
	}
	for _, h := range f.seen.whole.Holds {
		if h.Kind == delivery.Quarantine && h.Release == r.To {
			said = append(said, h.Version+" is on hold.")
			commands = append(commands, h.Lift())
			break
		}
	}
	var b strings.Builder
	b.WriteString("  " + strings.Join(said, "  ") + "\n")
	for _, why := range reasons(r, live) {
		b.WriteString("  why   " + why + "\n")
	}
	b.WriteString(next(commands...))
	return b.String()
}

// reasons says why a rollout went back: what the judge or the loop found, the
// most common failed request, and the last words of an instance in trouble.
func reasons(r delivery.Rollout, live control.Live) []string {
	out := []string{failing(r)}
	if most := commonest(live.Failed); most != "" {
		out = append(out, most)
	}
	for _, i := range live.Instances {
		if len(i.Tail) == 0 || r.Cause.Kind != delivery.CauseProgress {
			continue
		}
		for _, line := range i.Tail[max(0, len(i.Tail)-3):] {
			out = append(out, "it wrote: "+printable(line))
		}
		break
	}
	return out
}

// commonest says the failed request that was seen most, and how often.
func commonest(failed []traffic.Sample) string {
	type like struct {
		method, path, err string
		status            int
	}
	count := map[like]int{}
	for _, s := range failed {
		count[like{s.Method, s.Path, s.Error, s.Status}]++
	}
	var most like
	for k, n := range count {
		if n > count[most] || n == count[most] && cmp.Or(strings.Compare(k.path, most.path), strings.Compare(k.err, most.err), cmp.Compare(k.status, most.status)) < 0 {
			most = k
		}
	}
	if len(count) == 0 {
		return ""
	}
	text := fmt.Sprintf("%s %s → %d", most.method, printable(most.path), most.status)
	if most.err != "" {
		text += ": " + printable(most.err)
	}
	return fmt.Sprintf("%s   (%s)", text, countOf(count[most], len(failed)))
}

// waits tells of a change that goes on only when a person says so.
func (f *follower) waits(end fate) string {
	l, m := f.s.look, f.member()
	if end.gate != nil {
		who := ""
		if end.gate.Who != "" {
			who = "   (" + end.gate.Who + ")"
		}
		sign := signPaused
		if end.gate.Name == "pin" || end.gate.Name == "quarantine" {
			sign = signBlocked
		}
		return fmt.Sprintf("  %s %s %s waits before %s: %s%s\n%s", l.sign(sign), m.Service, m.Version, end.env, end.gate.What, who, next(end.gate.Lifts))
	}
	b := end.rollout.Waiting
	return fmt.Sprintf("  %s %s %s waits in %s: %s\n%s", l.sign(signOf(end.rollout)), m.Service, m.Version, end.env, b.What, next(b.Lifts))
}

// returned tells of a rollback that is done.
func (f *follower) returned(r delivery.Rollout) string {
	l := f.s.look
	text := fmt.Sprintf("  %s %s is back on %s in %s, in %s.", l.sign(signBack), r.Service, r.Version, r.Env, span(f.took(r)))
	for _, h := range slices.Backward(f.seen.whole.Holds) {
		if h.Kind == delivery.Quarantine && h.Release == r.From {
			return text + "  " + h.Version + " is on hold.\n" + next(h.Lift())
		}
	}
	return text + "\n"
}

// next writes the commands that come next on one line.
func next(commands ...string) string {
	commands = slices.DeleteFunc(slices.Clone(commands), func(c string) bool { return c == "" })
	if len(commands) == 0 {
		return ""
	}
	return nextMark + strings.Join(commands, "     ") + "\n"
}
