package proxy

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/proxy/metrics"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// The seconds of an arm are mixed when the split that draws it changes, and not
// when that of the route does which counts by it.
func TestArmsAreMixedByTheirOwnSplit(t *testing.T) {
	c := newCounts()
	now := time.Now()
	arm := traffic.ArmCaller + "prod/cart)"
	own, other, far := c.get("prod/shop", "r9", ""), c.get("prod/shop", "r1", arm), c.get("prod/shop", "r1", traffic.ArmCaller+"prod/pay)")
	mixed := func() (out [3]bool) {
		for i, s := range []*series{own, other, far} {
			s.begin(now, &draw{gen: 1}, caller{key: "a"})
			out[i] = s.ring[now.Unix()%kept].Mixed
		}
		return out
	}
	if got := mixed(); got != [3]bool{} {
		t.Errorf("mixed = %v before any change", got)
	}
	c.splitChanged("prod/cart", now)
	if got := mixed(); got != [3]bool{false, true, false} {
		t.Errorf("mixed = %v after a change of cart's split, want that arm only", got)
	}
	now = now.Add(time.Second)
	c.splitChanged("prod/shop", now)
	if got := mixed(); got != [3]bool{true, false, false} {
		t.Errorf("mixed = %v after a change of shop's own split, want that only", got)
	}
}

// rolledOut is a table of shop, which calls cart, with that share of cart's new release.
func rolledOut(share delivery.Weight, stable delivery.ReleaseID) traffic.Table {
	pool := func(id delivery.ReleaseID, w delivery.Weight) traffic.Pool {
		return traffic.Pool{Release: id, Weight: w}
	}
	return traffic.Table{Generation: 1, Routes: []traffic.Route{
		{Name: "prod/shop", Service: "shop", Arms: []string{"prod/cart", "prod/shop", "prod/cart", "prod/gone"}, Pools: []traffic.Pool{pool("r9", delivery.Full)}},
		{Name: "prod/cart", Service: "cart", Gen: 3, Salt: "s", Pools: []traffic.Pool{pool("r2", share), pool(stable, delivery.Full-share)}},
	}}
}

// Who is in trouble is known across tables while stable stays, and no longer.
func TestOffendersOutliveTables(t *testing.T) {
	e := newEngine(Options{Log: quiet}, "boot", 1000)
	next := func(spec traffic.Table, old *table) *table {
		t.Helper()
		tab, err := compile(spec, old, e.builder())
		if err != nil {
			t.Fatal(err)
		}
		return tab
	}
	first := next(rolledOut(100, "r1"), nil)
	second := next(rolledOut(2000, "r1"), first)
	cart, arm := second.routes["prod/cart"], second.routes["prod/shop"].arms
	if len(arm) != 1 || arm[0].memory == nil || arm[0].memory != first.routes["prod/shop"].arms[0].memory || arm[0].memory == cart.memory || cart.memory != first.routes["prod/cart"].memory {
		t.Errorf("arms %+v, want the memory of before, and one of its own", arm)
	}
	if got := arm[0].pools[0].drawn; got.share != 2000 || got.gen != 3 || got.stable || !got.fair || got.places || !arm[0].pools[1].drawn.stable {
		t.Errorf("drawn as %+v", got)
	}
	k := seriesKey{"prod/shop", "r2", traffic.ArmCaller + "prod/cart)"}
	if !second.routes["prod/shop"].counts(k) || !second.routes["prod/shop"].counts(seriesKey{"prod/shop", "r9", ""}) {
		t.Error("a series in use would be swept away")
	}
	third := next(rolledOut(2000, "r3"), second)
	if third.routes["prod/cart"].memory == cart.memory || third.routes["prod/shop"].arms[0].memory == arm[0].memory {
		t.Error("callers of another stable release are still known")
	}
	over := next(rolledOut(0, "r3"), third)
	if over.routes["prod/cart"].memory != nil || over.routes["prod/shop"].arms != nil || over.routes["prod/shop"].counts(k) {
		t.Error("something is counted without a rollout")
	}
}

