package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric/embedded"
)

// Line is one series over time, and which version its release is.
type Line struct {
	embedded.Line
	Version string `json:"version,omitempty"` // "" of a release that is not known any more
}

// Query draws lines of the numbers of releases.
func (l *Loop) Query(ctx context.Context, q embedded.Query) ([]Line, error) {
	lines, err := l.d.Numbers.Query(q)
	if err != nil {
		return nil, err
	}
	out, known := make([]Line, 0, len(lines)), map[delivery.ReleaseID]string{}
	for _, line := range lines {
		version, there := known[line.Release]
		if !there {
			rel, err := l.d.Store.Release(ctx, line.Release)
			if err != nil && !errors.Is(err, delivery.ErrNotFound) {
				return nil, err
			}
			version = rel.Version
			known[line.Release] = version
		}
		out = append(out, Line{line, version})
	}
	return out, nil
}

// Names lists the numbers that are kept of a service in an environment, and how
// many more there are than it lists.
func (l *Loop) Names(env, service string) (names []embedded.Name, more int) {
	return l.d.Numbers.Names(env, service)
}

// Golden is the golden signals of a service in an environment, by release.
type Golden struct {
	Service string         `json:"service"`
	Env     string         `json:"env"`
	From    int64          `json:"from"` // Unix second of the first step
	To      int64          `json:"to"`   // and of the end of the last one
	Step    int64          `json:"step"` // in seconds
	Signals []GoldenSignal `json:"signals"`
	More    int            `json:"more"` // releases that are not among them: the newest that had requests are
}

// GoldenSignal is one of them.
type GoldenSignal struct {
	Name  string       `json:"name"`  // "requests", "errors", "p50", "p95", "p99", "cpu", "memory", "restarts", "error-lines"
	Title string       `json:"title"` // for people
	Unit  string       `json:"unit"`
	Lines []GoldenLine `json:"lines"` // one of each release, also if it has no points
}

// GoldenLine is a signal of one release.
type GoldenLine struct {
	Release delivery.ReleaseID   `json:"release"`
	Version string               `json:"version"`
	Role    string               `json:"role,omitempty"` // "stable", "canary", or nothing any more
	Points  []embedded.LinePoint `json:"points"`
}

// Roles of a release.
const (
	RoleStable = "stable"
	RoleCanary = "canary"
)

// maxReleases is how many releases are told of.
const maxReleases = 3

// Spans of signals, and how fine they are told.
const (
	ShortSpan = 10 * time.Minute
	shortStep = 6 * time.Second
	LongSpan  = 24 * time.Hour
	longStep  = 15 * time.Minute
	late      = 4 * time.Second // after which the seconds of the data plane are complete
	lateLong  = 2 * time.Minute // and its minutes
)

// Window is the steps of a span that are over, in Unix seconds: from the first on, up
// to the end of the last.
func Window(span time.Duration, now time.Time) (from, to, step int64) {
	each, wait := shortStep, late
	if span > ShortSpan {
		each, wait = longStep, lateLong
	}
	end := now.Add(-wait).Truncate(each)
	return end.Add(-span).Unix(), end.Unix(), int64(each / time.Second)
}

// signalAsk is how one of them is asked for.
type signalAsk struct {
	name, title, unit string
	from              delivery.MetricSource
	of                string // series
	show              embedded.Show
	quantile          float64
	times             float64 // what a value is multiplied with to be in the unit
	per               string  // another series of the same source that it is a share of
}

func signals() []signalAsk {
	traffic := delivery.FromTraffic
	return []signalAsk{
		{name: "requests", title: "Requests", unit: "req/s", from: traffic, of: embedded.Requests, show: embedded.ShowRate, times: 1},
		{name: "errors", title: "Failed requests", unit: "%", from: traffic, of: embedded.Failures, show: embedded.ShowIncrease, times: 100, per: embedded.Requests},
		{name: "p50", title: "Latency, p50", unit: "ms", from: traffic, of: embedded.Latency, show: embedded.ShowQuantile, quantile: 0.5, times: 1000},
		{name: "p95", title: "Latency, p95", unit: "ms", from: traffic, of: embedded.Latency, show: embedded.ShowQuantile, quantile: 0.95, times: 1000},
		{name: "p99", title: "Latency, p99", unit: "ms", from: traffic, of: embedded.Latency, show: embedded.ShowQuantile, quantile: 0.99, times: 1000},
		{name: "cpu", title: "CPU, all instances", unit: "cores", from: delivery.FromWorkload, of: metricCPU, show: embedded.ShowRate, times: 1},
		{name: "memory", title: "Memory per instance", unit: "MiB", from: delivery.FromWorkload, of: delivery.MetricMemory, show: embedded.ShowMean, times: 1.0 / (1 << 20)},
		{name: "restarts", title: "Restarts", unit: "", from: delivery.FromWorkload, of: delivery.MetricRestarts, show: embedded.ShowIncrease, times: 1},
		{name: "error-lines", title: "Error lines in logs", unit: "lines/s", from: delivery.FromLogs, of: delivery.LinesError, show: embedded.ShowRate, times: 1},
	}
}

