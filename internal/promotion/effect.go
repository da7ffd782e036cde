package promotion

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Asking is what a person asks of a rollout under way, and what is known of it.
type Asking struct {
	Verb    delivery.AskVerb
	Rollout delivery.Rollout
	Weight  delivery.Weight // share of the traffic that its release has now
	Keys    []string        // of the configuration, that differ between its two releases
}

// Effect says exactly what an ask does.
func (a Asking) Effect() string {
	if r := a.Rollout; r.State == delivery.Reverting || r.Asked != nil && r.Asked.Verb == delivery.AskAbort {
		return fmt.Sprintf("changes nothing: %s is on its way back in %s already", r.Version, r.Env)
	}
	switch a.Verb {
	case delivery.AskAbort:
		return a.abort()
	case delivery.AskPause:
		return a.pause()
	case delivery.AskResume:
		return a.resume()
	case delivery.AskApprove:
		return a.approve()
	case delivery.AskPromote:
		return a.finish()
	}
	return ""
}

func (a Asking) abort() string {
	r := a.Rollout
	held := "; " + r.Version + " goes on hold"
	switch {
	case r.State == delivery.Queued:
		return fmt.Sprintf("takes change #%d (%s) out of the line before %s; nothing changes there", r.Change, r.Version, r.Env)
	case r.From == "":
		return fmt.Sprintf("stops %s, the first release in %s: nothing serves %s there then%s", r.Version, r.Env, r.Service, held)
	case r.From == r.To:
		return fmt.Sprintf("ends change #%d in %s; %s serves on as it is", r.Change, r.Env, r.Version)
	case a.Weight == 0:
		return fmt.Sprintf("stops %s in %s before it gets any traffic; %s keeps all of it%s", r.Version, r.Env, r.Was, held)
	case r.Plan.Strategy == delivery.BlueGreen:
		return fmt.Sprintf("switches %s from %s (green) back to %s (blue); %s%s", a.traffic(), r.Version, r.Was, a.configuration(), held)
	}
	return fmt.Sprintf("moves %s back to %s; %s%s", a.traffic(), r.Was, a.configuration(), held)
}

// traffic says how much of it the release has.
func (a Asking) traffic() string {
	if a.Weight == delivery.Full {
		return "all " + a.Rollout.Env + " traffic"
	}
	return a.Weight.String() + " of " + a.Rollout.Env + " traffic"
}

// configuration says what going back means for it.
func (a Asking) configuration() string { return backKeys(a.Keys) }

// backKeys says what going back means for the configuration.
func backKeys(keys []string) string {
	if len(keys) == 0 {
		return "keeps the configuration"
	}
	return "takes back the configuration of " + someOf(keys)
}

func (a Asking) pause() string {
	r := a.Rollout
	switch {
	case r.State == delivery.Queued:
		return fmt.Sprintf("keeps %s from beginning in %s until it is resumed", r.Version, r.Env)
	case a.Weight == 0:
		return fmt.Sprintf("gives %s no %s traffic until it is resumed", r.Version, r.Env)
	}
	return fmt.Sprintf("leaves %s on %s until it is resumed; it is judged all the while, and goes back by itself if it is worse", a.traffic(), r.Version)
}

func (a Asking) resume() string {
	r := a.Rollout
	if r.State == delivery.Queued {
		return fmt.Sprintf("lets %s begin in %s when it is its turn", r.Version, r.Env)
	}
	return fmt.Sprintf("lets %s go on in %s with %s of the traffic%s", r.Version, r.Env, share(a.Weight), a.onward())
}

// onward says where the step at hand leads, and what has to be seen first.
func (a Asking) onward() string {
	r := a.Rollout
	step, ok := r.At()
	if !ok || r.State == delivery.Finishing || r.State == delivery.Soaking || r.State == delivery.Queued || r.State == delivery.Preparing {
		return ""
	}
	next := step
	if r.State == delivery.Judging || r.State == delivery.Waiting {
		if r.Step+1 >= len(r.Plan.Steps) {
			return ""
		}
		next = r.Plan.Steps[r.Step+1]
	}
	if next.Do != delivery.DoWeight {
		return ""
	}
	text := ", next " + share(next.Weight)
	if next.Weight == delivery.Full {
		text += " of it"
	}
	if step.Proven && r.State == delivery.Judging {
		text += " once it is proven no worse"
	}
	return text
}

