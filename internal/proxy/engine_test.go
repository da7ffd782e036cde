package proxy

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

var quiet = slog.New(slog.DiscardHandler)

func endpointOf(id string) *endpoint {
	return newEndpoint(traffic.Endpoint{ID: id, Addr: "127.0.0.1:1"}, "r1", delivery.HTTP1, nil, quiet)
}

// Case 59 at its core: after retire no claim succeeds, and a zero seen then stays.
func TestCase59_ClaimAgainstRetire(t *testing.T) {
	for range 300 {
		p := endpointOf("a")
		var gone atomic.Bool
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 200 {
					sure := gone.Load() // retire had returned before the claim began
					if !p.claim(0) {
						return
					}
					if sure {
						t.Error("a claim succeeded after retire")
					}
					p.unclaim()
				}
			})
		}
		all.Go(func() {
			p.retire()
			gone.Store(true)
			for zero := false; ; {
				n := p.inFlight()
				if zero && n != 0 {
					t.Errorf("in flight went from 0 to %d after retire", n)
				}
				if zero {
					return
				}
				zero = n == 0
			}
		})
		all.Wait()
		if n := p.inFlight(); n != 0 {
			t.Fatalf("%d in flight at the end", n)
		}
	}
}

// Passive ejection: the fifth failure in a row, longer each time, never the
// last healthy endpoint and never more than half.
func TestEjection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turn sync.Mutex
		eps := []*endpoint{endpointOf("a"), endpointOf("b"), endpointOf("c")}
		fail := func(p *endpoint, n int) {
			for range n {
				p.failed(errors.New("refused"), eps, ejectionOf(delivery.Ejection{}), &turn)
			}
		}
		healthy := func() (out string) {
			for _, p := range eps {
				if p.healthy(time.Now()) {
					out += p.id
				}
			}
			return out
		}
		fail(eps[0], 4)
		eps[0].answered()
		fail(eps[0], 4)
		if got := healthy(); got != "abc" {
			t.Errorf("4 failures in a row: healthy are %s", got)
		}
		fail(eps[0], 1)
		if got := healthy(); got != "bc" {
			t.Errorf("5 failures in a row: healthy are %s, want bc", got)
		}
		if why := eps[0].state(time.Now()).Why; why != "ejected after refused" {
			t.Errorf("Why = %q", why)
		}
		fail(eps[1], 5)
		fail(eps[2], 50)
		if got := healthy(); got != "c" {
			t.Errorf("healthy are %q, want the last one c", got)
		}
		time.Sleep(time.Second)
		if got := healthy(); got != "abc" {
			t.Errorf("after a second healthy are %s", got)
		}
		for _, want := range []time.Duration{2, 4, 8, 16, 30, 30} {
			fail(eps[0], 5)
			time.Sleep(want*time.Second - time.Millisecond)
			if eps[0].healthy(time.Now()) {
				t.Errorf("back before %d s", want)
			}
			time.Sleep(time.Millisecond)
			if !eps[0].healthy(time.Now()) {
				t.Errorf("not back after %d s", want)
			}
		}
		time.Sleep(ejectForgotten + time.Second)
		fail(eps[0], 5)
		time.Sleep(time.Second)
		if !eps[0].healthy(time.Now()) {
			t.Error("after a good minute an ejection is not short again")
		}
		eps[1].up.Store(false)
		eps[2].up.Store(false)
		fail(eps[0], 50)
		if !eps[0].healthy(time.Now()) {
			t.Error("the only endpoint that passes its check was ejected")
		}
	})
}

