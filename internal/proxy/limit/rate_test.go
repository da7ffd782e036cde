package limit

import (
	"fmt"
	"math"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// asker is a caller by hand.
type asker struct {
	peer   string
	header map[string]string
}

func (a asker) Peer() netip.Addr { return netip.MustParseAddr(a.peer) }
func (a asker) Value(name string, i int) (string, bool) {
	v, there := a.header[name]
	return v, there && i == 0
}

// A bucket against the textbook: tokens that drip in up to the depth.
func TestRateModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := delivery.Rate{
			Per:   rapid.SampledFrom([]delivery.RatePer{delivery.PerRoute, delivery.PerIP}).Draw(t, "per"),
			Rate:  rapid.SampledFrom([]float64{0.5, 1, 3, 100, 1000}).Draw(t, "rate"),
			Burst: rapid.IntRange(0, 20).Draw(t, "burst"),
		}
		depth := float64(spec.Burst)
		if spec.Burst == 0 {
			depth = math.Max(1, math.Floor(spec.Rate))
		}
		start := time.Now()
		now := start
		r := NewRates([]delivery.Rate{spec}, nil, now)
		tokens, from := depth, asker{peer: "192.0.2.1"}
		t.Repeat(map[string]func(*rapid.T){
			"time passes": func(t *rapid.T) {
				d := time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond
				now = now.Add(d)
				tokens = math.Min(depth, tokens+d.Seconds()*spec.Rate)
			},
			"ask": func(t *rapid.T) {
				over, wait := r.Take(now, from, Caller{})
				const slack = 1e-3 // of a token: a third of a second is no whole nanosecond
				switch {
				case over < 0 && tokens < 1-slack:
					t.Fatalf("a token was given, there are %v", tokens)
				case over >= 0 && tokens > 1+slack:
					t.Fatalf("no token was given, there are %v", tokens)
				case over >= 0:
					if short := (1 - tokens) / spec.Rate; math.Abs(wait.Seconds()-short) > slack/spec.Rate+1e-6 {
						t.Fatalf("wait %s, want %v s", wait, short)
					}
				default:
					tokens--
				}
			},
		})
	})
}

func TestRateKeys(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name string
		rate delivery.Rate
		a, b asker
		keys [2]string
		same bool
	}{
		{"a route is one", delivery.Rate{Per: "route", Rate: 1}, asker{peer: "192.0.2.1"}, asker{peer: "192.0.2.2"}, [2]string{"a", "b"}, true},
		{"one address", delivery.Rate{Per: "ip", Rate: 1}, asker{peer: "192.0.2.1"}, asker{peer: "::ffff:192.0.2.1"}, [2]string{"a", "b"}, true},
		{"two addresses", delivery.Rate{Per: "ip", Rate: 1}, asker{peer: "192.0.2.1"}, asker{peer: "192.0.2.2"}, [2]string{"a", "a"}, false},
		{"one network of a host", delivery.Rate{Per: "ip", Rate: 1}, asker{peer: "2001:db8::1"}, asker{peer: "2001:db8::ffff:1"}, [2]string{}, true},
		{"two networks", delivery.Rate{Per: "ip", Rate: 1}, asker{peer: "2001:db8::1"}, asker{peer: "2001:db8:0:1::1"}, [2]string{}, false},
		{"one key", delivery.Rate{Per: "key", Rate: 1}, asker{peer: "192.0.2.1"}, asker{peer: "192.0.2.2"}, [2]string{"a", "a"}, true},
		{"two keys", delivery.Rate{Per: "key", Rate: 1}, asker{peer: "192.0.2.1"}, asker{peer: "192.0.2.1"}, [2]string{"a", "b"}, false},
		{"no key", delivery.Rate{Per: "key", Rate: 1}, asker{peer: "192.0.2.1"}, asker{peer: "192.0.2.1"}, [2]string{"", ""}, true},
		{"no key, elsewhere", delivery.Rate{Per: "key", Rate: 1}, asker{peer: "192.0.2.1"}, asker{peer: "192.0.2.2"}, [2]string{"", ""}, false},
		{"one header", delivery.Rate{Per: "header", Name: "x-tenant", Rate: 1}, asker{"192.0.2.1", map[string]string{"X-Tenant": "a"}}, asker{"192.0.2.2", map[string]string{"X-Tenant": "a"}}, [2]string{}, true},
		{"two headers", delivery.Rate{Per: "header", Name: "x-tenant", Rate: 1}, asker{"192.0.2.1", map[string]string{"X-Tenant": "a"}}, asker{"192.0.2.1", map[string]string{"X-Tenant": "b"}}, [2]string{}, false},
		{"no header", delivery.Rate{Per: "header", Name: "x-tenant", Rate: 1}, asker{peer: "192.0.2.1"}, asker{peer: "192.0.2.2"}, [2]string{}, true},
	} {
		r := NewRates([]delivery.Rate{c.rate}, nil, now)
		if over, _ := r.Take(now, c.a, Caller{Key: c.keys[0]}); over >= 0 {
			t.Errorf("%s: the first request was over its rate", c.name)
		}
		if over, wait := r.Take(now, c.b, Caller{Key: c.keys[1]}); (over == 0) != c.same || c.same && wait != time.Second {
			t.Errorf("%s: the second request: over %v, wait %s; same bucket should be %v", c.name, over, wait, c.same)
		}
	}
}

