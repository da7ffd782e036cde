package web

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/workload"
)

// serviceView is one service: where it runs, why not elsewhere, what there was
// before, who calls it, and how it is.
type serviceView struct {
	Name      string
	Here      string // the part of the service that is shown: "now", "logs", "settings"
	Said      sign   // can a new change of it go out?
	Why       string
	Lifts     string
	Act       []action
	Facts     []fact
	Places    []servicePlace
	Answers   []delivery.Answer
	Flights   []flightCard
	Previews  []previewCard
	Releases  []serviceRelease
	Older     string // address of the releases before these
	Newest    string // address of the newest, when these are not
	Env       string // whose traffic, callers and signals are shown
	Envs      []string
	Callers   []serviceLink
	Callees   []serviceLink
	Instances []serviceInstance
	Stopped   []serviceInstance // newest first
	Signals   []signalCard
}

// servicePlace is the service in one environment.
type servicePlace struct {
	Env     string
	Cell    boardCell
	Healthy string // "2 of 2"
	Before  string // version that a roll back goes to; "" is none
	How     string // what else there is to know of that
	Held    bool   // it is on hold, so that a roll back is refused
	Act     []action
}

// serviceRelease is one release of the service.
type serviceRelease struct {
	control.Released

	Where []string // environments in which it is stable
	Act   []action
}

// serviceLink is a neighbour of the service.
type serviceLink struct {
	Name   string // "" is whoever calls from outside
	Asked  string
	Failed string
	Bad    bool
	Note   sign // what is seen beside what is said
}

// serviceInstance is one instance.
type serviceInstance struct {
	workload.Status

	State   sign
	Trouble string // why it is not well
	CPU     string // share of one core since it started
	RAM     string
}

// signalCard is one golden signal, small.
type signalCard struct {
	Name  string
	Now   string
	Spark spark
}

// releasesOfPage is how many changes a page of releases is made of.
const releasesOfPage = 20

func (w *Web) service(ctx context.Context, q request) (page, error) {
	name := q.PathValue("service")
	s, err := w.d.Loop.Service(ctx, name)
	if err != nil {
		return page{}, err
	}
	v := serviceView{Name: name, Here: "now"}
	for _, c := range s.Now.Cells {
		v.Envs = append(v.Envs, c.Env)
	}
	if v.Env = cmp.Or(q.URL.Query().Get("env"), v.Envs[len(v.Envs)-1]); !slices.Contains(v.Envs, v.Env) {
		return page{}, delivery.Unknown(delivery.CodeUnknownEnvironment, "environment", v.Env, v.Envs, "slipway status")
	}
	v.Said, v.Why, v.Lifts = deployableOf(s.Now)
	v.Said.Word = map[bool]string{true: "deployable", false: "not deployable now"}[s.Now.Now]
	v.Act = w.actionsOfService(q.Who, s.Now)
	v.Places = w.places(q.Who, s)
	v.Instances, v.Stopped = instancesOf(s.Instances)
	if v.Flights, _, err = w.flights(ctx, name); err != nil {
		return page{}, err
	}
	for _, f := range v.Flights {
		switch p, err := w.previewOf(ctx, q.Who, f.Rollout); {
		case err != nil:
			return page{}, err
		case p != nil:
			v.Previews = append(v.Previews, *p)
		}
	}
	if v.Answers, err = w.d.Loop.Why(ctx, name, ""); err != nil {
		return page{}, err
	}
	if err := w.releases(ctx, q, s, &v); err != nil {
		return page{}, err
	}
	links, err := w.d.Loop.Links(ctx, name, v.Env)
	if err != nil {
		return page{}, err
	}
	v.Callers, v.Callees = linksOf(links)
	if v.Signals, err = w.signals(ctx, name, v.Env); err != nil {
		return page{}, err
	}
	return page{Tab: "services", Title: name, Name: "service", View: v, Live: true}, nil
}

// places is the service in each environment.
func (w *Web) places(who delivery.Who, s control.Service) []servicePlace {
	var out []servicePlace
	for _, c := range s.Now.Cells {
		p := servicePlace{Env: c.Env, Cell: boardCellOf(c), Act: w.actionsOfCell(who, s.Service.Name, c)}
		if c.Version != "" {
			p.Healthy = fmt.Sprintf("%d of %d", c.Healthy, c.Want)
		}
		p.goesBack(c, s.Rollbacks)
		out = append(out, p)
	}
	return out
}