// Case 57 as a property: a growing weight of the first candidate only adds
// callers to it, whatever the keys, and nobody is left without a pool.
func TestCase57_BucketsAreMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		salt, key := rapid.String().Draw(t, "salt"), rapid.String().Draw(t, "key")
		b := bucket(salt, key)
		if b < 0 || b >= int(delivery.Full) {
			t.Fatalf("bucket(%q, %q) = %d", salt, key, b)
		}
		lo := rapid.IntRange(0, int(delivery.Full)).Draw(t, "lo")
		hi := rapid.IntRange(lo, int(delivery.Full)).Draw(t, "hi")
		at := func(w int) delivery.ReleaseID {
			spec := traffic.Route{Salt: salt, Pools: []traffic.Pool{
				{Release: "new", Weight: delivery.Weight(w)}, {Release: "old", Weight: delivery.Full - delivery.Weight(w)},
			}}
			p := new(table).compileRoute(&spec, nil, builder{}).choose(b)
			if p == nil {
				t.Fatalf("bucket %d has no pool at weight %d", b, w)
			}
			return p.spec.Release
		}
		if at(lo) == "new" && at(hi) != "new" {
			t.Fatalf("bucket %d left the candidate between %d and %d", b, lo, hi)
		}
		if at(0) != "old" || at(int(delivery.Full)) != "new" {
			t.Fatalf("bucket %d is astray at 0 or at 100 %%", b)
		}
	})
}

// The places of known keys: they may never move between versions of Slipway.
func TestBucketsNeverMove(t *testing.T) {
	counts := make([]int, 10)
	for i := range 100000 {
		counts[bucket("salt", fmt.Sprint("user-", i))/1000]++
	}
	for i, n := range counts { // binomial: 10000 ± 95; six deviations
		if n < 9430 || n > 10570 {
			t.Errorf("%d of 100000 keys fall into tenth %d", n, i)
		}
	}
	same := 0
	for i := range 10000 {
		k := fmt.Sprint("user-", i)
		if bucket("one", k)/1000 == bucket("two", k)/1000 {
			same++
		}
	}
	if same < 800 || same > 1200 {
		t.Errorf("%d of 10000 keys share a tenth under two salts, want about 1000", same)
	}
	got := []int{bucket("", ""), bucket("a", "b"), bucket("ab", ""), bucket("prod/shop:17", "0123456789abcdef0123456789abcdef")}
	if want := []int{7227, 6698, 4943, 2380}; !slices.Equal(got, want) {
		t.Errorf("buckets = %v, want %v", got, want)
	}
}