// Where a key is drawn to in an arm is where the route itself puts it.
func TestArmsChooseAsTheirRoute(t *testing.T) {
	for _, share := range []delivery.Weight{1, 100, 2500, 5000, 9999} {
		tab, err := compile(rolledOut(share, "r1"), nil, newEngine(Options{Log: quiet}, "boot", 1000).builder())
		if err != nil {
			t.Fatal(err)
		}
		cart, arm := tab.routes["prod/cart"], &tab.routes["prod/shop"].arms[0]
		for i := range 20000 {
			key := fmt.Sprint(i)
			if want, got := cart.choose(bucket(cart.spec.Salt, key)), arm.choose(key); want.spec.Release != got.series.key.release {
				t.Fatalf("key %s is %s of the route, and %s of the arm", key, want.spec.Release, got.series.key.release)
			}
		}
	}
}

// A release that fails uses up its own retries only.
func TestRetryBudgetsAreOfReleases(t *testing.T) {
	e := newEngine(Options{Log: quiet}, "boot", 1000)
	first, err := compile(rolledOut(5000, "r1"), nil, e.builder())
	if err != nil {
		t.Fatal(err)
	}
	second, err := compile(rolledOut(6000, "r1"), first, e.builder())
	if err != nil {
		t.Fatal(err)
	}
	bad, well := second.routes["prod/cart"].pools[0], second.routes["prod/cart"].pools[1]
	if bad.budget != first.routes["prod/cart"].pools[0].budget || well.budget != first.routes["prod/cart"].pools[1].budget {
		t.Error("a change of the table gives fresh budgets")
	}
	now := time.Now()
	for bad.budget.Retry(now, 0) { // until there is none left
		continue
	}
	if !well.budget.Retry(now, 0) {
		t.Error("the other release has no retry left")
	}
}

// What died with the predecessor has nothing open, and what was told before is not
// changed for it.
func TestLegacySettlesAgain(t *testing.T) {
	l := newLegacy()
	told := traffic.Block{Route: "r", Second: 7, Requests: 2, Unfinished: 1, UnitsOpen: 1, Units: 2, Again: &traffic.Again{Units: 1, Open: 1}}
	l.take(told, 1)
	l.settle(4)
	got := l.collect(nil, 4, 0, func(legacyKey) (traffic.Block, bool) { return traffic.Block{}, false })
	if len(got) != 1 || !reflect.DeepEqual(got[0].Again, &traffic.Again{Units: 1}) || told.Again.Open != 1 {
		t.Errorf("after settle: %+v, told before: %+v", got[0].Again, told.Again)
	}
}

// Requests that count in an arm too are one request each for Prometheus.
func TestArmsAreNotInTheMetrics(t *testing.T) {
	e := newEngine(Options{Log: quiet}, "boot", 1000)
	tab, err := compile(rolledOut(5000, "r1"), nil, e.builder())
	if err != nil {
		t.Fatal(err)
	}
	r := tab.routes["prod/shop"]
	e.table.Store(tab)
	x := &passage{e: e, route: r, pool: r.pools[0], who: caller{key: "k"}, arrived: time.Now()}
	x.open()
	x.answered(time.Millisecond)
	if len(x.arms) != 1 {
		t.Fatalf("%d arms", len(x.arms))
	}
	x.ends(finished, 200, 1, 1)
	var counted uint64
	for _, s := range e.counts.all() {
		sum, _, _ := s.sums()
		counted += sum.OK
	}
	var shown metrics.Text
	e.metricsOfRequests(&shown)
	text := string(shown.Bytes())
	if counted != 2 || !strings.Contains(text, `slipway_requests_total{route="prod/shop",service="shop",release="r9",class="ok"} 1`) || strings.Contains(text, "(arm") {
		t.Errorf("counted %d times, and shown as\n%s", counted, text)
	}
}