// goesBack says what a roll back would do, as control does it: what is under way is
// taken back first, and what is stable then stays.
func (p *servicePlace) goesBack(c delivery.Cell, before []control.Rollback) {
	if f := c.Flight; f != nil {
		p.Before, p.How = c.Version, "takes "+f.Version+" back"
		if f.State == delivery.Reverting {
			p.How = f.Version + " is on its way back"
		}
		if c.Version == "" {
			p.Before = "nothing"
		}
		return
	}
	for _, r := range before {
		if r.Env != c.Env {
			continue
		}
		if p.Before, p.Held = r.Version, c.BeforeHeld != nil; r.Warm && !p.Held {
			p.How = "still warm"
		}
	}
}

// releases fills in the list of releases.
func (w *Web) releases(ctx context.Context, q request, s control.Service, v *serviceView) error {
	before := int64(0)
	if text := q.URL.Query().Get("before"); text != "" {
		var err error
		if before, err = strconv.ParseInt(text, 10, 64); err != nil || before < 1 {
			return delivery.InvalidNext("before", "is not the number of a change", "leave it out for the newest releases")
		}
	}
	list, next, err := w.d.Loop.Releases(ctx, control.ReleaseQuery{Service: v.Name, Before: delivery.ChangeID(before), Limit: releasesOfPage})
	if err != nil {
		return err
	}
	href := func(before delivery.ChangeID) string {
		query := url.Values{}
		if before > 0 {
			query.Set("before", strconv.FormatInt(int64(before), 10))
		}
		if env := q.URL.Query().Get("env"); env != "" {
			query.Set("env", env)
		}
		return "?" + query.Encode() + "#releases"
	}
	if next > 0 {
		v.Older = href(next)
	}
	if before > 0 {
		v.Newest = href(0)
	}
	newer := before == 0 // than what is stable; so are all until that one comes
	for _, r := range list {
		runs := slices.Contains(r.Stable, v.Env)
		newer = newer && !runs
		v.Releases = append(v.Releases, serviceRelease{Released: r, Where: r.Stable, Act: w.actionsOfRelease(q.Who, v.Name, v.Env, r, newer)})
	}
	return nil
}

// actionsOfRelease is what can be done with a release: to one that is newer than what
// is stable in env nobody goes back, it is deployed and judged; to an older one
// somebody may. And it may be held, or released.
func (w *Web) actionsOfRelease(who delivery.Who, service, env string, r control.Released, newer bool) []action {
	v := control.Version{Version: r.Version, Release: r.Release, Held: r.Held, Gone: !r.Files, StableIn: r.Stable}
	all := w.actionsOfVersion(who, service, env, v)
	deploy, back, hold := all[0], all[1], all[2]
	switch {
	case slices.Contains(r.Stable, env):
		return []action{hold}
	case newer:
		return []action{deploy, hold}
	}
	return []action{back, hold}
}

// linksOf splits neighbours into who calls and who is called.
func linksOf(links []control.Link) (callers, callees []serviceLink) {
	for _, l := range links {
		out := serviceLink{Name: l.Service, Asked: "nothing", Failed: "", Note: linkNote(l)}
		if l.Requests > 0 {
			out.Asked, out.Failed, out.Bad = perSecond(l.Second), percent(l.Failed), l.Failed >= badShare
		}
		if l.Calls {
			callers = append(callers, out)
		} else {
			callees = append(callees, out)
		}
	}
	return callers, callees
}

// linkNote says whether what the data plane saw is what slipway.yaml says.
func linkNote(l control.Link) sign {
	switch {
	case l.Service == "":
		return sign{signGood.Icon, "from outside", "is-quiet"}
	case l.Declared && l.Requests > 0:
		return sign{signGood.Icon, "seen and declared", signGood.Class}
	case l.Declared:
		return sign{signWaiting.Icon, "declared, not seen", signWaiting.Class}
	}
	return sign{signUnknown.Icon, "seen, not declared", signUnknown.Class}
}