// A table file cut at any byte, or with any byte bent, is never taken.
func TestDiskNoticesEveryTear(t *testing.T) {
	d := disk{t.TempDir()}
	if found, err := d.load(); err != nil || found.table.Generation != 0 {
		t.Fatalf("load() of nothing = %+v, %v", found, err)
	}
	for g := range int64(2) {
		tab, err := compile(traffic.Table{Generation: g + 1}, nil, builder{})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.save(tab.body); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := d.load(); err != nil || found.table.Generation != 2 || found.damaged != nil {
		t.Fatalf("load() = %+v, %v, want generation 2", found, err)
	}
	last := filepath.Join(d.dir, tableFile)
	whole, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, i int, b []byte) {
		t.Helper()
		if err := os.WriteFile(last, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if found, err := d.load(); err != nil || found.table.Generation != 1 || found.damaged == nil {
			t.Errorf("%s %d: load() = %+v, %v, want generation 1 and the damage", what, i, found, err)
		}
	}
	for i := range whole {
		check("cut at", i, whole[:i])
		bent := slices.Clone(whole)
		bent[i] ^= 0x20
		check("bent at", i, bent)
	}
	if err := os.Remove(last); err != nil { // stopped between the renames
		t.Fatal(err)
	}
	if found, err := d.load(); err != nil || found.table.Generation != 1 || found.damaged != nil {
		t.Errorf("load() between the renames = %+v, %v", found, err)
	}
	if err := os.Truncate(filepath.Join(d.dir, previousFile), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := d.load(); err == nil || errors.Is(err, fs.ErrNotExist) && err.Error() == "" {
		t.Error("load() of nothing but an empty file = nil, want a refusal")
	}
}

// A table that cannot be kept is not put in force.
func TestApplyWithoutDiskChangesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	e := newEngine(Options{StateDir: dir, Log: quiet}, "boot", 1024)
	err := e.apply(t.Context(), traffic.Table{Generation: 1})
	if err == nil || e.table.Load().spec.Generation != 0 {
		t.Errorf("apply() without a folder = %v at generation %d, want an error at 0", err, e.table.Load().spec.Generation)
	}
	if p := tableProblem(err); p.Status != 507 || p.Hint == "" {
		t.Errorf("problem = %+v, want 507 with the cure", p)
	}
}

func TestCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounts()
		s := c.get("prod/shop", "r1", "")
		at := time.Now()
		one := caller{key: "one"}
		a := s.begin(at, &draw{gen: 1}, one)
		b := s.begin(at, &draw{gen: 1}, one) // the same unit
		n := s.begin(at, &draw{gen: 1}, caller{key: "x", fresh: true})
		blocks, _, epoch := c.collect(0, 0)
		if got := blocks[0]; len(blocks) != 1 || got.Requests != 3 || got.Unfinished != 3 || got.Units != 2 || got.UnitsOpen != 2 {
			t.Fatalf("blocks = %+v", blocks)
		}
		b.answered(time.Second) // not the unit's first request: in no bin
		b.end(broken, 200, 1, 2)
		a.answered(10 * time.Millisecond)
		a.end(finished, 503, 10, 20)
		n.retried()
		n.end(unreached, 0, 0, 0)
		blocks, _, epoch = c.collect(epoch, 0)
		got := blocks[0]
		bins := got.Bins
		got.Bins = nil
		want := traffic.Block{
			Route: "prod/shop", Release: "r1", Second: at.Unix(), Gen: 1, Requests: 3,
			Server: 1, Broken: 1, Connect: 1, Retries: 1, Units: 2, UnitsBad: 2, BytesIn: 11, BytesOut: 22,
		}
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) || !maps.Equal(bins, map[int]uint32{analysis.Bin(0.01): 1}) {
			t.Errorf("block = %+v %v, want %+v", got, bins, want)
		}
		if blocks, _, _ := c.collect(epoch, 0); len(blocks) != 0 {
			t.Errorf("nothing grew, yet %d blocks are sent again", len(blocks))
		}
		// A late finisher is counted in the second of its arrival, and sent again.
		long := s.begin(at, &draw{gen: 1}, one)
		time.Sleep(100 * time.Second)
		_, _, epoch = c.collect(epoch, 0)
		c.sweep(time.Now(), func(seriesKey) bool { return true })
		long.end(finished, 200, 0, 0)
		if blocks, _, _ := c.collect(epoch, 0); len(blocks) != 1 || blocks[0].Second != at.Unix() || blocks[0].OK != 1 || blocks[0].Unfinished != 0 {
			t.Errorf("late finisher: %+v", blocks)
		}
		// Old rings go, ones in a table stay.
		time.Sleep(kept * time.Second)
		c.sweep(time.Now(), func(seriesKey) bool { return true })
		if blocks, _, _ := c.collect(0, 0); len(blocks) != 0 || len(c.series) != 1 {
			t.Errorf("after %d s there are %d blocks in %d rings", kept, len(blocks), len(c.series))
		}
		c.sweep(time.Now(), func(seriesKey) bool { return false })
		if len(c.series) != 0 {
			t.Error("a ring without a table and blocks is kept")
		}
	})
}

// A second in which the split changed is mixed for every release of the route.
func TestMixedSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounts()
		old, next := c.get("prod/shop", "r1", ""), c.get("prod/shop", "r2", "")
		far := c.get("prod/cart", "r9", "")
		far.begin(time.Now(), &draw{gen: 1}, caller{key: "a"})
		old.begin(time.Now(), &draw{gen: 1}, caller{key: "a"})
		c.splitChanged("prod/shop", time.Now())
		next.begin(time.Now(), &draw{gen: 2}, caller{key: "b"})
		time.Sleep(time.Second)
		next.begin(time.Now(), &draw{gen: 2}, caller{key: "b"})
		old.begin(time.Now(), &draw{gen: 1}, caller{key: "a"}) // routed by the old table, just late
		old.begin(time.Now(), &draw{gen: 2}, caller{key: "a"})
		blocks, _, _ := c.collect(0, 0)
		var got []string
		for _, b := range blocks {
			got = append(got, fmt.Sprint(b.Release, " ", b.Gen, " ", b.Mixed))
		}
		slices.Sort(got)
		want := []string{"r1 1 true", "r1 1 true", "r2 2 false", "r2 2 true", "r9 1 false"}
		if !slices.Equal(got, want) {
			t.Errorf("blocks = %q, want %q", got, want)
		}
	})
}

