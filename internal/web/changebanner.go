package web

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

// banner is what there is to know of a change before anything else: what was found
// and done, in plain words with their numbers, and what comes next.
type banner struct {
	Sign    sign
	Lead    string   // one sentence
	Found   said     // why
	More    []string // what was done, whom it reached, what is on hold
	Next    string   // what lets it go on, in a sentence
	Actions []action
}

// bannerOf says how the picked rollout stands.
func bannerOf(of changeFacts) banner {
	r := of.Picked
	b := banner{Sign: stateOf(r), Actions: of.Actions}
	at := clocks{of.Change.Submitted}
	switch r.State {
	case delivery.Queued:
		b.Lead = fmt.Sprintf("%s waits for its turn in %s.", r.Version, r.Env)
	case delivery.Preparing, delivery.Starting:
		b.Lead = fmt.Sprintf("%s is starting in %s.", r.Version, r.Env)
	case delivery.Shifting, delivery.Judging, delivery.Waiting, delivery.Finishing, delivery.Soaking:
		b.Lead = underWay(r)
		b.Found = soFar(of)
	case delivery.Done:
		doneBanner(of, at, &b)
	case delivery.Reverting:
		b.Lead = fmt.Sprintf("Going back to %s in %s since %s.", cmp.Or(r.Was, "nothing"), r.Env, at.at(r.Cause.At))
		b.Found = causeOf(of)
	case delivery.Reverted:
		revertedBanner(of, at, &b)
	case delivery.RevertFailed:
		b.Lead = fmt.Sprintf("%s could not be taken back in %s: a person is needed.", r.Version, r.Env)
		b.Found = plain(r.Reason)
		b.More = append(b.More, "It went back because: "+causeOf(of).String())
		b.Next = "Next: slipway doctor."
	case delivery.Superseded:
		b.Lead = fmt.Sprintf("%s gave way to a newer change in %s at %s.", r.Version, r.Env, at.at(r.Ended))
		b.Found = plain(r.Reason)
	case delivery.Cancelled:
		b.Lead = fmt.Sprintf("%s was cancelled in %s at %s, before it began.", r.Version, r.Env, at.at(r.Ended))
		b.Found = plain(strings.TrimPrefix(r.Reason, "cancelled: "))
	}
	waits(r, at, &b)
	b.More = append(b.More, reached(of)...)
	b.More = append(b.More, held(of, at)...)
	return b
}

// underWay says what a rollout under way has come to.
func underWay(r delivery.Rollout) string {
	step, ok := r.At()
	switch {
	case r.State == delivery.Finishing:
		return fmt.Sprintf("All requests in %s are being moved to %s.", r.Env, r.Version)
	case r.State == delivery.Soaking:
		return fmt.Sprintf("%s answers all requests in %s and is still being watched.", r.Version, r.Env)
	case !ok:
		return fmt.Sprintf("%s is on its way in %s.", r.Version, r.Env)
	case step.Preview && r.State != delivery.Shifting:
		return fmt.Sprintf("%s is up in %s and answers on its preview route alone.", r.Version, r.Env)
	case step.Weight == 0:
		return fmt.Sprintf("%s is coming up in %s and gets no requests yet.", r.Version, r.Env)
	case r.State == delivery.Shifting:
		return fmt.Sprintf("%s is being given %s of the requests in %s.", r.Version, step.Weight, r.Env)
	case step.Weight == delivery.Full:
		return fmt.Sprintf("%s answers all requests in %s.", r.Version, r.Env)
	}
	return fmt.Sprintf("%s answers %s of the requests in %s.", r.Version, step.Weight, r.Env)
}

// soFar is what the judge says while a rollout is under way.
func soFar(of changeFacts) said {
	v := of.Judged.Verdict
	if v == nil {
		return nothingJudged(of)
	}
	return plain(strings.ReplaceAll(v.Sentence, "the new release", of.Picked.Version))
}

func nothingJudged(of changeFacts) said {
	if of.Judged.Nothing == "" {
		return nil
	}
	return plain("Nothing was judged: " + of.Judged.Nothing)
}

