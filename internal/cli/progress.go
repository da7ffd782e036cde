package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

const barCells = 10

// block is the whole progress: a line for each environment, and a plot while a
// canary runs or after it went back.
func (f *follower) block() []string {
	var lines []string
	width := 0
	for _, env := range f.path() {
		width = max(width, len(env))
	}
	var plotted *control.Live
	for _, env := range f.path() {
		head := "  " + pad(env, max(8, width)) + " "
		r, ok := f.newest(env)
		if !ok {
			lines = append(lines, head+f.absent(env))
			continue
		}
		live := f.seen.live[r.ID]
		lines = append(lines, head+f.row(r, live, f.s.look.width-1-columns(head)))
		if drawn(r, live) {
			plotted = &live
		}
	}
	if plotted != nil {
		lines = append(lines, "")
		lines = append(lines, f.plot(*plotted)...)
	}
	return lines
}

// drawn says whether a plot of the rollout tells something: two arms, and the
// canary is on or went back.
func drawn(r delivery.Rollout, live control.Live) bool {
	return r.From != "" && !r.Exposed.IsZero() && len(live.Points) > 1 && r.State != delivery.Done
}

func (f *follower) plot(live control.Live) []string {
	c := chartOf(live.Points, pressing(live.Verdict), min(f.s.look.width-2, 90))
	r := live.Rollout
	for _, e := range f.seen.events {
		if e.Kind == delivery.EventMoved && e.Rollout == r.ID && e.State == delivery.Judging && e.Step < len(r.Plan.Steps) {
			if s := r.Plan.Steps[e.Step]; s.Do == delivery.DoWeight {
				c.Marks = append(c.Marks, chartMark{e.At.Unix(), s.Weight.String()})
			}
		}
	}
	if !r.Reverted.IsZero() {
		c.Back = r.Reverted.Unix()
	}
	c.Room = f.s.look.width - 1
	return c.draw(f.s.look)
}

// absent says why the change is not in an environment yet.
func (f *follower) absent(env string) string {
	l := f.s.look
	if a := f.seen.next; a != nil && a.Env == env {
		for _, g := range a.Gates {
			if g.Outcome != delivery.GatePass {
				return l.sign(signWaits) + " " + l.faint(g.What)
			}
		}
	}
	return l.sign(signWaits)
}

// row says where one rollout stands. What matters less is left out where it
// does not fit into room columns: the latencies, the slowest first, then the rest
// of the verdict's numbers, then the bar.
func (f *follower) row(r delivery.Rollout, live control.Live, room int) string {
	l := f.s.look
	switch r.State {
	case delivery.Done:
		text := l.sign(signGood) + " " + f.praise(r)
		return text + "  " + l.faint(span(r.Ended.Sub(r.Created)))
	case delivery.Reverted, delivery.RevertFailed:
		return l.sign(signOf(r)) + " " + failing(r)
	case delivery.Superseded, delivery.Cancelled:
		return l.sign(signSuperseded) + " " + string(r.State) + ": " + r.Reason
	case delivery.Reverting:
		return l.sign(signBack) + " going back: " + r.Cause.Text
	case delivery.Queued, delivery.Preparing, delivery.Starting:
		return l.sign(signOf(r)) + " " + string(r.State) + tail(r, f.seen.now)
	case delivery.Shifting, delivery.Judging, delivery.Waiting, delivery.Finishing, delivery.Soaking:
	}
	w := weightOf(r, live)
	bars := l.in(toneCanary, bar(float64(w)/float64(delivery.Full), barCells)) + " "
	var last []string
	if v := live.Verdict; v != nil {
		if n := strings.Trim(sample(v), " ()"); n != "" {
			last = append(last, n)
		}
	}
	if person(r.Waiting) {
		last = append(last, l.sign(signOf(r))+" "+r.Waiting.What)
	} else if t := strings.TrimSpace(tail(r, f.seen.now)); t != "" {
		last = append(last, l.faint(t))
	}
	numbers := checks(l, live.Verdict)
	for {
		parts := []string{bars + w.String()}
		for _, n := range numbers {
			parts = append(parts, n.text)
		}
		text := strings.Join(append(parts, last...), "   ")
		switch {
		case columns(text) <= room || len(numbers) == 0 && bars == "":
			return text
		case len(numbers) > 0:
			least := slices.MaxFunc(numbers, func(a, b number) int { return delivery.Natural(a.name, b.name) })
			numbers = slices.DeleteFunc(numbers, func(n number) bool { return n == least })
		default:
			bars = ""
		}
	}
}

// praise says how good a rollout that is done was.
func (f *follower) praise(r delivery.Rollout) string {
	if v := r.Verdict; v != nil && v.Outcome == delivery.Pass {
		return "no worse" + sample(v)
	}
	return "done"
}

// sample says how many units of the canary were judged.
func sample(v *delivery.Verdict) string {
	most := uint64(0)
	for _, c := range v.Checks {
		most = max(most, c.NCanary)
	}
	if most == 0 {
		return ""
	}
	return " (n=" + grouped(int64(most)) + ")"
}

// failing says what was wrong with a rollout that went back.
func failing(r delivery.Rollout) string {
	if r.Verdict != nil && r.Cause.Kind == delivery.CauseVerdict {
		return failed(r.Verdict, r.Cause.Text)
	}
	if r.Cause.Text != "" {
		return r.Cause.Text
	}
	return r.Reason
}

// weightOf is the share of the traffic that the new release has now.
func weightOf(r delivery.Rollout, live control.Live) delivery.Weight {
	if live.Route != nil {
		return live.Route.WeightOf(r.To)
	}
	if step, ok := r.At(); ok {
		return step.Weight
	}
	return 0
}

// number is what is known of one metric: "errors 0.4 % vs 0.4 % ✔".
type number struct{ name, text string }

// checks says the verdict's numbers.
func checks(l look, v *delivery.Verdict) []number {
	if v == nil {
		return nil
	}
	var out []number
	for _, c := range v.Checks {
		if c.NCanary == 0 || c.Name == "p50" && len(v.Checks) > 2 {
			continue
		}
		text := fmt.Sprintf("%s %s vs %s %s", c.Name, amount(c, c.Canary), amount(c, c.Stable), l.sign(signOfCheck(c.Outcome)))
		out = append(out, number{c.Name, text})
	}
	return out
}

func amount(c delivery.Check, v float64) string {
	return quantity(v, c.Unit)
}

// tail says what a rollout waits for, and for how long.
func tail(r delivery.Rollout, now time.Time) string {
	b := r.Waiting
	if b == nil {
		return ""
	}
	left := ""
	if !b.Until.IsZero() && b.Until.After(now) {
		left = span(b.Until.Sub(now).Truncate(time.Second) + time.Second)
	}
	switch {
	case b.On == "hold" && b.Who == "" && left != "":
		return "  next step in " + left
	case b.On == "soak" && left != "":
		return "  watched at full traffic for " + left + " more"
	case b.On == "not enough data":
		return "  not enough data yet"
	}
	return "  " + b.What
}
