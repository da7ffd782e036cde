package proxy

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/traffic"
)

// The sums of a series never go down, whatever its ring forgets, and hold each
// request once, in the end too when it was late.
func TestSumsOutliveTheRing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounts()
		s := c.of(&traffic.Route{Name: "prod/shop", Service: "shop", Env: "prod"}, &traffic.Pool{Release: "r1", Version: "v1"}, "")
		late := s.begin(time.Now(), &draw{gen: 1}, caller{key: "late"})
		var before traffic.Block
		for i := range 3 * kept {
			one := s.begin(time.Now(), &draw{gen: 1}, caller{key: fmt.Sprint(i % 7)})
			one.answered(time.Millisecond)
			one.end(finished, 200+300*(i%2), 1, 2)
			if i%10 == 0 {
				c.sweep(time.Now(), func(seriesKey) bool { return false })
			}
			b, times, of := s.sums()
			if b.Requests < before.Requests || b.OK < before.OK || b.Server < before.Server || b.BytesOut < before.BytesOut {
				t.Fatalf("sums went down from %+v to %+v", before, b)
			}
			if of != (about{"shop", "prod", "v1"}) || times.Counts[1] != uint64(i+1) {
				t.Fatalf("after %d requests: %+v, %+v", i+1, of, times)
			}
			before = b
			time.Sleep(time.Second)
		}
		late.retried()
		late.end(unreached, 0, 10, 0)
		late.more(5, 5)
		b, _, _ := s.sums()
		want := traffic.Block{Requests: 3*kept + 1, OK: 3 * kept / 2, Server: 3 * kept / 2, Connect: 1, Retries: 1, BytesIn: 3*kept + 15, BytesOut: 6*kept + 5}
		if fmt.Sprintf("%+v", b) != fmt.Sprintf("%+v", want) {
			t.Errorf("sums = %+v, want %+v", b, want)
		}
	})
}

// A series that still has a request in flight is not swept away under it.
func TestSweepWaitsForTheLastRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounts()
		s := c.get("prod/shop", "r1", "")
		long := s.begin(time.Now(), &draw{gen: 1}, caller{key: "a"})
		time.Sleep(2 * kept * time.Second)
		nobody := func(seriesKey) bool { return false }
		if c.sweep(time.Now(), nobody); len(c.all()) != 1 {
			t.Error("a series with a request in flight is gone")
		}
		long.end(finished, 200, 0, 0)
		if c.sweep(time.Now(), nobody); len(c.all()) != 0 {
			t.Error("a series of the past is kept")
		}
	})
}

// While nothing is forgotten the sums are those of the blocks, in any order.
func TestSumsAreThoseOfTheBlocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCounts()
		s := c.get("r", "r1", "")
		var open []ticket
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(open) == 0 || rapid.Bool().Draw(t, "begin") {
				at := time.Unix(1_700_000_000+rapid.Int64Range(0, 5).Draw(t, "second"), 0)
				open = append(open, s.begin(at, &draw{gen: 1}, caller{key: fmt.Sprint(len(open))}))
				continue
			}
			one := open[len(open)-1]
			open = open[:len(open)-1]
			if rapid.Bool().Draw(t, "answered") {
				one.answered(time.Duration(rapid.Int64Range(-5, int64(time.Hour)).Draw(t, "took")))
			}
			one.end(outcome(rapid.IntRange(0, int(cancelled)).Draw(t, "how")), rapid.IntRange(100, 599).Draw(t, "status"), 1, 2)
		}
		blocks, _, _ := c.collect(0, 0)
		var sum traffic.Block
		for _, b := range blocks {
			sum.Requests += b.Requests
			sum.Unfinished += b.Unfinished
			sum.BytesIn += b.BytesIn
			sum.BytesOut += b.BytesOut
			for k := range classes {
				*class(k).of(&sum) += *class(k).of(&b)
			}
		}
		got, times, _ := s.sums()
		// What arrived by a clock that went back is in no block that is shown.
		if got.Requests < sum.Requests || got.Requests == sum.Requests && fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", sum) {
			t.Fatalf("sums = %+v, of the blocks %+v", got, sum)
		}
		var ended, timed uint64
		for k := range classes {
			ended += *class(k).of(&got)
		}
		for _, n := range times.Counts {
			timed += n
		}
		if ended+got.Unfinished != got.Requests || got.Unfinished != uint64(len(open)) || timed > ended {
			t.Fatalf("%d ended, %d with a time, %d open: %+v", ended, timed, len(open), got)
		}
	})
}