// waits adds what a rollout waits for, and makes a stand of it where a person is
// waited for.
func waits(r delivery.Rollout, at clocks, b *banner) {
	if r.Paused != nil && !r.State.Final() {
		by := fmt.Sprintf("Paused by %s at %s", inert(r.Paused.By), at.at(r.Paused.At))
		if r.Paused.Why != "" {
			by += ": " + strings.TrimRight(inert(r.Paused.Why), ".")
		}
		b.Lead = by + ". " + b.Lead
		return
	}
	w := r.Waiting
	if w == nil || r.State.Final() {
		return
	}
	switch w.On {
	case "approval":
		b.Sign, b.Lead = sign{signPaused.Icon, "waits for approval", signPaused.Class}, b.Lead+" It waits for approval."
	case "decision":
		b.Sign = sign{signPaused.Icon, "waits for a person", signPaused.Class}
		b.More = append(b.More, sentence(w.What))
	case "hold":
		if r.State == delivery.Queued {
			b.Sign = signBlocked
		}
		b.More = append(b.More, sentence(w.What))
	case "incident":
		b.Sign = sign{signPaused.Icon, "stands still", signPaused.Class}
		b.Found = plain(w.What)
	case "not enough data": // the judge says it better
	default:
		b.More = append(b.More, sentence(w.What))
	}
	switch {
	case !w.Until.IsZero():
		b.Next = "It goes on by itself at " + at.at(w.Until) + "."
	case w.Lifts != "":
		b.Next = "What lifts it: " + strings.TrimRight(inert(w.Lifts), ".") + "."
	}
}

// doneBanner says that a release is in.
func doneBanner(of changeFacts, at clocks, b *banner) {
	r := of.Picked
	switch {
	case r.Origin == delivery.OriginRollback:
		b.Lead = fmt.Sprintf("%s went back to %s in %s at %s.", r.Service, r.Version, r.Env, at.at(r.Ended))
	case r.From == r.To:
		b.Lead = fmt.Sprintf("%s was what ran in %s already.", r.Version, r.Env)
	case r.From == "":
		b.Lead = fmt.Sprintf("%s is the first release of %s in %s, since %s.", r.Version, r.Service, r.Env, at.at(r.Ended))
	default:
		b.Lead = fmt.Sprintf("%s went into %s at %s, in %s.", r.Version, r.Env, at.at(r.Ended), lasted(r.Ended.Sub(r.Started)))
	}
	v := of.Judged.Verdict
	switch {
	case v == nil:
		b.Found = nothingJudged(of)
	case v.Outcome == delivery.Pass:
		b.Found = plain(strings.ReplaceAll(v.Sentence, "the new release", r.Version))
	default:
		b.Found = plain("It was not proven fit: " + strings.ReplaceAll(v.Sentence, "the new release", r.Version))
	}
}

// revertedBanner says that a release was taken back.
func revertedBanner(of changeFacts, at clocks, b *banner) {
	r := of.Picked
	when := at.at(cmp.Or(r.Reverted, r.Ended))
	if r.Cause.Kind == delivery.CausePerson {
		b.Lead = fmt.Sprintf("Taken back by %s at %s.", inert(r.Cause.By), when)
	} else {
		b.Lead = fmt.Sprintf("Rolled back automatically at %s.", when)
	}
	b.Found = causeOf(of)
	switch {
	case r.From == "":
		b.More = append(b.More, fmt.Sprintf("Nothing served %s in %s before it, so nothing does now.", r.Service, r.Env))
	case r.Exposed.IsZero():
		b.More = append(b.More, fmt.Sprintf("No request had been sent to it: %s served all of them throughout.", r.Was))
	case !r.Shifted.IsZero() && !r.Reverted.IsZero() && !r.Shifted.Before(r.Reverted):
		b.More = append(b.More, fmt.Sprintf("All requests were back on %s within %s.", r.Was, lasted(r.Shifted.Sub(r.Reverted))))
	default:
		b.More = append(b.More, fmt.Sprintf("All requests go to %s again.", r.Was))
	}
}