func (a Asking) approve() string {
	r := a.Rollout
	step, _ := r.At()
	if r.Waiting != nil && r.Waiting.On == "incident" && r.State != delivery.Waiting {
		return fmt.Sprintf("lets %s go on in %s in spite of the incident", r.Version, r.Env)
	}
	if step.Do == delivery.DoStart && r.Plan.Strategy == delivery.BlueGreen {
		return switching(r)
	}
	does := fmt.Sprintf("moves all %s traffic to %s", r.Env, r.Version)
	if r.Step+1 < len(r.Plan.Steps) {
		if next := r.Plan.Steps[r.Step+1]; next.Do == delivery.DoWeight && next.Weight < delivery.Full {
			does = fmt.Sprintf("raises %s from %s to %s of %s traffic", r.Version, share(step.Weight), share(next.Weight), r.Env)
		}
	}
	if step.Weight == delivery.Full {
		does = fmt.Sprintf("lets %s, which has all %s traffic, become stable", r.Version, r.Env)
	}
	switch {
	case r.State == delivery.Judging && step.Proven:
		does += " once it is proven no worse at " + step.Weight.String()
	case r.State == delivery.Judging:
		does += " once its time at " + step.Weight.String() + " is over"
	case r.Waiting != nil && r.Waiting.On == "decision":
		does = because(does+", in spite of what is known", r.Waiting.What)
	}
	return does
}

// switching says what the switch of a blue-green rollout does.
func switching(r delivery.Rollout) string {
	text := fmt.Sprintf("switches all %s traffic from %s (blue) to %s (green)", r.Env, r.Was, r.Version)
	if r.State == delivery.Judging {
		text += " as soon as its test has passed"
	}
	return text + warmth(r)
}

// warmth says how long what a rollout replaces is kept running.
func warmth(r delivery.Rollout) string {
	if r.From == "" || r.From == r.To || r.Plan.Window <= 0 {
		return ""
	}
	return fmt.Sprintf("; %s stays warm for %s", r.Was, Span(r.Plan.Window))
}

func (a Asking) finish() string {
	r := a.Rollout
	when := "now"
	if a.Weight == 0 {
		when = "as soon as its instances are ready"
	}
	switch {
	case r.From == "" || r.From == r.To || len(r.Plan.Steps) == 0:
		return fmt.Sprintf("lets %s take all %s traffic %s, as it would by itself", r.Version, r.Env, when)
	case r.Plan.Strategy == delivery.Rolling:
		return fmt.Sprintf("skips the time between the batches: %s replaces %s in %s batch after batch", r.Version, r.Was, r.Env)
	}
	text := fmt.Sprintf("skips what is left of the analysis and moves all %s traffic from %s to %s %s", r.Env, r.Was, r.Version, when)
	if r.Plan.Soak > 0 {
		text += ", then watches it for " + Span(r.Plan.Soak)
	}
	return text + warmth(r)
}

// Way is the plan of a release for one environment.
type Way struct {
	Env     string
	Plan    delivery.Plan
	Promote delivery.Promotion // how it comes there; of the first it does not matter
}

// Starting is a release that is about to enter environments.
type Starting struct {
	Version string
	Ways    []Way // in order
	Was     string
	Alone   bool     // the first environment only
	Keys    []string // of the configuration, that differ from what is stable in the first
	Code    bool     // the code differs too
}

// Effect says where the release starts and how it goes on from there.
func (s Starting) Effect() string {
	if len(s.Ways) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "starts %s in %s", s.Version, s.Ways[0].Env)
	if s.Alone {
		b.WriteString(" alone")
	}
	var alone, asked []string
	for _, w := range s.Ways[1:] {
		if w.Promote == delivery.Manual || len(asked) > 0 {
			asked = append(asked, w.Env)
			continue
		}
		alone = append(alone, w.Env)
	}
	switch len(alone) {
	case 0:
	case 1:
		b.WriteString(", then " + alone[0] + " by itself")
	default:
		b.WriteString(", then " + series(alone) + " by themselves")
	}
	if len(asked) > 0 {
		fmt.Fprintf(&b, "; %s once a person promotes it", series(asked))
	}
	last := s.Ways[len(s.Ways)-1]
	b.WriteString("; " + Course(last.Plan))
	if len(s.Ways) > 1 {
		b.WriteString(" in " + last.Env)
	}
	if len(s.Keys) > 0 && s.Was != "" {
		what := "; changes the configuration of "
		if !s.Code {
			what = "; keeps the code and changes the configuration of "
		}
		b.WriteString(what + someOf(s.Keys))
	}
	return b.String()
}

