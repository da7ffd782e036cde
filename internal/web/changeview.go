package web

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/discreet"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// changeView is what the page of a change shows.
type changeView struct {
	Title   string // of the window
	Service string
	From    string // version before; "" of a first release
	To      string
	Pills   []string
	By      string
	When    string
	Reason  string
	Banner  banner
	Rail    []railStep
	Preview *previewCard // nil: nothing can be looked at before callers get it
	Charts  []chart
	NoChart string // why there is none
	Metrics string // address of the numbers that are there all the same
	Why     whyTable
	Facts   []fact
	Diff    []diffLine
	MoreOf  int // lines of the diff that are not shown
	Failure *failureView
	Ledger  []ledgerLine
	Pager   pager
	Lines   string // address of every line of the ledger, or of the telling ones alone
	All     bool   // every line is shown
	Went    []went
	Replay  string // command that judges it again; "" if nothing was judged
}

// changeViewOf makes the view of what was read. It is pure: the same facts give
// the same view, whenever that is.
func changeViewOf(of changeFacts) changeView {
	c, r := of.Change, of.Picked
	steps, weights := walk(r, of.Moves)
	v := changeView{
		Title:   fmt.Sprintf("%s %s · change #%d", r.Service, r.Version, c.ID),
		Service: r.Service, From: cmp.Or(r.Was, fromOf(of)), To: r.Version, Pills: pillsOf(of),
		By: inert(c.By), When: dated(c.Submitted), Reason: inert(c.Reason),
		Banner: bannerOf(of), Rail: railOf(of, steps), Why: whyOf(of), Facts: factsOf(of), Failure: failureOf(of), Went: wentOf(of),
	}
	v.Charts, v.NoChart = chartsOf(of, weights)
	v.Metrics = "/numbers?" + url.Values{"service": {r.Service}, "env": {r.Env}}.Encode()
	v.Diff, v.MoreOf = diffOf(of)
	v.Ledger, v.Pager = ledgerOf(of)
	v.All, v.Lines = of.All, ledgerHref(of, 0, !of.All)
	if of.Judged.Verdict != nil {
		v.Replay = fmt.Sprintf("slipway analysis replay %d", c.ID)
	}
	return v
}

// fromOf is the version that ran before where that is not known of the picked rollout.
func fromOf(of changeFacts) string {
	for _, r := range of.Rollouts {
		if r.Was != "" {
			return r.Was
		}
	}
	return ""
}

// pillsOf are what sort of change it is, and where it is looked at.
func pillsOf(of changeFacts) []string {
	out := []string{fmt.Sprintf("change #%d", of.Change.ID)}
	var kinds []string
	for _, k := range of.Change.Kinds {
		kinds = append(kinds, kindWord(k))
	}
	if len(kinds) > 0 {
		out = append(out, strings.Join(kinds, " + "))
	}
	switch of.Change.Origin {
	case delivery.OriginRollback:
		out = append(out, "rollback")
	case delivery.OriginInitial:
		out = append(out, "first release")
	case delivery.OriginAutomation, delivery.OriginPerson:
	}
	out = append(out, string(of.Picked.Plan.Strategy))
	if of.Change.Only != "" {
		return append(out, of.Picked.Env+" only")
	}
	return append(out, of.Picked.Env)
}

// kindWord is a kind of change as people say it.
func kindWord(k delivery.Kind) string {
	if k == delivery.Config {
		return "configuration"
	}
	return string(k)
}

// whyTable is every check of a verdict.
type whyTable struct {
	Rows  []whyRow // none: nothing was judged, and the place of the numbers says why
	Notes []string // what was judged, what was left out and why
}

// whyRow is one check.
type whyRow struct {
	Name, Is, Was string
	Sign          sign
	Apart         string // how far apart the two are; "" if that is not known, or the sign says it
	Role          string // "required", "guard" or "watch" in words; "" of the built-in ones
	More          string // its sentence and its evidence
	Culprit       bool
}

