package fault_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/proxy/fault"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// request is one without headers, but for those set.
type request struct{ header http.Header }

func (request) Method() string   { return http.MethodGet }
func (request) Peer() netip.Addr { return netip.Addr{} }
func (request) RawQuery() string { return "" }
func (r request) Value(name string, i int) (string, bool) {
	if all := r.header[name]; i < len(all) {
		return all[i], true
	}
	return "", false
}

// bucket is any good hash; the data plane brings its own.
func bucket(salt, key string) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte(salt + "\x00" + key))
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return int((x >> 32) * uint64(delivery.Full) >> 32)
}

// everyone is a bucket that draws every key.
func everyone(string, string) int { return 0 }

func set(b fault.Bucket) *fault.Set { return fault.New(b, slog.New(slog.DiscardHandler)) }

func put(t interface{ Fatalf(string, ...any) }, s *fault.Set, f traffic.Fault, now time.Time) fault.Change {
	change, _, err := s.Put(f, now)
	if err != nil {
		t.Fatalf("Put(%s) = %v", f.ID, err)
	}
	return change
}

func abort(id string, share delivery.Weight) traffic.Fault {
	return traffic.Fault{ID: id, Route: "prod/cart", Share: share, Abort: 503, Lease: 10 * time.Second}
}

func ask(key string) fault.Request {
	return fault.Request{Route: "prod/cart", Release: "r1", Key: key, Asked: request{}}
}

// quiet lets n requests pass that no fault means, so that the bound on what is
// touched has room.
func quiet(s *fault.Set, n int, now time.Time) {
	for range n {
		s.Strike(fault.Request{Route: "prod/cart", Release: "another", Asked: request{http.Header{"Quiet": {"1"}}}}, now)
	}
}

func loud(f traffic.Fault) traffic.Fault {
	f.When = append(f.When, delivery.Condition{On: delivery.OnHeader, Name: "Quiet", Not: true})
	return f
}

func TestStrikeMeansWhatItSays(t *testing.T) {
	now := time.Now()
	for _, tc := range []struct {
		name string
		edit func(*traffic.Fault)
		ask  func(*fault.Request)
		want bool
	}{
		{"any", func(*traffic.Fault) {}, func(*fault.Request) {}, true},
		{"its route", func(*traffic.Fault) {}, func(q *fault.Request) { q.Route = "prod/other" }, false},
		{"its release", func(f *traffic.Fault) { f.Release = "r1" }, func(*fault.Request) {}, true},
		{"other release", func(f *traffic.Fault) { f.Release = "r2" }, func(*fault.Request) {}, false},
		{"its cohort", func(f *traffic.Fault) { f.Cohort = "blue" }, func(q *fault.Request) { q.Cohort = "blue" }, true},
		{"no cohort", func(f *traffic.Fault) { f.Cohort = "blue" }, func(*fault.Request) {}, false},
		{
			"its header", func(f *traffic.Fault) {
				f.When = append(f.When, delivery.Condition{On: delivery.OnHeader, Name: "x-tester"})
			},
			func(q *fault.Request) { q.Asked = request{http.Header{"X-Tester": {"1"}}} }, true,
		},
		{
			"no header", func(f *traffic.Fault) {
				f.When = append(f.When, delivery.Condition{On: delivery.OnHeader, Name: "x-tester"})
			},
			func(*fault.Request) {}, false,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := set(everyone)
			f, q := loud(abort("a", 100)), ask("k")
			tc.edit(&f)
			tc.ask(&q)
			put(t, s, f, now)
			quiet(s, 10, now)
			got := s.Strike(q, now)
			if (got != nil) != tc.want {
				t.Fatalf("Strike = %v, want touched %v", got, tc.want)
			}
			if got != nil && (got.ID() != "a" || got.Abort(now) != 503 || got.Caller() != "(fault a)") {
				t.Errorf("touched by %s, abort %d, caller %s", got.ID(), got.Abort(now), got.Caller())
			}
		})
	}
}

