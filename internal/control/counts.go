package control

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric/embedded"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// settle is how long after its end a rollout's last seconds may still change.
const settle = 2 * time.Second

// counts is what the loop asks the store of numbers.
type counts struct{ *embedded.Store }

// take keeps one frame. A block that is sent again replaces what was known of it.
func (c *counts) take(f traffic.Frame, now time.Time) { c.Take(f, now) }

// closed is the last second of which everything was heard and nothing changes
// any more. Without any frame yet it is false.
func (c *counts) closed() (int64, bool) { return c.Closed() }

// since is the second from which the data plane shall send again.
func (c *counts) since() int64 { return c.Since() }

// sum is both arms of a route in one second, over all callers.
type sum = embedded.Second

// seconds adds up, per second, the two arms of a route from first to last.
func (c *counts) seconds(route string, stable, canary delivery.ReleaseID, first, last int64) []sum {
	return c.Seconds(embedded.Arms{Route: route, Stable: stable, Canary: canary, First: first, Last: last})
}

// points is seconds for drawing.
func (c *counts) points(route string, stable, canary delivery.ReleaseID, first, last int64) []Point {
	out := []Point{}
	for _, s := range c.seconds(route, stable, canary, first, last) {
		p := Point{Second: s.Second, Stable: side(s.Stable), Canary: side(s.Canary)}
		p.Stable.Requests, p.Canary.Requests = s.StableRequests, s.CanaryRequests
		out = append(out, p)
	}
	return out
}

func side(a analysis.Arm) Side { return Side{Units: a.Units, Bad: a.Bad, P95: quantile(a, 0.95)} }

// quantile is the q-quantile of an arm's first answers, in seconds.
func quantile(a analysis.Arm, q float64) float64 {
	var n uint64
	for _, k := range a.Bins {
		n += uint64(k)
	}
	if n == 0 {
		return 0
	}
	need, seen := uint64(q*float64(n)), uint64(0)
	for _, bin := range slices.Sorted(maps.Keys(a.Bins)) {
		if seen += uint64(a.Bins[bin]); seen > need || seen == n {
			return analysis.Edge(bin)
		}
	}
	return 0
}

func (c *counts) samples(want func(traffic.Sample) bool) []traffic.Sample { return c.Failed(want) }

// calls adds up the edges of the last ten minutes; service "" means all.
func (c *counts) calls(service string) []Call {
	out := []Call{}
	for _, call := range c.Calls(service) {
		out = append(out, Call(call))
	}
	return out
}

// routeName names a service's route in an environment.
func routeName(env, service string) string { return env + "/" + service }

func splitRouteName(name string) (env, service string) {
	env, service, _ = strings.Cut(name, "/")
	return env, service
}