// The memory of units is bounded; what is above counts as new each time.
func TestUnitsAreBounded(t *testing.T) {
	c := newCounts()
	s := c.get("r", "r1", "")
	at := time.Now()
	for i := range maxUnits + 10 {
		s.begin(at, &draw{gen: 1}, caller{key: fmt.Sprint(i)})
	}
	above := caller{key: fmt.Sprint(maxUnits + 5)}
	first, second := s.begin(at, &draw{gen: 1}, above), s.begin(at, &draw{gen: 1}, above)
	first.end(broken, 0, 0, 0)
	second.end(broken, 0, 0, 0)
	b := s.ring[at.Unix()%kept]
	if len(b.units) != maxUnits || len(b.index) != maxUnits || b.Units != maxUnits+12 || b.UnitsBad != 2 {
		t.Errorf("%d units told apart of %d, %d bad", len(b.units), b.Units, b.UnitsBad)
	}
}

func TestSamplesAreBoundedAndSentOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounts()
		_, _, epoch := c.collect(0, 0)
		for range 100 {
			c.sample(traffic.Sample{At: time.Now(), Path: string(make([]byte, 1000))})
		}
		time.Sleep(time.Second)
		c.sample(traffic.Sample{At: time.Now()})
		_, failed, epoch := c.collect(epoch, 0)
		if len(failed) != maxSamples+1 || len(failed[0].Path) != maxPathShow {
			t.Errorf("%d samples with paths of %d bytes, want %d and %d", len(failed), len(failed[0].Path), maxSamples+1, maxPathShow)
		}
		if _, failed, _ := c.collect(epoch, 0); len(failed) != 0 {
			t.Errorf("%d samples are sent twice", len(failed))
		}
	})
}

// Whatever is counted, in whatever order, the sums of a block hold.
func TestBlockSumsHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCounts()
		s := c.get("r", "r1", "")
		at := time.Unix(1_700_000_000, 0)
		var open []ticket
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(open) == 0 || rapid.Bool().Draw(t, "begin") {
				key := caller{key: fmt.Sprint(rapid.IntRange(0, 5).Draw(t, "key")), fresh: rapid.Bool().Draw(t, "fresh")}
				open = append(open, s.begin(at, &draw{gen: 1}, key))
				continue
			}
			i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
			if rapid.Bool().Draw(t, "answered") {
				open[i].answered(time.Duration(rapid.IntRange(0, int(time.Hour)).Draw(t, "took")))
			}
			open[i].end(outcome(rapid.IntRange(0, int(shed)).Draw(t, "how")), rapid.IntRange(100, 599).Draw(t, "status"), 1, 1)
			open = slices.Delete(open, i, i+1)
		}
		blocks, _, _ := c.collect(0, 0)
		b := blocks[0]
		if sum := b.OK + b.Client + b.Server + b.Connect + b.Timeout + b.Broken + b.Cancelled + b.Shed; sum+b.Unfinished != b.Requests || b.Unfinished != uint64(len(open)) {
			t.Fatalf("%d ended and %d unfinished of %d", sum, b.Unfinished, b.Requests)
		}
		var binned uint64
		for _, n := range b.Bins {
			binned += uint64(n)
		}
		if binned+b.UnitsOpen > b.Units || b.UnitsBad > b.Units || b.Units > b.Requests || b.UnitsOpen > b.Unfinished {
			t.Fatalf("units do not add up: %+v", b)
		}
	})
}
