package analysis

import (
	"fmt"
	"math"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// cold judges the seconds in which an instance of the canary is fresh: its
// caches are empty and its code is not compiled yet, so being slow proves nothing
// about the release. Such seconds are no evidence of latency, with one
// exception: when the canary's median, or its 90th percentile, is beyond
// stable's by coldRatio and coldAdd, and has not become better for a while, no cold
// cache explains it and nobody should wait for it to warm up.
//
// The tests of that wide margin begin with the first fresh second and get
// coldShare of all wealth there is then, so that the whole stays an e-process,
// and a rollout whose instances are never fresh pays nothing.
type cold struct {
	fresh bool // the last judged second was

	against []mixture // one for each of gross; nil before the first fresh second
	stake   float64   // log of what they began with
	first   armOf     // of the first coldLook fresh seconds since the instances were warm last, how many exceeded the wide margin
	last    [coldLook]armOf
	judged  int // these seconds

	words freshness
}

// armOf is how many of n units exceeded.
type armOf struct{ n, x float64 }

const (
	coldRatio = 3    // four times stable's time
	coldAdd   = 0.05 // seconds
	coldShare = 0.2
	coldLook  = 5 // seconds; twice that is the least to see whether it becomes better
	coldStuck = 0.8
)

// gross are the thresholds whose quantiles fresh instances are judged at.
var gross = [...]int{0, 2} // the median and the 90th percentile

// thaw says whether the instances have just become warm.
func (c *cold) thaw() bool {
	was := c.fresh
	c.fresh, c.judged, c.first = false, 0, armOf{}
	return was
}

// observe judges one fresh second by the wide margin.
func (c *cold) observe(l *latencyTest, b Block) {
	if c.against == nil {
		c.stake = l.warm() + math.Log(coldShare)
		for range gross {
			c.against = append(c.against, newMixture(len(multiples)))
		}
	}
	c.fresh = true
	for i, g := range gross {
		t := &l.thresholds[g]
		p := l.pair(b, t.bin, c.shift(t.bin))
		sb := l.recent.exceeding(t.bin)
		for k, m := range multiples {
			if sc := timesOdds(sb, m); sc > sb {
				c.against[i].win(k, line{1, 0}.logE(p, sb, sc))
			}
		}
		c.against[i].close()
		if i == 0 {
			c.look(armOf{p.nc, p.xc})
		}
	}
	c.words.add(l, b)
}

func (c *cold) look(now armOf) {
	if c.judged < coldLook {
		c.first.n, c.first.x = c.first.n+now.n, c.first.x+now.x
	}
	c.last[c.judged%coldLook] = now
	c.judged++
}

// shift is the wide margin in bins.
func (c *cold) shift(bin int) int {
	wide := math.Log1p(max(coldRatio, coldAdd/Edge(bin))) * invLogGamma
	return min(int(math.Ceil(wide-1e-9)), Bins-2-bin)
}

// join returns the log evidence of fresh and warm seconds, given that of the warm ones.
func (c *cold) join(warm float64) float64 {
	if c.against == nil {
		return warm
	}
	return logAdd(warm+math.Log1p(-coldShare), c.evidence())
}

// evidence is the log of what the wide margin has shown, and no more than it
// began with while the canary becomes better.
func (c *cold) evidence() float64 {
	var logs [len(gross)]float64
	for i := range c.against {
		logs[i] = c.against[i].evidence()
	}
	e := c.stake + logMean(logs[:])
	if !c.stuck() {
		e = min(e, c.stake)
	}
	return e
}

// stuck says whether the share beyond the wide margin of the median is now hardly
// less than it was at first.
func (c *cold) stuck() bool {
	now := c.recent()
	return c.judged >= 2*coldLook && now.x*c.first.n >= coldStuck*c.first.x*now.n
}

func (c *cold) recent() (now armOf) {
	for _, k := range c.last {
		now.n, now.x = now.n+k.n, now.x+k.x
	}
	return now
}

// freshness is what people are told of fresh seconds: the mean over seconds of
// the canary's 95th percentile, in its first seconds and in its last.
type freshness struct {
	seconds int
	first   float64 // sum of the first freshWords
	stable  float64 // sum of all
	last    [freshWords]float64
}

const (
	freshWords    = 10
	freshQuantile = 0.95
)

func (f *freshness) add(l *latencyTest, b Block) {
	at := func(arm int, units uint64) float64 { return Edge(l.scratch[arm].quantile(units, freshQuantile)) }
	canary := at(1, b.Canary.Units)
	if f.seconds < freshWords {
		f.first += canary
	}
	f.last[f.seconds%freshWords] = canary
	f.stable += at(0, b.Stable.Units)
	f.seconds++
}

// quantile returns the first bin that holds at least the share q of units; those
// without an answer are slower than any.
func (w *within) quantile(units uint64, q float64) int {
	need := q * float64(units) * (1 - 1e-12)
	lo, hi := 0, Bins-1
	for lo < hi {
		if mid := (lo + hi) / 2; float64(w[mid]) >= need {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// means returns the canary's 95th percentile at first and at last, and stable's.
func (f *freshness) means() (first, last, stable float64) {
	n := min(f.seconds, freshWords)
	if n == 0 {
		return 0, 0, 0
	}
	for _, v := range f.last[:n] {
		last += v
	}
	return f.first / float64(n), last / float64(n), f.stable / float64(f.seconds)
}

// left says which seconds were left out of the latency, and what was seen in
// them; "" if none was.
func (c *cold) left(p delivery.JudgePolicy) string {
	f := &c.words
	if f.seconds == 0 {
		return ""
	}
	s := fmt.Sprintf("%s in which an instance was younger than %s left out", plural(uint64(f.seconds), "second"), p.Cold)
	first, last, stable := f.means()
	if f.seconds < freshWords {
		return fmt.Sprintf("%s: %s %s against %s on stable", s, quantileName(freshQuantile), seconds(last), seconds(stable))
	}
	return fmt.Sprintf("%s: %s %s in the first %d of them and %s in the last %d, against %s on stable",
		s, quantileName(freshQuantile), seconds(first), freshWords, seconds(last), freshWords, seconds(stable))
}

// now says that instances are warming up and are slow meanwhile; "" if not.
func (c *cold) now(p delivery.JudgePolicy) string {
	first, last, stable := c.words.means()
	if !c.fresh || max(first, last) <= stable+max(p.LatencyRatio*stable, p.LatencyAdd.Seconds()) {
		return ""
	}
	return "the new instances are warming up: " + c.left(p)
}

// coldCheck describes what fresh instances are judged by.
func (j *Judge) coldCheck() delivery.Check {
	c, t := &j.latency.cold, &j.latency.thresholds[gross[0]]
	check := j.thresholdCheck(t)
	check.Name = "p50 of new instances"
	beyond := seconds(Edge(t.bin + c.shift(t.bin)))
	now := c.recent()
	check.NCanary, check.Bad = uint64(now.n), uint64(now.x)
	logs := make([]float64, len(gross))
	peak := 0.0
	for i := range c.against {
		logs[i] = c.against[i].evidence()
		peak = max(peak, c.against[i].peak)
	}
	share := j.share() * math.Exp(c.stake)
	j.weighed(&check, logMean(logs), peak, 0, min(share, 1))
	if !c.stuck() {
		check.Against = min(check.Against, 1)
	}
	check.Words = nil // of warm instances
	check.Sentence = fmt.Sprintf("p50 %s against %s on stable, and no better after %d seconds: %s of the last %s took over %s, which no cold cache explains",
		seconds(check.Canary), seconds(check.Stable), c.judged, count(check.Bad), count(check.NCanary), beyond)
	return check
}
