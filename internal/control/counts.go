package control

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// kept is how long counts are kept, in seconds.
const kept = 900

// settle is how long after its end a second may still change: a request that
// arrived in it and takes longer counts as unfinished.
const settle = 2 * time.Second

// maxSamples bounds the failed requests kept for people.
const maxSamples = 2000

// counts keeps what the data plane pushed: the last blocks of every route.
type counts struct {
	mu     sync.Mutex
	boot   string
	blocks map[blockKey]traffic.Block
	oldest int64     // no block is older
	newest int64     // second of the newest block seen
	heard  time.Time // when the data plane made its last frame
	failed []traffic.Sample
}

type blockKey struct {
	route   string
	release delivery.ReleaseID
	caller  string
	second  int64
}

func newCounts() *counts { return &counts{blocks: map[blockKey]traffic.Block{}} }

// take keeps one frame. A block that is sent again replaces what was known of it.
func (c *counts) take(f traffic.Frame, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.boot = f.Boot
	if f.At.After(c.heard) {
		c.heard = f.At
	}
	for _, b := range f.Blocks {
		if !traffic.Drawn(b.Caller) {
			continue // who was not drawn by the split is no evidence
		}
		c.blocks[blockKey{b.Route, b.Release, b.Caller, b.Second}] = b
		c.newest = max(c.newest, b.Second)
	}
	c.failed = append(c.failed, f.Failed...)
	if over := len(c.failed) - maxSamples; over > 0 {
		c.failed = slices.Clone(c.failed[over:])
	}
	if limit := now.Unix() - kept; limit > c.oldest+30 { // forget in strides
		c.oldest = limit
		maps.DeleteFunc(c.blocks, func(k blockKey, _ traffic.Block) bool { return k.second < limit })
	}
}

// closed is the last second of which everything was heard and nothing changes
// any more. Without any frame yet it is false.
func (c *counts) closed() (int64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heard.Add(-settle).Unix() - 1, !c.heard.IsZero()
}

// since is the second from which the data plane shall send again.
func (c *counts) since() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(c.newest-5, 0)
}

// sum is both arms of a route in one second, over all callers.
type sum struct {
	analysis.Block
	mixed            bool
	stableN, canaryN uint64
}

// seconds adds up, per second, the two arms of a route from first to last.
func (c *counts) seconds(route string, stable, canary delivery.ReleaseID, first, last int64) []sum {
	c.mu.Lock()
	defer c.mu.Unlock()
	by := map[int64]*sum{}
	for k, b := range c.blocks {
		if k.route != route || k.second < first || k.second > last || b.Release != stable && b.Release != canary {
			continue
		}
		s := by[k.second]
		if s == nil {
			s = &sum{Block: analysis.Block{Second: k.second}}
			by[k.second] = s
		}
		s.mixed = s.mixed || b.Mixed
		if b.Release == canary {
			add(&s.Canary, b)
			s.canaryN += b.Requests
		} else {
			add(&s.Stable, b)
			s.stableN += b.Requests
		}
	}
	out := make([]sum, 0, len(by))
	for _, sec := range slices.Sorted(maps.Keys(by)) {
		out = append(out, *by[sec])
	}
	return out
}

func add(a *analysis.Arm, b traffic.Block) {
	a.Units += b.Units
	a.Bad += b.UnitsBad
	a.Open += b.UnitsOpen
	if a.Bins == nil {
		a.Bins = make(map[int]uint32, len(b.Bins))
	}
	for bin, n := range b.Bins {
		a.Bins[bin] += n
	}
}

// points is seconds for drawing.
func (c *counts) points(route string, stable, canary delivery.ReleaseID, first, last int64) []Point {
	var out []Point
	for _, s := range c.seconds(route, stable, canary, first, last) {
		p := Point{Second: s.Second, Stable: side(s.Stable), Canary: side(s.Canary)}
		p.Stable.Requests, p.Canary.Requests = s.stableN, s.canaryN
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

// exposure adds up what a release answered on a route.
func (c *counts) exposure(route string, release delivery.ReleaseID, first, last int64) Exposure {
	c.mu.Lock()
	defer c.mu.Unlock()
	var e Exposure
	for k, b := range c.blocks {
		if k.route == route && k.release == release && k.second >= first && k.second <= last {
			e.Requests += b.Requests
			e.Failed += failedOf(b)
		}
	}
	return e
}

func failedOf(b traffic.Block) uint64 { return b.Server + b.Connect + b.Timeout + b.Broken + b.Shed }

func (c *counts) samples(want func(traffic.Sample) bool) []traffic.Sample {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []traffic.Sample
	for _, s := range c.failed {
		if want(s) {
			out = append(out, s)
		}
	}
	return out
}

// calls adds up the edges of the last ten minutes; service "" means all.
func (c *counts) calls(service string) []Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	by := map[[3]string]*Call{}
	for k, b := range c.blocks {
		env, callee := splitRouteName(k.route)
		if k.second < c.newest-600 || service != "" && callee != service && k.caller != service {
			continue
		}
		id := [3]string{env, k.caller, callee}
		if by[id] == nil {
			by[id] = &Call{Env: env, Caller: k.caller, Callee: callee}
		}
		by[id].Requests += b.Requests
		by[id].Failed += failedOf(b)
	}
	out := []Call{}
	for _, call := range by {
		out = append(out, *call)
	}
	slices.SortFunc(out, func(a, b Call) int {
		return cmp.Or(cmp.Compare(a.Env, b.Env), cmp.Compare(a.Caller, b.Caller), cmp.Compare(a.Callee, b.Callee))
	})
	return out
}

// routeName names a service's route in an environment.
func routeName(env, service string) string { return env + "/" + service }

func splitRouteName(name string) (env, service string) {
	env, service, _ = strings.Cut(name, "/")
	return env, service
}