// A request that one rate refuses uses up nothing of the others.
func TestRatesTakeAllOrNone(t *testing.T) {
	now := time.Now()
	for _, first := range []delivery.RatePer{delivery.PerRoute, delivery.PerKey} {
		r := NewRates([]delivery.Rate{{Per: first, Rate: 1, Burst: 3}, {Per: delivery.PerIP, Rate: 1}}, nil, now)
		a, b := asker{peer: "192.0.2.1"}, asker{peer: "192.0.2.2"}
		r.Take(now, a, Caller{Key: "user"})
		for range 10 {
			if over, _ := r.Take(now, a, Caller{Key: "user"}); over != 1 {
				t.Fatalf("second request of one address: over %v, want its address's rate", over)
			}
		}
		if over, _ := r.Take(now, b, Caller{Key: "user"}); over >= 0 {
			t.Errorf("per %s: refused requests used up its bucket: over %v", first, over)
		}
	}
}

// A service of ours calls from one address for everybody it serves.
func TestRatesInside(t *testing.T) {
	now := time.Now()
	r := NewRates([]delivery.Rate{{Per: delivery.PerIP, Rate: 1}, {Per: delivery.PerKey, Rate: 1}, {Per: delivery.PerRoute, Rate: 3}}, nil, now)
	from := asker{peer: "127.0.0.1"}
	for i, c := range []struct {
		key  string
		over int
	}{{"", -1}, {"", -1}, {"a", -1}, {"a", 1}, {"", 2}, {"b", 2}} {
		if over, _ := r.Take(now, from, Caller{Key: c.key, Inside: true}); over != c.over {
			t.Errorf("request %d with key %q: over %d, want %d", i, c.key, over, c.over)
		}
	}
}

func TestRatesOutliveTables(t *testing.T) {
	now := time.Now()
	spec := []delivery.Rate{{Per: delivery.PerRoute, Rate: 1}}
	r := NewRates(spec, nil, now)
	r.Take(now, asker{peer: "192.0.2.1"}, Caller{})
	if again := NewRates([]delivery.Rate{{Per: delivery.PerRoute, Rate: 1}}, r, now); again != r {
		t.Error("the same rates got fresh buckets")
	}
	if other := NewRates([]delivery.Rate{{Per: delivery.PerRoute, Rate: 2}}, r, now); other == r {
		t.Error("other rates got the old buckets")
	}
	if none := NewRates(nil, r, now); none != nil {
		t.Error("no rates got buckets")
	}
}

// However many callers there are, memory is bounded, and one who is at its
// bound is not forgotten for those who are not.
func TestRatesAreBounded(t *testing.T) {
	now := time.Now()
	r := NewRates([]delivery.Rate{{Per: delivery.PerKey, Rate: 0.001, Burst: 20}}, nil, now)
	greedy := func() (over bool) {
		o, _ := r.Take(now, asker{peer: "192.0.2.1"}, Caller{Key: "greedy"})
		return o >= 0
	}
	for range 20 {
		greedy()
	}
	before := heap()
	for i := range 300_000 {
		if over, _ := r.Take(now, asker{peer: "192.0.2.1"}, Caller{Key: fmt.Sprint("key ", i)}); over >= 0 {
			t.Fatalf("key %d is over its rate at its first request", i)
		}
	}
	grown := heap() - before
	n := 0
	for i := range r.all[0].many {
		n += len(r.all[0].many[i].full)
	}
	if n > shards*perShard || n < shards*perShard/2 {
		t.Errorf("%d buckets are kept, want at most and about %d", n, shards*perShard)
	}
	if !greedy() {
		t.Error("a caller without tokens was forgotten for callers who had most of theirs")
	}
	if grown > 6<<20 {
		t.Errorf("they take %d KiB, want at most 6 MiB", grown>>10)
	}
	t.Logf("%d buckets in %d KiB", n, grown>>10)
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Together they never take more than a bucket has.
func TestRatesTogether(t *testing.T) {
	now := time.Now()
	for _, per := range []delivery.RatePer{delivery.PerRoute, delivery.PerIP} {
		r := NewRates([]delivery.Rate{{Per: per, Rate: 1, Burst: 100}}, nil, now)
		var all sync.WaitGroup
		var given atomic.Int64
		for range 8 {
			all.Go(func() {
				for range 50 {
					if over, _ := r.Take(now, asker{peer: "192.0.2.1"}, Caller{}); over < 0 {
						given.Add(1)
					}
				}
			})
		}
		all.Wait()
		if given.Load() != 100 {
			t.Errorf("per %s: %d of 400 requests were let in, want 100", per, given.Load())
		}
	}
}

func BenchmarkTake(b *testing.B) {
	for _, per := range []delivery.RatePer{delivery.PerRoute, delivery.PerKey} {
		b.Run(string(per), func(b *testing.B) {
			now := time.Now()
			r := NewRates([]delivery.Rate{{Per: per, Rate: 1e6, Burst: 1e6}}, nil, now)
			from := Asker(asker{peer: "192.0.2.1"})
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(time.Microsecond)
				r.Take(now, from, Caller{Key: "user"})
			}
		})
	}
}
