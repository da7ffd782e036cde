package embedded

import (
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// fill sets every field of v, of whatever kind, to something that is not zero.
func fill(t *testing.T, v reflect.Value, n *uint64) {
	t.Helper()
	*n += 97
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), n)
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(t, field, n)
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(t, key, n)
		fill(t, value, n)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString("some")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(*n)
	default:
		t.Fatalf("a block has a field of kind %s", v.Kind())
	}
}

// Whatever a block will hold, it is kept.
func TestPackKeepsEveryField(t *testing.T) {
	var want traffic.Block
	n := uint64(0)
	fill(t, reflect.ValueOf(&want).Elem(), &n)
	got := traffic.Block{Route: want.Route, Release: want.Release, Caller: want.Caller, Second: want.Second}
	unpackBlock(packBlock(nil, &want), &got)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("unpacked\n%+v, want\n%+v", got, want)
	}
}

// Bytes that nobody packed, or only a part of what was, are read without harm.
func TestUnpackOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b traffic.Block
		unpackBlock(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"), &b)
	})
}

func bins() *rapid.Generator[map[int]uint32] {
	return rapid.MapOfN(rapid.IntRange(0, 1599), rapid.Uint32Range(1, 1000), 0, 6)
}

func block(t *rapid.T, second int64) traffic.Block {
	count := func(name string) uint64 { return rapid.Uint64Range(0, 300).Draw(t, name) }
	b := traffic.Block{
		Route:   rapid.SampledFrom([]string{"prod/api", "prod/shop"}).Draw(t, "route"),
		Release: delivery.ReleaseID(rapid.SampledFrom([]string{"r1", "r2", "r3"}).Draw(t, "release")),
		Caller:  rapid.SampledFrom([]string{"", "shop", traffic.PreviewCaller, traffic.MirrorCaller, traffic.ArmCaller + "prod/api)"}).Draw(t, "caller"),
		Second:  second, Mixed: rapid.IntRange(0, 9).Draw(t, "mixed") == 0,
		Requests: count("requests"), Server: count("server"), Timeout: count("timeout"),
		Units: count("units"), UnitsBad: count("bad"), UnitsOpen: count("open"), Drawn: count("drawn"), Bins: bins().Draw(t, "bins"),
	}
	if rapid.Bool().Draw(t, "again") {
		b.Again = &traffic.Again{Units: count("again"), Bad: count("again bad"), Bins: bins().Draw(t, "again bins")}
	}
	if b.Caller == traffic.MirrorCaller {
		b.Pairs = &traffic.Pairs{Both: count("both"), CopyBad: count("copy bad")}
	}
	return b
}

// grown is a block later in its second.
func grown(b traffic.Block, by uint64) traffic.Block {
	b.Requests += by
	b.Units += by
	b.Bins = maps.Clone(b.Bins)
	if b.Bins == nil {
		b.Bins = map[int]uint32{}
	}
	b.Bins[700] += uint32(by)
	return b
}

type key struct {
	boot, route, caller string
	release             delivery.ReleaseID
	second              int64
}

// recount adds up the blocks that count, in the plainest way.
func recount(last map[key]traffic.Block, a Arms, counts func(traffic.Block) bool) map[int64]*Second {
	sums := tally{arms: a, by: map[int64]*Second{}, rest: map[int64]float64{}}
	for _, b := range last {
		if b.Second >= a.First && b.Second <= a.Last && counts(b) && (b.Release == a.Stable || b.Release == a.Canary) {
			sums.add(&b)
		}
	}
	return sums.by
}