func whyOf(of changeFacts) whyTable {
	v := of.Judged.Verdict
	if v == nil {
		return whyTable{}
	}
	var t whyTable
	for _, c := range v.Checks {
		t.Rows = append(t.Rows, whyRowOf(c))
	}
	if v.Seconds > 0 {
		t.Notes = append(t.Notes, fmt.Sprintf("%s judged, by evidence that holds at %g %% however often it is looked at.", plural(v.Seconds, "second"), 100*(1-of.Judged.Policy.Alpha)))
	}
	if v.LeftOut > 0 {
		t.Notes = append(t.Notes, sentence("Left out: "+cmp.Or(v.Why, plural(v.LeftOut, "second"))))
	}
	return t
}

func whyRowOf(c delivery.Check) whyRow {
	row := whyRow{Name: checkName(c), Sign: signOf(c.Outcome), Culprit: c.Culprit, Is: "–", Was: "–"}
	amount, rate := func(v float64) string { return amountOf(v, c.Unit) }, strings.HasPrefix(c.Unit, "1/")
	if rate { // its name says of what
		amount = digits
	}
	if c.NCanary > 0 {
		row.Is = amount(c.Canary)
	}
	if c.NStable > 0 {
		row.Was = amount(c.Stable)
	}
	if w := c.Words; w != nil {
		row.Apart = inert(strings.TrimPrefix(cmp.Or(w.Apart, w.Counts), delivery.ApartUnknown)) // the sign says as much
		if !rate {
			row.Is, row.Was = w.Canary, w.Stable
		}
	} else {
		_, why, told := strings.Cut(c.Sentence, ": ")
		row.Apart = inert(cmp.Or(why, "not known yet"))
		if told && c.Missing != "" && !strings.Contains(c.Sentence, c.Missing) {
			row.More = " " + sentence(c.Missing)
		}
	}
	switch c.Role {
	case delivery.Watch:
		row.Role = "only watched"
		row.Sign = sign{signUnknown.Icon, "watched", signWaiting.Class}
	case delivery.Guard:
		row.Role = "guard"
	case delivery.Required:
	}
	if c.Role != delivery.Watch && strings.HasPrefix(row.Apart, row.Sign.Word) {
		row.Sign.Word, row.Apart = row.Apart, ""
	}
	row.More = sentence(c.Sentence) + row.More
	if c.Outcome == delivery.NoData {
		return row
	}
	if c.FailAt > 0 {
		row.More += fmt.Sprintf(" Evidence that it is worse: %s of %s.", evidence(c.Against), evidence(c.FailAt))
	}
	if c.PassAt > 0 {
		row.More += fmt.Sprintf(" That it is fit: %s of %s.", evidence(c.For), evidence(c.PassAt))
	}
	return row
}

// factsOf is what changed, in a few words each: a kind of change that there is
// something to say of finds its place here.
func factsOf(of changeFacts) []fact {
	var out []fact
	if of.Change.Commit != "" {
		out = append(out, fact{Name: "Commit", Value: inert(of.Change.Commit), Class: "mono"})
	}
	was, is := of.From.CodeDigest(), of.To.CodeDigest()
	switch {
	case is == "":
	case was == "":
		out = append(out, fact{Name: "Code", Value: is.Short(), Class: "mono"})
	case was == is:
		out = append(out, fact{Name: "Code", Value: is.Short() + ", the same as before", Class: "mono"})
	default:
		out = append(out, fact{Name: "Code", Value: was.Short() + " → " + is.Short(), Class: "mono"})
	}
	for _, kind := range []delivery.Kind{delivery.Flag, delivery.Experiment, delivery.Schema, delivery.Secret} {
		old, now := partOf(of.From, kind), partOf(of.To, kind)
		if old != now {
			out = append(out, fact{Name: strings.ToUpper(string(kind[:1])) + string(kind[1:]), Value: orNothing(old) + " → " + orNothing(now), Class: "mono"})
		}
	}
	d := control.Differ(of.From, of.To, of.Picked.Env)
	if of.From.ID != "" && len(d.Config) == 0 {
		out = append(out, fact{Name: "Configuration", Value: "the same as before"})
	}
	if of.Picked.Plan.Reason != "" {
		out = append(out, fact{Name: "Plan", Value: inert(of.Picked.Plan.Reason)})
	}
	return append(out, fact{Name: "Release", Value: string(of.To.ID), Class: "mono"})
}