// metricCPU is what instances took of a processor, in seconds.
const metricCPU = "cpu"

// Golden draws the golden signals over a span, ShortSpan or LongSpan. Only steps
// that are over are told, so that what is drawn does not change afterwards.
func (l *Loop) Golden(ctx context.Context, service, env string, span time.Duration) (Golden, error) {
	o, err := l.overview(ctx)
	if err != nil {
		return Golden{}, err
	}
	if _, _, err := names(o.Project, service, env); err != nil {
		return Golden{}, err
	}
	if all := o.Project.EnvironmentNames(); env == "" && len(all) > 0 {
		env = all[len(all)-1]
	}
	out := Golden{Service: service, Env: env}
	out.From, out.To, out.Step = Window(span, time.Now())
	for _, s := range signals() {
		lines, err := l.drawn(ctx, s, out)
		if err != nil {
			return Golden{}, fmt.Errorf("control: %s: %w", s.name, err)
		}
		out.Signals = append(out.Signals, GoldenSignal{Name: s.name, Title: s.title, Unit: s.unit, Lines: lines})
	}
	return out, l.same(ctx, &out, o.roles(service, env))
}

// drawn reads one signal.
func (l *Loop) drawn(ctx context.Context, s signalAsk, of Golden) ([]GoldenLine, error) {
	q := embedded.Query{
		Env: of.Env, Service: of.Service, From: s.from, Select: embedded.Selector{Name: s.of}, Show: s.show, Quantile: s.quantile,
		First: time.Unix(of.From, 0), Last: time.Unix(of.To-1, 0), Step: time.Duration(of.Step) * time.Second,
	}
	lines, err := l.Query(ctx, q)
	if err != nil || len(lines) == 0 {
		return nil, err
	}
	all := map[delivery.ReleaseID]map[int64]float64{}
	if s.per != "" {
		q.Select.Name = s.per
		wholes, err := l.d.Numbers.Query(q)
		if err != nil {
			return nil, err
		}
		for _, w := range wholes {
			all[w.Release] = map[int64]float64{}
			for _, p := range w.Points {
				all[w.Release][p.At] = p.Value
			}
		}
	}
	var out []GoldenLine
	for _, line := range lines {
		x := GoldenLine{Release: line.Release, Version: line.Version, Points: make([]embedded.LinePoint, 0, len(line.Points))}
		for _, p := range line.Points {
			v := p.Value * s.times
			if s.per != "" {
				v /= all[line.Release][p.At]
			}
			if !math.IsNaN(v) && !math.IsInf(v, 0) {
				x.Points = append(x.Points, embedded.LinePoint{At: p.At, Value: v})
			}
		}
		out = append(out, x)
	}
	return out, nil
}

// roles says which releases run in an environment, and as what.
func (o *overview) roles(service, env string) map[delivery.ReleaseID]string {
	out := map[delivery.ReleaseID]string{}
	for _, r := range o.Rollouts {
		if r.Service == service && r.Env == env && r.State.Active() {
			out[r.To] = RoleCanary
		}
	}
	for _, s := range o.Stables {
		if s.Service == service && s.Env == env {
			out[s.Release] = RoleStable
		}
	}
	return out
}

// same gives every signal the same releases in the same order: what is stable, what
// is on its way, and of the others those that were heard of last.
func (l *Loop) same(ctx context.Context, of *Golden, roles map[delivery.ReleaseID]string) error {
	last := map[delivery.ReleaseID]int64{}
	for id := range roles {
		last[id] = of.To
	}
	for _, s := range of.Signals {
		for _, line := range s.Lines {
			if n := len(line.Points); n > 0 {
				last[line.Release] = max(last[line.Release], line.Points[n-1].At)
			}
		}
	}
	rank := map[string]int{RoleStable: 0, RoleCanary: 1, "": 2}
	var order []delivery.ReleaseID
	for id := range last {
		order = append(order, id)
	}
	slices.SortFunc(order, func(a, b delivery.ReleaseID) int {
		return cmp.Or(cmp.Compare(rank[roles[a]], rank[roles[b]]), cmp.Compare(last[b], last[a]), cmp.Compare(a, b))
	})
	if of.More = max(0, len(order)-maxReleases); of.More > 0 {
		order = order[:maxReleases]
	}
	versions := make([]string, len(order))
	for i, id := range order {
		rel, err := l.d.Store.Release(ctx, id)
		if err != nil && !errors.Is(err, delivery.ErrNotFound) {
			return err
		}
		versions[i] = rel.Version
	}
	for k := range of.Signals {
		s := &of.Signals[k]
		lines := make([]GoldenLine, len(order))
		for i, id := range order {
			lines[i] = GoldenLine{Release: id, Version: versions[i], Role: roles[id], Points: []embedded.LinePoint{}}
			if at := slices.IndexFunc(s.Lines, func(x GoldenLine) bool { return x.Release == id }); at >= 0 {
				lines[i].Points = s.Lines[at].Points
			}
		}
		s.Lines = lines
	}
	return nil
}