// phaseSign says how an instance stands.
func phaseSign(p workload.Phase) sign {
	switch p {
	case workload.Ready:
		return sign{signGood.Icon, "ready", signGood.Class}
	case workload.Starting:
		return sign{signRunning.Icon, "starting", signRunning.Class}
	case workload.Unready:
		return sign{signFailed.Icon, "not ready", signFailed.Class}
	case workload.Backoff:
		return sign{signFailed.Icon, "exited, starts again", signFailed.Class}
	case workload.Stopping:
		return sign{signSuperseded.Icon, "stopping", signSuperseded.Class}
	case workload.Stopped:
		return sign{signSuperseded.Icon, "stopped", signSuperseded.Class}
	}
	return sign{signUnknown.Icon, string(p), signUnknown.Class}
}

// instancesOf are the instances that run, or should, and those that are stopped,
// the newest of them first.
func instancesOf(all []workload.Status) (run, stopped []serviceInstance) {
	for _, s := range all {
		i := serviceInstance{Status: s, State: phaseSign(s.Phase)}
		if s.Phase == workload.Unready || s.Phase == workload.Backoff || s.Phase == workload.Starting {
			i.Trouble = strings.Join(slices.DeleteFunc([]string{s.LastExit, s.Probe}, func(s string) bool { return s == "" }), ": ")
		}
		if u := s.Usage; !u.At.IsZero() {
			i.RAM = bytesOf(u.Memory)
			if ran := u.At.Sub(s.Started); ran > time.Second {
				i.CPU = percent(u.CPU.Seconds() / ran.Seconds())
			}
		}
		if s.Phase == workload.Stopped {
			stopped = append(stopped, i)
		} else {
			run = append(run, i)
		}
	}
	slices.SortStableFunc(stopped, func(a, b serviceInstance) int { return b.Since.Compare(a.Since) })
	return run, stopped
}

// shownSignals are those of the golden signals that the page of a service shows.
func shownSignals() []string { return []string{"requests", "errors", "p95", "cpu", "memory"} }

// signals are the golden signals of the service in an environment, small.
func (w *Web) signals(ctx context.Context, service, env string) ([]signalCard, error) {
	g, err := w.d.Loop.Golden(ctx, service, env, control.ShortSpan)
	if err != nil {
		return nil, err
	}
	var out []signalCard
	for _, s := range g.Signals {
		if slices.Contains(shownSignals(), s.Name) {
			out = append(out, signalOf(g, s))
		}
	}
	return out, nil
}

// leastPlaces is how many moments a spark is wide at least, however new a service is.
const leastPlaces = 12

// signalOf draws one signal of every release that is told of.
func signalOf(g control.Golden, s control.GoldenSignal) signalCard {
	n := int((g.To - g.From) / g.Step)
	var lines []series
	now := ""
	for _, l := range s.Lines {
		values := gaps(n)
		for _, p := range l.Points {
			if i := int((p.At - g.From) / g.Step); i >= 0 && i < n {
				values[i] = p.Value
			}
		}
		class := l.Role
		if class == "" {
			class = "twin"
		}
		lines = append(lines, series{Name: l.Version, Class: class, Values: values})
		if k := len(l.Points); k > 0 && now == "" {
			now = twoDigits(l.Points[k-1].Value) + " " + s.Unit
		}
	}
	if now == "" {
		return signalCard{Name: s.Title, Now: "no data"}
	}
	span := time.Duration(int64(sinceFirst(lines, leastPlaces))*g.Step) * time.Second
	return signalCard{Name: s.Title, Now: now, Spark: sparkOf(fmt.Sprintf("%s in %s over the last %s, now %s", s.Title, g.Env, lasted(span), now), lines...)}
}

// twoDigits writes a number with as many digits as are worth reading.
func twoDigits(v float64) string {
	digits := 0
	switch a := math.Abs(v); {
	case a == 0:
	case a < 0.1:
		digits = 3
	case a < 1:
		digits = 2
	case a < 10:
		digits = 1
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}

// bytesOf writes a size in the unit that leaves it readable.
func bytesOf(n uint64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}
