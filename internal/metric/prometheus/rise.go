package prometheus

import (
	"fmt"
	"maps"
	"math"
	"slices"
)

// stale is how many scrapes a series may miss before it is gone, as long as the
// server itself takes a series for alive by default (5 minutes of 1).
const stale = 5

// arm is what was scraped of one release.
type arm struct {
	every  int64              // milliseconds between two scrapes, the median
	begins int64              // first moment that was asked for, Unix milliseconds
	seen   map[string][]int64 // by target, the moments at which anything of it was scraped
	anew   map[moment]bool    // when a target turned out to have been started anew
}

// moment is one scrape of one target.
type moment struct {
	target string
	at     int64
}

// armOf looks at all series of a release, of whichever selector.
func armOf(begins, step int64, all ...[]series) arm {
	a := arm{begins: begins, every: 1000 * step, seen: map[string][]int64{}, anew: map[moment]bool{}}
	var gaps []int64
	for _, part := range all {
		for i := range part {
			s := &part[i]
			to := a.seen[s.target()]
			for k, x := range s.samples {
				to = append(to, x.at)
				if k == 0 {
					continue
				}
				if len(gaps) < 1<<14 {
					gaps = append(gaps, x.at-s.samples[k-1].at)
				}
				if s.labels["instance"] != "" && x.value < s.samples[k-1].value {
					a.anew[moment{s.target(), x.at}] = true
				}
			}
			a.seen[s.target()] = to
		}
	}
	for t, at := range a.seen {
		slices.Sort(at)
		a.seen[t] = slices.Compact(at)
	}
	if len(gaps) > 0 {
		slices.Sort(gaps)
		a.every = gaps[len(gaps)/2]
	}
	return a
}

// patience is after how long a series that is silent is gone.
func (a *arm) patience() int64 { return stale * a.every }

// born reports whether a series that appears at a moment counts from zero: its
// target was scraped before without it, for as long as it could have been there.
func (a *arm) born(target string, at int64) bool {
	if at-a.begins <= a.patience() {
		return false // it may have been there before what we asked for
	}
	seen := a.seen[target]
	i, _ := slices.BinarySearch(seen, at)
	return i > 0 && at-seen[i-1] <= a.patience()
}

// complete is the moment until which everything is known: each target that is
// alive has been scraped since. Where none is, one may yet appear.
func (a *arm) complete(now int64) int64 {
	until, alive := now, false
	for _, at := range a.seen {
		if len(at) == 0 || now-at[len(at)-1] > a.patience() {
			continue
		}
		until, alive = min(until, at[len(at)-1]), true
	}
	if !alive {
		return now - a.patience()
	}
	return until
}

// tally is what one expression says of one release, block by block and target by
// target. A block that is not in it has no data, which is not the same as zero.
type tally struct {
	series int
	step   int64
	rose   map[int64]map[string]float64 // increases
	wrong  map[int64]string
	last   int64 // the last sample, Unix milliseconds
}

func newTally(n int, step int64) tally {
	return tally{series: n, step: step, rose: map[int64]map[string]float64{}, wrong: map[int64]string{}}
}

// block is where a scrape counts: it tells of what happened before it.
func (t *tally) block(at int64) int64 { return (at - 1) / (1000 * t.step) }

func (t *tally) add(block int64, target string, by float64) {
	if t.rose[block] == nil {
		t.rose[block] = map[string]float64{}
	}
	t.rose[block][target] += by
}

// sum adds up a block. known is false when it has no data.
func (t *tally) sum(block int64) (total float64, known bool) {
	by, known := t.rose[block]
	for _, target := range slices.Sorted(maps.Keys(by)) { // one order, one sum
		total += by[target]
	}
	return total, known
}

// counted adds up what counters rose between two scrapes. A total that is lower
// than the one before began anew, from zero (as Prometheus' own functions have
// it), and so did all others of its target: one that is higher by now, for it was
// small before, would else count too little.
func (a *arm) counted(all []series, step int64) tally {
	t := newTally(len(all), step)
	for i := range all {
		s := &all[i]
		for k, x := range s.samples {
			t.last = max(t.last, x.at)
			block := t.block(x.at)
			if why := noTotal(x); why != "" {
				t.wrong[block] = why
				continue
			}
			by := x.value
			switch {
			case k > 0 && x.at-s.samples[k-1].at <= a.patience():
				before := s.samples[k-1]
				if noTotal(before) != "" {
					continue // since when it counts is not known
				}
				if x.value >= before.value && !a.anew[moment{s.target(), x.at}] {
					by = x.value - before.value
				}
			case !a.born(s.target(), x.at):
				continue
			}
			t.add(block, s.target(), by)
		}
	}
	return t
}

// noTotal says why a sample cannot be one of a counter.
func noTotal(x sample) string {
	switch {
	case x.hist != nil:
		return "it is a histogram, and a counter was asked for"
	case math.IsNaN(x.value) || math.IsInf(x.value, 0):
		return fmt.Sprintf("a counter is %v", x.value)
	case x.value < 0:
		return fmt.Sprintf("a counter is negative, %v", x.value)
	}
	return ""
}

// taken takes the values of an expression, times something, as the increases of
// the step that ends with them.
func taken(all []series, step int64, times float64) tally {
	t := newTally(len(all), step)
	for i := range all {
		for _, x := range all[i].samples {
			t.last = max(t.last, x.at)
			if why := noTotal(x); why != "" {
				t.wrong[t.block(x.at)] = why
				continue
			}
			t.add(t.block(x.at), all[i].target(), x.value*times)
		}
	}
	return t
}

// seconds adds up for how long targets were watched, from scrape to scrape.
func (a *arm) seconds(step int64) tally {
	t := newTally(len(a.seen), step)
	for target, at := range a.seen {
		for i := 1; i < len(at); i++ {
			if gap := at[i] - at[i-1]; gap <= a.patience() {
				t.add(t.block(at[i]), target, float64(gap)/1e3)
			}
		}
	}
	return t
}

// levels takes one value a series and block: the mean of what was scraped in it.
func levels(all []series, step int64) (map[int64][]float64, tally) {
	t := newTally(len(all), step)
	values := map[int64][]float64{}
	for i := range all {
		type mean struct{ n, sum float64 }
		by := map[int64]mean{}
		for _, x := range all[i].samples {
			t.last = max(t.last, x.at)
			block := t.block(x.at)
			if x.hist != nil || math.IsNaN(x.value) || math.IsInf(x.value, 0) {
				t.wrong[block] = fmt.Sprintf("a value is %v", x.value)
				continue
			}
			m := by[block]
			by[block] = mean{m.n + 1, m.sum + x.value}
		}
		for block, m := range by {
			values[block] = append(values[block], m.sum/m.n)
		}
	}
	return values, t
}