func TestSameCallerThroughout(t *testing.T) {
	s, now := set(bucket), time.Now()
	put(t, s, loud(abort("a", 1000)), now)
	quiet(s, 100_000, now)
	touched := 0
	for i := range 2000 {
		key := fmt.Sprintf("caller %d", i)
		first := s.Strike(ask(key), now) != nil
		for range 3 {
			if again := s.Strike(ask(key), now) != nil; again != first {
				t.Fatalf("%s is touched %v, then %v", key, first, again)
			}
		}
		if first {
			touched++
		}
	}
	// Binomial, n = 2000 and p = 0.1: six standard deviations either side.
	if sd := math.Sqrt(2000 * 0.1 * 0.9); math.Abs(float64(touched)-200) > 6*sd {
		t.Errorf("10 %% of 2000 callers are %d", touched)
	}
}

// Whatever callers do, whenever a request is touched no more than half of the
// requests of the last ten seconds are, and no more of one fault than it may.
func TestNeverMoreThanTheCap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := set(bucket)
		now := time.Now().Add(time.Second)
		start := now
		shares := map[string]delivery.Weight{}
		for i := range rapid.IntRange(1, 4).Draw(t, "faults") {
			f := abort(fmt.Sprintf("f%d", i), delivery.Weight(rapid.IntRange(1, int(traffic.MaxFaultShare)).Draw(t, "share")))
			if _, _, err := s.Put(f, now); err == nil {
				shares[f.ID] = f.Share
			}
		}
		type past struct {
			second int64
			by     string
		}
		var all []past
		keys := rapid.IntRange(1, 5).Draw(t, "keys") // few: each makes many requests
		for range rapid.IntRange(1, 400).Draw(t, "requests") {
			now = now.Add(time.Duration(rapid.IntRange(0, 500).Draw(t, "ms")) * time.Millisecond)
			for id, share := range shares { // renewed all the while
				f := abort(id, share)
				if put(t, s, f, now) != fault.Renewed {
					t.Fatalf("%s was lost", id)
				}
			}
			second := int64(now.Sub(start) / time.Second)
			p := past{second: second}
			hit := s.Strike(ask(fmt.Sprint(rapid.IntRange(1, keys).Draw(t, "key"))), now)
			if hit != nil {
				p.by = hit.ID()
			}
			all = append(all, p)
			if hit == nil {
				continue
			}
			requests, touched, mine := 0, 0, 0
			for _, q := range all {
				if q.second <= second-9 { // whole seconds of ten, whatever border the set drew
					continue
				}
				requests++
				if q.by != "" {
					touched++
				}
				if q.by == p.by {
					mine++
				}
			}
			older := 0 // those of the tenth second back may count or not
			for _, q := range all {
				if q.second > second-11 && q.second <= second-9 {
					older++
				}
			}
			if 2*touched > requests+older {
				t.Fatalf("%d of %d requests touched", touched, requests+older)
			}
			if most := 10 + 2*(requests+older)*int(shares[p.by])/int(delivery.Full) + 1; mine > most {
				t.Fatalf("%s touched %d of %d requests, share %s", p.by, mine, requests+older, shares[p.by])
			}
		}
	})
}

// One caller that makes all the requests is drawn: half of them are spared.
func TestHeavyKeyIsSpared(t *testing.T) {
	s, now := set(everyone), time.Now()
	put(t, s, abort("a", traffic.MaxFaultShare), now)
	touched := 0
	for range 1000 {
		if s.Strike(ask("heavy"), now) != nil {
			touched++
		}
	}
	if touched != 500 {
		t.Errorf("touched %d of 1000, want 500", touched)
	}
	if got := s.List(now); len(got) != 1 || got[0].Touched != 500 || got[0].Spared != 500 {
		t.Errorf("List = %+v, want 500 touched and 500 spared", got)
	}
	small := set(everyone)
	put(t, small, abort("a", 100), now)
	touched = 0
	for range 1000 {
		if small.Strike(ask("heavy"), now) != nil {
			touched++
		}
	}
	if touched > 10+20 {
		t.Errorf("a fault of 1 %% touched %d of 1000, want at most 30", touched)
	}
}

func TestRoomIsSharedAndHoldersNamed(t *testing.T) {
	s, now := set(bucket), time.Now()
	put(t, s, abort("a", 3000), now)
	put(t, s, abort("b", 2000), now)
	_, _, err := s.Put(abort("c", 1), now)
	var field *delivery.FieldError
	if !errors.As(err, &field) || field.Field != "share" || field.Next == "" ||
		!strings.Contains(field.Why, "a holds 30 %") || !strings.Contains(field.Why, "b holds 20 %") {
		t.Errorf("Put = %v, want a refusal that names who holds the rest", err)
	}
	other := abort("c", 5000)
	other.Route = "prod/other"
	put(t, s, other, now)
	if change := put(t, s, abort("b", 1000), now); change != fault.Replaced {
		t.Errorf("Put of another share = %s, want replaced", change)
	}
	put(t, s, abort("d", 1000), now)
	if !s.Remove("a") || s.Remove("a") {
		t.Error("Remove does not say whether there was one")
	}
	put(t, s, abort("e", 3000), now)
	if s.Clear(); s.On("prod/cart") || len(s.List(now)) != 0 {
		t.Error("Clear leaves faults in force")
	}
	// Leases that have ended hold nothing.
	put(t, s, abort("f", 5000), now.Add(time.Minute))
}

