package sim

import (
	"cmp"
	"math"

	"github.com/slipway-cd/slipway/internal/analysis"
)

// memory is how long the data plane remembers that a key was in trouble, in seconds.
const memory = 600

// crowd is the callers of a world. Each keeps its release as the weight grows,
// and the data plane counts callers, not requests.
type crowd struct {
	w       *world
	keys    []caller
	bots    []int
	pick    alias
	retries map[int][]int // callers that come again, by second
	recent  side          // stable's requests of late
	slowest int           // bin of stable's recent 99th percentile

	now   int
	units [2][]unit
	count [2]side
	force float64
	gone  []int // places of keys that can be taken anew
}

// caller is one sticky key.
type caller struct {
	draw    float64 // below the weight it is with the canary
	errors  float64 // factor of the scenario's errors
	pace    int     // bins
	fails   float64 // of a bot: share of its requests, from a second on
	from    int
	rps     float64
	trouble int // last second in which it failed or was very slow
	seen    int // last second in which it came
	unit    int // its place among that second's units
	made    bool
	bot     bool
}

// unit is what one key did in one second.
type unit struct {
	key   int
	bad   bool
	bin   int
	again bool
	made  bool
}

const never = -1 << 30

func newCrowd(w *world) *crowd {
	c := &crowd{w: w, retries: map[int][]int{}, slowest: analysis.Bins}
	k := w.Keys
	busy := make([]float64, k.Count)
	for i := range busy {
		busy[i] = 1
		if k.Skew > 0 {
			busy[i] = math.Pow(1-w.r.Float64(), -1/k.Skew)
		}
		c.keys = append(c.keys, c.fresh())
	}
	if k.Count > 0 {
		total := 0.0
		for _, b := range busy {
			total += b
		}
		for i := range busy {
			busy[i] /= total
		}
		c.pick = newAlias(busy)
	}
	for _, b := range k.Bots {
		for range cmp.Or(b.Count, 1) {
			n := c.fresh()
			n.bot, n.fails, n.from, n.rps = true, b.Fails, b.From, b.RPS/float64(cmp.Or(b.Count, 1))
			if b.Canary {
				n.draw = 0
			}
			if b.Slow > 0 {
				n.pace = bins(b.Slow)
			}
			c.bots = append(c.bots, len(c.keys))
			c.keys = append(c.keys, n)
		}
	}
	return c
}

func (c *crowd) fresh() caller {
	r, k := c.w.r, c.w.Keys
	n := caller{draw: r.Float64(), errors: 1, trouble: never, seen: never}
	if k.Differ > 0 {
		n.errors = math.Exp(k.Differ*r.NormFloat64() - k.Differ*k.Differ/2)
	}
	if k.Slow > 0 {
		n.pace = bins(math.Exp(k.Slow * r.NormFloat64()))
	}
	return n
}

// second lets all callers come that come in it.
func (c *crowd) second(t int, force float64, p [2]float64, pace [2]int) {
	c.now, c.force = t, force
	for i := range c.units {
		c.units[i] = c.units[i][:0]
		c.count[i] = side{timed: c.w.stable != nil}
	}
	k := c.w.Keys
	for range poisson(c.w.r, c.w.RPS.at(max(t, 0))) {
		if k.New > 0 && c.w.r.Float64() < k.New {
			c.visit(p, pace)
			continue
		}
		c.request1(c.pick.draw(c.w.r), p, pace, false)
	}
	for _, i := range c.retries[t] {
		c.request1(i, p, pace, true)
	}
	delete(c.retries, t)
	for _, i := range c.bots {
		for range poisson(c.w.r, c.keys[i].rps) {
			c.request1(i, p, pace, false)
		}
	}
	c.remember()
}

// visit is one request of somebody who was never here before.
func (c *crowd) visit(p [2]float64, pace [2]int) {
	n := c.fresh()
	n.made = true
	if len(c.gone) > 0 {
		i := c.gone[len(c.gone)-1]
		c.gone = c.gone[:len(c.gone)-1]
		c.keys[i] = n
		c.request1(i, p, pace, false)
		return
	}
	c.keys = append(c.keys, n)
	c.request1(len(c.keys)-1, p, pace, false)
}

// request1 is one request of a caller.
func (c *crowd) request1(i int, p [2]float64, pace [2]int, retry bool) {
	r, n := c.w.r, &c.keys[i]
	arm := 0
	if n.draw < c.force {
		arm = 1
	}
	chance := min(p[arm]*n.errors, 1)
	if n.bot && c.now >= n.from {
		chance = max(chance, n.fails)
	}
	bad := retry || r.Float64() < chance
	bin := 0
	if c.w.stable != nil {
		dist := c.w.stable
		if arm == 1 {
			dist = c.w.canary
		}
		bin = dist.bin(r, pace[arm]+n.pace)
		c.count[arm].hist[bin]++
	}
	c.count[arm].n++
	if bad {
		c.count[arm].bad++
	}
	if bad && !retry && c.w.Keys.More > 0 {
		for j := range geometric(r, c.w.Keys.More) {
			c.retries[c.now+1+j] = append(c.retries[c.now+1+j], i)
		}
	}
	if n.seen != c.now {
		n.seen, n.unit = c.now, len(c.units[arm])
		c.units[arm] = append(c.units[arm], unit{key: i, bin: bin, again: n.trouble >= c.now-memory, made: n.made})
		n.made = false
	}
	c.units[arm][n.unit].bad = c.units[arm][n.unit].bad || bad
}

// remember keeps who was in trouble, and forgets who came once and was not.
func (c *crowd) remember() {
	if c.w.stable != nil {
		if c.recent.add(&c.count[0]); c.now%10 == 0 && c.recent.n > 0 {
			c.slowest = analysis.Bin(c.recent.quantile(.99))
			c.recent.n /= 2
			for i := range c.recent.hist {
				c.recent.hist[i] /= 2
			}
		}
	}
	first := c.w.Keys.Count + len(c.bots)
	for arm := range c.units {
		for _, u := range c.units[arm] {
			switch {
			case u.bad || c.w.stable != nil && u.bin > c.slowest:
				c.keys[u.key].trouble = c.now
			case u.key >= first && !u.bad:
				c.gone = append(c.gone, u.key)
			}
		}
	}
}

// request gives the counts of requests.
func (c *crowd) request(to *[2]side) { *to = c.count }

// arm gives the counts of callers.
func (c *crowd) arm(i int) analysis.Arm {
	a := analysis.Arm{Bins: map[int]uint32{}, Again: &analysis.Arm{Bins: map[int]uint32{}}}
	last := analysis.Bin(settle)
	for _, u := range c.units[i] {
		into := [...]*analysis.Arm{&a, a.Again}
		for _, to := range into[:1+index(u.again)] {
			to.Units++
			to.Bad += uint64(index(u.bad))
			switch {
			case c.w.stable == nil:
			case u.bin > last:
				to.Open++
			default:
				to.Bins[u.bin]++
			}
		}
		a.Drawn += uint64(index(u.made))
	}
	if a.Again.Units == 0 {
		a.Again = nil
	}
	return a
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}