// causeOf says why a rollout went back.
func causeOf(of changeFacts) said {
	r := of.Picked
	switch r.Cause.Kind {
	case delivery.CauseVerdict:
		if r.Verdict != nil {
			return blamed(*r.Verdict, r)
		}
	case delivery.CausePerson:
		if _, why, ok := strings.Cut(r.Cause.Text, ": "); ok {
			return plain(why)
		}
		return nil
	case delivery.CauseTest, delivery.CauseProgress, delivery.CauseNewer, delivery.CauseMissing:
	}
	return plain(r.Cause.Text)
}

// blamed says what the judge found, with the numbers of the check that it named.
func blamed(v delivery.Verdict, r delivery.Rollout) said {
	if rest, ok := strings.CutPrefix(v.Sentence, "the new release became worse: "); ok {
		return plain(r.Version + " became worse: " + rest)
	}
	c, ok := culprit(v)
	if !ok {
		return plain(strings.ReplaceAll(v.Sentence, "the new release", r.Version))
	}
	w := c.Words
	if w == nil {
		return plain(c.Sentence)
	}
	verb := "was"
	if c.Name == "errors" && c.Kind == "" {
		verb = "were"
	}
	out := said{{Text: fmt.Sprintf("%s of %s %s ", checkName(c), r.Version, verb)}, {Text: w.Canary, Strong: true}, {Text: " against "}, {Text: w.Stable, Strong: true}, {Text: " on " + cmp.Or(r.Was, "stable")}}
	if w.Apart != "" {
		out = append(out, phrase{Text: ", " + inert(w.Apart)})
	}
	out = append(out, phrase{Text: ": " + inert(w.Counts)})
	if w.Allowed != "" {
		out = append(out, phrase{Text: "; allowed is " + inert(w.Allowed)})
	}
	return append(out, phrase{Text: "."})
}

// culprit is the check that sent a release back.
func culprit(v delivery.Verdict) (delivery.Check, bool) {
	i := slices.IndexFunc(v.Checks, func(c delivery.Check) bool { return c.Culprit && c.Outcome == delivery.Fail })
	if i < 0 {
		i = slices.IndexFunc(v.Checks, func(c delivery.Check) bool { return c.Outcome == delivery.Fail })
	}
	if i < 0 {
		return delivery.Check{}, false
	}
	return v.Checks[i], true
}

// reached says whom a release reached, and how many requests it failed.
func reached(of changeFacts) []string {
	r, e := of.Picked, of.Exposure
	if !of.Counted || r.Exposed.IsZero() || r.Origin == delivery.OriginInitial && r.From == "" {
		return nil
	}
	whole := ""
	if e.Partly {
		whole = " counted (some were not)"
	}
	requests := plural(int(e.Requests), "request")
	switch {
	case e.Requests == 0 && r.State.Final():
		return []string{fmt.Sprintf("Nobody sent a request to %s while it was rolled out.", r.Version)}
	case e.Requests == 0:
		return nil
	case e.Failed == 0:
		return []string{fmt.Sprintf("None of the %s it answered%s failed.", requests, whole)}
	case e.Failed == 1:
		return []string{fmt.Sprintf("1 of the %s it answered%s failed.", requests, whole)}
	}
	return []string{fmt.Sprintf("%s of the %s it answered%s failed.", grouped(int(e.Failed)), requests, whole)}
}

// held says what is on hold because of a change, and what was.
func held(of changeFacts, at clocks) []string {
	var out []string
	for _, h := range of.Holds {
		if h.Kind != delivery.Quarantine {
			continue
		}
		out = append(out, holdSentence(h, at))
		if len(out) == 2 {
			break
		}
	}
	return out
}

func holdSentence(h store.HoldRecord, at clocks) string {
	if h.Lifted == nil {
		why := ""
		if h.By != "slipway" && h.Why != "" { // the verdict says it otherwise
			why = " (" + inert(h.Why) + ")"
		}
		return fmt.Sprintf("%s is on hold%s: it is not tried again until the hold is released.", inert(h.Version), why)
	}
	return fmt.Sprintf("The hold on %s was released by %s at %s.", inert(h.Version), inert(h.Lifted.By), at.at(h.Lifted.At))
}