// partOf names a part of a release: by its reference if its content may not be
// kept, as that of secrets.
func partOf(rel delivery.Release, kind delivery.Kind) string {
	for _, a := range rel.Artifacts {
		if a.Kind == kind {
			return inert(cmp.Or(a.Ref, a.Digest.Short()))
		}
	}
	return ""
}

// diffLine is one line of what differs.
type diffLine struct {
	Sign string // "+" came, "-" went, "" is a heading
	Text string
}

// maxDiff is how many lines of a diff a page shows.
const maxDiff = 60

// diffOf is what differs in configuration and in how instances are run.
func diffOf(of changeFacts) (lines []diffLine, more int) {
	d := control.Differ(of.From, of.To, of.Picked.Env)
	add := func(title string, all []control.Delta, sep string) {
		for i, x := range all {
			if i == 0 {
				lines = append(lines, diffLine{Text: title})
			}
			if x.From != "" {
				lines = append(lines, diffLine{"-", inert(x.Key + sep + discreet.Value(x.Key, x.From))})
			}
			if x.To != "" || x.From == "" {
				lines = append(lines, diffLine{"+", inert(x.Key + sep + discreet.Value(x.Key, x.To))})
			}
		}
	}
	add("Configuration in "+of.Picked.Env, d.Config, "=")
	if of.From.ID != "" { // all of it is new of a first release
		add("How it runs", d.Run, ": ")
	}
	if len(lines) > maxDiff {
		return lines[:maxDiff], len(lines) - maxDiff
	}
	return lines, 0
}

// failureView is the commonest way in which requests failed.
type failureView struct {
	What    string // "POST /checkout → 502"
	Error   string
	Count   string // "38 of 41 failed requests that were looked at"
	Samples []sampleLine
	Others  []string
	Logs    string // address
}

// sampleLine is one request that failed.
type sampleLine struct {
	At, Text string
	Trace    string // address; "" if no trace is kept
}

func failureOf(of changeFacts) *failureView {
	e, r := of.Exposure, of.Picked
	if len(e.Failures) == 0 {
		return nil
	}
	f := e.Failures[0]
	v := &failureView{
		What: failureWhat(f), Error: inert(f.Error), Logs: fmt.Sprintf("/services/%s/logs?%s", url.PathEscape(r.Service), url.Values{"env": {r.Env}, "change": {fmt.Sprint(r.Change)}}.Encode()),
		Count: fmt.Sprintf("%s of the %s that were looked at.", grouped(int(f.Count)), plural(int(e.Sampled), "failed request")),
	}
	switch {
	case e.Sampled == 1:
		v.Count = "The one failed request that was looked at."
	case f.Count == e.Sampled:
		v.Count = fmt.Sprintf("All %s that were looked at.", plural(int(e.Sampled), "failed request"))
	}
	at := clocks{of.Change.Submitted}
	for _, s := range f.Samples {
		line := sampleLine{At: at.at(s.At), Text: sampleText(s)}
		if s.Trace != "" && slices.Contains(of.Kept, s.Trace) {
			line.Trace = fmt.Sprintf("/changes/%d/traces/%s", of.Change.ID, s.Trace)
		}
		v.Samples = append(v.Samples, line)
	}
	for _, f := range e.Failures[1:] {
		text := grouped(int(f.Count)) + " × " + failureWhat(f)
		if f.Error != "" {
			text += ": " + cutText(inert(f.Error), 120)
		}
		v.Others = append(v.Others, text)
	}
	return v
}

func failureWhat(f control.Failure) string {
	what := inert(f.Method) + " " + inert(f.Path) + " → "
	if f.Status == 0 {
		return what + "no answer"
	}
	return what + fmt.Sprint(f.Status)
}

func sampleText(s traffic.Sample) string {
	text := fmt.Sprintf("%s %s, after %s", inert(s.Method), inert(s.Path), amountOf(s.Took.Seconds(), "s"))
	if s.Caller != "" {
		text += ", called by " + inert(s.Caller)
	}
	return text
}

// ledgerLine is one line of the ledger.
type ledgerLine struct {
	Seq       int64
	At, Stamp string
	Env, Text string
	Sign      sign
}