// Course says the steps of a plan: "canary 5 %, 25 %, 100 %".
func Course(p delivery.Plan) string {
	if len(p.Steps) == 0 {
		return "all traffic at once"
	}
	switch p.Strategy {
	case delivery.BlueGreen:
		text := "blue-green: all traffic at once"
		if len(p.Steps[0].Test) > 0 {
			text += " after its test"
		}
		if p.Steps[0].Approve {
			text += " when a person switches"
		}
		return text
	case delivery.Rolling:
		return fmt.Sprintf("rolling, %s", plural(len(p.Steps), "batch"))
	case delivery.Recreate:
		return "recreate: what runs stops before it starts"
	case delivery.Canary:
	}
	var weights []string
	for _, s := range p.Steps {
		if s.Do == delivery.DoWeight {
			weights = append(weights, s.Weight.String())
		}
	}
	return string(p.Strategy) + " " + strings.Join(weights, ", ")
}

// Back is a rollback of what is stable.
type Back struct {
	Env      string
	From, To string // versions
	Plan     delivery.Plan
	Warm     time.Time // To runs until then; zero: its instances have to be started
	Keys     []string  // of the configuration, that differ
	Code     bool      // the code differs
	Held     bool      // From is on hold already
}

// Effect says how the traffic goes back, and with what.
func (b Back) Effect() string {
	how := fmt.Sprintf("starts %s again in %s and moves all traffic back to it from %s: %s", b.To, b.Env, b.From, Course(b.Plan))
	if !b.Warm.IsZero() {
		how = fmt.Sprintf("moves all %s traffic from %s back to %s at once, which is still warm", b.Env, b.From, b.To)
	}
	config := backKeys(b.Keys)
	if !b.Code && len(b.Keys) > 0 {
		config = "keeps the code and " + config
	}
	if b.Held {
		return how + "; " + config
	}
	return how + "; " + config + "; " + b.From + " goes on hold"
}

// HoldEffect says what a hold does that a person is about to put.
func HoldEffect(h delivery.Hold) string {
	if h.Kind == delivery.Quarantine {
		return fmt.Sprintf("lets %s %s into no environment until the hold is lifted; where it runs, it goes on", h.Service, h.Version)
	}
	return fmt.Sprintf("lets nothing new of %s into %s until the hold is lifted; what runs or is under way there goes on", h.Service, h.Env)
}

// LiftEffect says what comes of lifting holds in w, which still has them.
func LiftEffect(w World, lifted []delivery.Hold) string {
	var what, then []string
	after := w
	after.Holds = slices.DeleteFunc(slices.Clone(w.Holds), func(h delivery.Hold) bool {
		return slices.ContainsFunc(lifted, func(l delivery.Hold) bool { return l.ID == h.ID })
	})
	for _, h := range lifted {
		if h.Kind == delivery.Quarantine {
			what = append(what, h.Service+" "+h.Version)
		} else {
			what = append(what, h.Service+" in "+h.Env)
		}
		for _, r := range w.Open {
			if h.Kind == delivery.Pinned && r.Service == h.Service && r.Env == h.Env && r.State == delivery.Queued {
				then = append(then, fmt.Sprintf("change #%d (%s), which waits for it, begins in %s when it is its turn", r.Change, r.Version, r.Env))
			}
		}
	}
	before := Proposals(w)
	for _, c := range Proposals(after) {
		if !slices.Contains(before, c) {
			then = append(then, fmt.Sprintf("%s %s then enters %s by itself", c.Service, c.Version, c.Env))
		}
	}
	text := "lifts the hold on " + series(what)
	if len(then) == 0 {
		return text + "; nothing is deployed by that"
	}
	return text + "; " + strings.Join(then, "; ")
}

// share says a part of the traffic.
func share(w delivery.Weight) string {
	if w == delivery.Full {
		return "all"
	}
	return w.String()
}

// series joins names as people do: "a, b and c".
func series(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// someOf names at most three keys.
func someOf(keys []string) string {
	if len(keys) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(keys[:3], ", "), len(keys)-3)
	}
	return series(keys)
}

func plural(n int, thing string) string {
	switch {
	case n == 1:
		return "1 " + thing
	case strings.HasSuffix(thing, "ch"):
		thing += "e"
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// Span says a length of time in its largest units: "10 min", "1 h 30 min", "45 s".
func Span(d time.Duration) string {
	parts := []string{}
	for _, u := range []struct {
		size time.Duration
		name string
	}{{time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}} {
		if n := d / u.size; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, u.name))
			d -= n * u.size
		}
		if len(parts) == 2 {
			break
		}
	}
	if len(parts) == 0 {
		return d.String()
	}
	return strings.Join(parts, " ")
}