// However often, in whatever order and by however many data planes one after the
// other blocks are told: each counts once, as it was told last.
func TestFramesAreCountedOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, last := New(), map[key]traffic.Block{}
		now := time.Unix(1_000_000, 0)
		for range rapid.IntRange(1, 12).Draw(t, "frames") {
			f := traffic.Frame{At: now, Boot: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "boot")}
			for range rapid.IntRange(0, 8).Draw(t, "blocks") {
				b := block(t, now.Unix()-rapid.Int64Range(0, 20).Draw(t, "age"))
				k := key{f.Boot, b.Route, b.Caller, b.Release, b.Second}
				if old, ok := last[k]; ok {
					b = grown(old, rapid.Uint64Range(0, 5).Draw(t, "growth"))
				}
				last[k] = b
				f.Blocks = append(f.Blocks, b)
			}
			s.Take(f, now)
			if rapid.Bool().Draw(t, "twice") {
				s.Take(f, now)
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 900).Draw(t, "pause")) * time.Millisecond)
		}
		a := Arms{Route: "prod/api", Stable: "r1", Canary: "r2", First: 999_990, Last: 1_000_008}
		same(t, s.Seconds(a), recount(last, a, func(b traffic.Block) bool {
			return b.Route == a.Route && (traffic.Drawn(b.Caller) || b.Caller == traffic.MirrorCaller && b.Release == a.Canary)
		}))
		same(t, s.AtCallers(a, []string{"prod/shop"}), recount(last, a, func(b traffic.Block) bool {
			return b.Route == "prod/shop" && b.Caller == traffic.ArmCaller+"prod/api)"
		}))
		requests, failed := uint64(0), uint64(0)
		for _, b := range last {
			if b.Route == a.Route && b.Release == "r2" && traffic.Drawn(b.Caller) {
				requests += b.Requests
				failed += b.Server + b.Timeout
			}
		}
		if r, f := s.Exposure(a.Route, "r2", 0, 2_000_000); r != requests || f != failed {
			t.Fatalf("Exposure = %d, %d, want %d, %d", r, f, requests, failed)
		}
	})
}

func same(t *rapid.T, got []Second, want map[int64]*Second) {
	if len(got) != len(want) {
		t.Fatalf("%d seconds, want %d", len(got), len(want))
	}
	for _, g := range got {
		if w := *want[g.Second]; !reflect.DeepEqual(g.Stable, w.Stable) || !reflect.DeepEqual(g.Canary, w.Canary) || g.Mixed != w.Mixed || g.Pairs != w.Pairs ||
			g.StableRequests != w.StableRequests || g.CanaryRequests != w.CanaryRequests {
			t.Fatalf("second %+v, want %+v", g, w)
		}
	}
	if !slices.IsSortedFunc(got, func(a, b Second) int { return int(a.Second - b.Second) }) {
		t.Fatal("the seconds are not in order")
	}
}

func TestWeightOfASecond(t *testing.T) {
	at := time.Unix(20, 0)
	of := func(second int64, release delivery.ReleaseID, share delivery.Weight) traffic.Block {
		return traffic.Block{Route: "prod/api", Release: release, Second: second, Share: share, Units: 1}
	}
	shopped := of(13, "r2", 2000)
	shopped.Caller = "shop"
	s := New()
	s.Take(traffic.Frame{At: at, Blocks: []traffic.Block{
		of(10, "r1", 9000), of(10, "r2", 1000),
		of(11, "r1", 9000), // none went to the canary, and it might have
		of(12, "r1", 0), of(12, "r2", 0),
		of(13, "r2", 1000), shopped, // two callers, between which the split changed
		of(14, "r1", delivery.Full),
	}}, at)
	for i, want := range []struct {
		weight float64
		mixed  bool
	}{{0.1, false}, {0.1, false}, {0, false}, {0.2, true}, {0, false}} {
		got := s.Seconds(Arms{Route: "prod/api", Stable: "r1", Canary: "r2", First: 10, Last: 20})[i]
		if got.Weight < want.weight-1e-9 || got.Weight > want.weight+1e-9 || got.Mixed != want.mixed {
			t.Errorf("second %d has weight %v, mixed %v; want %+v", got.Second, got.Weight, got.Mixed, want)
		}
	}
}

// Seconds are forgotten in time, and an hour that comes twice is not added up.
func TestFramesForgetAndRewind(t *testing.T) {
	s := New()
	at := time.Unix(1_000_000, 0)
	send := func(now time.Time, n uint64) {
		s.Take(traffic.Frame{At: now, Boot: "a", Blocks: []traffic.Block{{Route: "prod/api", Release: "r1", Caller: "shop", Second: now.Unix(), Requests: n, Server: 1}}}, now)
	}
	for i := range 2000 {
		send(at.Add(time.Duration(i)*time.Second), 1)
	}
	now := at.Add(1999 * time.Second)
	if n, _ := s.Exposure("prod/api", "r1", 0, now.Unix()); n < keptSeconds || n > keptSeconds+strideAge+1 {
		t.Errorf("%d seconds are kept, want %d and a stride", n, keptSeconds)
	}
	if calls := s.Calls("shop"); len(calls) != 1 || calls[0] != (Call{"prod", "shop", "api", callWindow, callWindow, callWindow}) {
		t.Errorf("Calls = %+v", calls)
	}
	back := now.Add(-time.Hour)
	send(back, 5)
	if last, ok := s.Closed(); !ok || last != back.Unix()-3 {
		t.Errorf("Closed = %d, %v after the clock was set back; want %d", last, ok, back.Unix()-3)
	}
	if n, _ := s.Exposure("prod/api", "r1", 0, now.Unix()); n != 5 {
		t.Errorf("%d requests are kept, want the 5 since the clock was set back", n)
	}
	s.Take(traffic.Frame{At: back.Add(2 * time.Hour)}, back.Add(2*time.Hour))
	if lines := len(s.frames.routes); lines != 0 {
		t.Errorf("%d routes are kept of a time long past", lines)
	}
}