func ledgerOf(of changeFacts) (lines []ledgerLine, p pager) {
	var last int64
	more := len(of.Ledger) > maxLedger
	for i, e := range of.Ledger {
		if i == maxLedger {
			break
		}
		if !of.All && !telling(e) {
			last = e.Seq
			continue
		}
		if more = more || len(lines) == ledgerPage; len(lines) == ledgerPage {
			break
		}
		last = e.Seq
		lines = append(lines, ledgerLine{
			Seq: e.Seq, At: e.At.Local().Format("2 Jan 15:04:05"), Stamp: e.At.UTC().Format("2006-01-02T15:04:05Z"), Env: e.Env, Text: inert(e.Text), Sign: eventSign(e),
		})
	}
	if more {
		p.Next = ledgerHref(of, last, of.All)
	}
	p.Text = "newest first"
	if of.Before > 0 {
		p.Prev = ledgerHref(of, 0, of.All)
		p.Text = fmt.Sprintf("before line %d", of.Before)
	}
	return lines, p
}

// telling says whether a line is news for people; the ledger also keeps every breath.
func telling(e delivery.Event) bool {
	switch e.Kind {
	case delivery.EventIntent, delivery.EventStable:
		return false
	case delivery.EventMoved:
		m, ok := control.MoveOf(e)
		return !ok || m.From != e.State || m.Waiting != nil && m.Waiting.Who != ""
	case delivery.EventAccess, delivery.EventAsked, delivery.EventHeld, delivery.EventInstance, delivery.EventLifted, delivery.EventProject, delivery.EventRelease, delivery.EventServer, delivery.EventSubmitted, delivery.EventVerdict:
	}
	return true
}

// ledgerHref is the page with another part of the ledger; every line of it if all.
func ledgerHref(of changeFacts, before int64, all bool) string {
	href := changeHref(of.Change.ID, of.Picked.Env)
	if all {
		href += "&ledger=all"
	}
	if before > 0 {
		href += fmt.Sprintf("&before=%d", before)
	}
	return href + "#ledger"
}

// eventSign says what sort of line it is.
func eventSign(e delivery.Event) sign {
	switch e.Kind {
	case delivery.EventMoved:
		if m, ok := control.MoveOf(e); ok && m.From == e.State {
			return sign{signWaiting.Icon, "waits", signWaiting.Class}
		}
		return stateOf(delivery.Rollout{State: e.State})
	case delivery.EventHeld:
		return sign{"lock", "held", signBlocked.Class}
	case delivery.EventLifted:
		return sign{"unlock", "released", signGood.Class}
	case delivery.EventAsked, delivery.EventSubmitted:
		return sign{"person", string(e.Kind), signRunning.Class}
	case delivery.EventStable:
		return sign{signGood.Icon, "stable", signGood.Class}
	case delivery.EventIntent:
		return sign{"right", "does", signWaiting.Class}
	case delivery.EventInstance:
		return sign{"warning", "instance", "is-warn"}
	case delivery.EventAccess, delivery.EventProject, delivery.EventRelease, delivery.EventVerdict, delivery.EventServer:
	}
	return sign{"info", string(e.Kind), signWaiting.Class}
}

// went is one environment that the version went into, or tried to.
type went struct {
	Service, Env, Href string
	From, To           string
	Sign               sign
	When               string
	Text               string
}

func wentOf(of changeFacts) []went {
	at := clocks{of.Change.Submitted}
	var out []went
	for _, r := range of.Rollouts {
		w := went{Service: r.Service, Env: r.Env, Href: changeHref(r.Change, r.Env), From: orNothing(r.Was), To: r.Version, Sign: stateOf(r), Text: wentText(r)}
		if r.State.Final() {
			w.When = at.at(r.Ended)
		} else {
			w.When = "since " + at.at(r.Entered)
		}
		out = append(out, w)
	}
	return out
}

// wentText is how it came to stand so, without what the verdict says at length.
func wentText(r delivery.Rollout) string {
	text, _, _ := strings.Cut(r.Reason, "; ")
	if r.State == delivery.Reverting {
		text = ""
	}
	return sentence(cutText(text, 200))
}