func TestPutSaysWhatItDid(t *testing.T) {
	s, now := set(bucket), time.Now()
	f := abort("a", 100)
	if c := put(t, s, f, now); c != fault.Began {
		t.Errorf("first Put = %s", c)
	}
	f.Lease, f.When = time.Second, []delivery.Condition{}
	c, state, err := s.Put(f, now)
	if err != nil || c != fault.Renewed || state.Lease != time.Second || !state.Until.Equal(now.Add(time.Second)) {
		t.Errorf("Put with another lease = %s, %+v, %v, want renewed until then", c, state, err)
	}
	f.Abort = 502
	if c := put(t, s, f, now); c != fault.Replaced {
		t.Errorf("Put with another status = %s", c)
	}
	for i := range fault.Most - 1 {
		other := abort(fmt.Sprintf("f%d", i), 1)
		put(t, s, other, now)
	}
	var field *delivery.FieldError
	if _, _, err := s.Put(abort("last", 1), now); !errors.As(err, &field) || field.Field != "id" {
		t.Errorf("one fault too many = %v, want a refusal", err)
	}
	bad := abort("a", 1)
	bad.When = []delivery.Condition{{On: delivery.OnHeader, Name: "X", Pattern: "("}}
	if _, _, err := s.Put(bad, now); !errors.As(err, &field) {
		t.Errorf("Put with a bad pattern = %v, want a field error", err)
	}
}

func TestLeaseEndsAndIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := set(everyone)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); s.Run(ctx) }()
		f := loud(abort("a", 100))
		f.Lease = 10 * time.Second
		put(t, s, f, time.Now())
		for range 5 {
			time.Sleep(9 * time.Second)
			put(t, s, f, time.Now())
			if !s.On("prod/cart") || len(s.List(time.Now())) != 1 {
				t.Fatal("a renewed fault has ended")
			}
		}
		time.Sleep(10*time.Second - time.Nanosecond)
		quiet(s, 10, time.Now())
		if s.Strike(ask("k"), time.Now()) == nil {
			t.Error("the fault ended before its lease")
		}
		time.Sleep(time.Nanosecond)
		if s.Strike(ask("k"), time.Now()) != nil {
			t.Error("the fault outlives its lease")
		}
		synctest.Wait()
		if s.On("prod/cart") || len(s.List(time.Now())) != 0 {
			t.Error("Run left it in")
		}
		stop()
		<-done
	})
}

// Nobody sweeps: at its lease's end a fault touches nothing all the same.
func TestLeaseEndsWithoutRun(t *testing.T) {
	s, now := set(everyone), time.Now()
	put(t, s, loud(abort("a", 5000)), now)
	quiet(s, 10, now.Add(10*time.Second-1))
	if hit := s.Strike(ask("k"), now.Add(10*time.Second-1)); hit == nil || hit.Abort(now.Add(10*time.Second)) != 0 {
		t.Errorf("Strike before the lease's end = %v, want one that ends with the lease", hit)
	}
	if s.Strike(ask("k"), now.Add(10*time.Second)) != nil || len(s.List(now.Add(10*time.Second))) != 0 {
		t.Error("the fault outlives its lease")
	}
}

func TestOffCostsNothing(t *testing.T) {
	s, now := set(bucket), time.Now()
	q := ask("k")
	if n := testing.AllocsPerRun(100, func() { s.Strike(q, now) }); n != 0 {
		t.Errorf("Strike allocates %v times while there is no fault", n)
	}
	f := abort("a", 100)
	f.Route = "prod/other"
	put(t, s, f, now)
	if n := testing.AllocsPerRun(100, func() { s.Strike(q, now) }); n != 0 {
		t.Errorf("Strike allocates %v times while another route has a fault", n)
	}
}