// Who called whom is told of the last ten minutes: of those of now, though nobody
// calls any more, and of no longer than calls are known.
func TestCallsAreOfNow(t *testing.T) {
	s, at := New(), time.Unix(1_000_000, 0)
	send := func(second int64, requests ...traffic.Block) {
		for i := range requests {
			requests[i].Route, requests[i].Release, requests[i].Caller, requests[i].Second = "prod/api", "r1", "shop", at.Unix()+second
		}
		s.Take(traffic.Frame{At: at.Add(time.Duration(second) * time.Second), Boot: "a", Blocks: requests}, at.Add(time.Duration(second)*time.Second))
	}
	if calls := s.Calls(""); len(calls) != 0 {
		t.Errorf("Calls = %+v of a new store, want none", calls)
	}
	for second := range int64(60) {
		send(second, traffic.Block{Requests: 2, Server: 1})
	}
	for _, want := range []struct{ silence, requests, seconds int64 }{{59, 120, 60}, {119, 120, 120}, {599, 120, 600}, {629, 60, 600}, {700, 0, 0}} {
		send(want.silence)
		var got Call
		if calls := s.Calls("api"); len(calls) > 0 {
			got = calls[0]
		}
		if int64(got.Requests) != want.requests || int64(got.Failed)*2 != want.requests || got.Seconds != want.seconds {
			t.Errorf("after %d s: %+v, want %d requests in %d s", want.silence, got, want.requests, want.seconds)
		}
	}
}

// Totals are of the seconds asked for, whoever called, and say how many of them are known.
func TestTotals(t *testing.T) {
	s, at := New(), time.Unix(1_000_000, 0)
	any := func(string) bool { return true }
	if list, seconds := s.Totals(at.Unix(), 60, any); len(list) != 0 || seconds != 60 {
		t.Errorf("Totals = %+v of %d seconds of a new store", list, seconds)
	}
	for second := range int64(90) {
		now := at.Add(time.Duration(second) * time.Second)
		s.Take(traffic.Frame{At: now, Boot: "a", Blocks: []traffic.Block{
			{Route: "prod/api", Release: "r1", Caller: "shop", Second: now.Unix(), Requests: 2, Server: 1},
			{Route: "prod/api", Release: "r2", Second: now.Unix(), Requests: 1},
			{Route: "prod/api", Release: "r2", Caller: traffic.PreviewCaller, Second: now.Unix(), Requests: 50},
			{Route: "prod/shop", Release: "r3", Second: now.Unix(), Requests: 7},
		}}, now)
	}
	for _, c := range []struct {
		last, window, requests, seconds int64
	}{{89, 60, 180, 60}, {89, 600, 270, 90}, {29, 60, 90, 30}, {200, 60, 0, 60}} {
		list, seconds := s.Totals(at.Unix()+c.last, c.window, func(service string) bool { return service == "api" })
		if len(list) != 1 || list[0] != (Total{"prod", "api", uint64(c.requests), uint64(c.requests) / 3}) || seconds != c.seconds {
			t.Errorf("Totals of %d to %d = %+v of %d seconds, want %d of %d", c.last-c.window+1, c.last, list, seconds, c.requests, c.seconds)
		}
	}
	if list, _ := s.Totals(at.Unix()+89, 60, any); len(list) != 2 || list[1].Requests != 420 {
		t.Errorf("Totals of everything = %+v", list)
	}
}

func TestFailedSamplesAreBounded(t *testing.T) {
	s := New()
	at := time.Unix(1_000_000, 0)
	for i := range maxFailed + 10 {
		s.Take(traffic.Frame{At: at, Failed: []traffic.Sample{{Status: i}}}, at)
	}
	got := s.Failed(func(x traffic.Sample) bool { return x.Status%2 == 0 })
	if len(got) != maxFailed/2 || got[0].Status != 10 {
		t.Errorf("%d failed requests, the first %d; want %d from 10 on", len(got), got[0].Status, maxFailed/2)
	}
}
