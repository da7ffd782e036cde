package mirror_test

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/proxy/mirror"
)

func TestDrawIsTheShare(t *testing.T) {
	for _, share := range []delivery.Weight{0, 1, 100, 2500, 9999, delivery.Full} {
		const n = 200_000
		drawn := 0
		for range n {
			if mirror.Draw(share) {
				drawn++
			}
		}
		p := float64(share) / float64(delivery.Full)
		if sd := math.Sqrt(n * p * (1 - p)); math.Abs(float64(drawn)-n*p) > 6*sd {
			t.Errorf("%s of %d are %d, want %.0f within %.0f", share, n, drawn, n*p, 6*sd)
		}
	}
}

func TestMethods(t *testing.T) {
	for method, want := range map[string]bool{
		http.MethodGet: true, http.MethodHead: true, http.MethodOptions: true, http.MethodTrace: false, http.MethodConnect: false,
		http.MethodPost: false, http.MethodPut: false, http.MethodPatch: false, http.MethodDelete: false, "PROPFIND": false, "get": false,
	} {
		if got := mirror.Copyable(method); got != want {
			t.Errorf("Copyable(%s) = %v, want %v", method, got, want)
		}
		if got := mirror.Never(method); got != (method == http.MethodConnect || method == http.MethodTrace) {
			t.Errorf("Never(%s) = %v", method, got)
		}
	}
}

// small are limits that are soon reached.
func small() mirror.Limits {
	return mirror.Limits{Waiting: 6, Sending: 4, Bytes: 1000, LaneWaiting: 4, LaneSending: 2, LaneBytes: 600}
}

// run sends what is in q until the bubble's test ends it.
func run(t *testing.T, q *mirror.Queue) (end func()) {
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); q.Run(ctx) }()
	return func() { stop(); <-done }
}

func TestBodyIsWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mirror.New(small())
		defer run(t, q)()
		var got [][]byte
		job := mirror.Job{Lane: "a", Head: 10, Most: 8, Send: func(_ context.Context, body []byte) { got = append(got, body) }}
		for _, pieces := range [][]string{{"ab", "cd", "efgh"}, {}, {"abcdefghi"}, {"abcdefgh", "i"}} {
			c := q.Copy(job)
			for _, p := range pieces {
				c.Add([]byte(p))
			}
			c.Done()
			synctest.Wait()
		}
		c := q.Copy(job)
		if c.Whole([]byte("123456789")) || c.Done() {
			t.Error("a body that is too long was taken")
		}
		c = q.Copy(job)
		if !c.Whole([]byte("12345678")) || !c.Done() || c.Done() || c.Drop() {
			t.Error("a body of just the bound was not taken, or taken twice")
		}
		synctest.Wait()
		if len(got) != 3 || string(got[0]) != "abcdefgh" || len(got[1]) != 0 || string(got[2]) != "12345678" {
			t.Errorf("sent %q", got)
		}
		if h := q.Held(); h != (mirror.Held{}) {
			t.Errorf("Held = %+v in the end, want nothing", h)
		}
	})
}

// A lane whose target never answers fills its own places and nobody else's, and
// whoever makes copies never waits.
func TestStuckLaneHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mirror.New(small())
		defer run(t, q)()
		stuck := mirror.Job{Lane: "stuck", Head: 1, Most: 10, Send: func(ctx context.Context, _ []byte) { <-ctx.Done() }}
		taken := 0
		for range 100 {
			if q.Copy(stuck).Done() {
				taken++
			}
			synctest.Wait()
		}
		if h := q.Held(); taken != 6 || h.Sending != 2 || h.Waiting != 4 {
			t.Errorf("took %d of 100, holds %+v; want 6, of which 2 are being sent", taken, h)
		}
		var sent atomic.Int64
		for range 50 {
			if !q.Copy(mirror.Job{Lane: "well", Head: 1, Send: func(context.Context, []byte) { sent.Add(1) }}).Done() {
				t.Error("the other lane has no room")
			}
			synctest.Wait()
		}
		if sent.Load() != 50 {
			t.Errorf("sent %d of 50 of the other lane", sent.Load())
		}
	})
}

func TestEndDropsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mirror.New(small())
		end := run(t, q)
		job := mirror.Job{Lane: "a", Head: 100, Most: 10, Send: func(ctx context.Context, _ []byte) { <-ctx.Done() }}
		for range 4 {
			if !q.Copy(job).Done() {
				t.Fatal("no room")
			}
			synctest.Wait()
		}
		making := q.Copy(job)
		end()
		if making.Done() || q.Copy(job) != nil {
			t.Error("a queue that has ended takes copies")
		}
		if h := q.Held(); h != (mirror.Held{}) {
			t.Errorf("Held = %+v after the end, want nothing", h)
		}
	})
}

// Whatever comes, the limits hold, each copy is sent once or refused, lanes take
// turns, and in the end nothing is held.
func TestLimitsHold(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limits := small()
		synctest.Test(t, func(t *testing.T) {
			q := mirror.New(limits)
			end := run(t, q)
			var mu sync.Mutex
			sent, sending := map[string]int{}, map[string]int{}
			total, most := 0, 0
			let := make(chan struct{})
			taken := map[string]int{}
			var making []*mirror.Copy
			for i := range rapid.IntRange(1, 60).Draw(rt, "steps") {
				switch rapid.IntRange(0, 3).Draw(rt, "what") {
				case 0, 1:
					lane := fmt.Sprint(rapid.IntRange(1, 3).Draw(rt, "lane"))
					id := fmt.Sprint(i)
					body := bytes.Repeat([]byte{'x'}, rapid.IntRange(0, 120).Draw(rt, "body"))
					c := q.Copy(mirror.Job{Lane: lane, Head: int64(rapid.IntRange(0, 50).Draw(rt, "head")), Most: 100, Send: func(ctx context.Context, got []byte) {
						mu.Lock()
						sent[id]++
						sending[lane]++
						total++
						most = max(most, total)
						if sending[lane] > limits.LaneSending || total > limits.Sending {
							rt.Errorf("%d of lane %s and %d in all are being sent", sending[lane], lane, total)
						}
						mu.Unlock()
						if !bytes.Equal(got, body) {
							rt.Errorf("body of %d bytes became %d", len(body), len(got))
						}
						select {
						case <-let:
						case <-ctx.Done():
						}
						mu.Lock()
						sending[lane]--
						total--
						mu.Unlock()
					}})
					switch {
					case c == nil:
					case rapid.Bool().Draw(rt, "later"):
						making = append(making, c)
						c.Add(body[:len(body)/2])
					case c.Whole(body) && c.Done():
						taken[id]++
					}
				case 2:
					select {
					case let <- struct{}{}:
					default:
					}
				case 3:
					if len(making) > 0 {
						making[0].Drop()
						making = making[1:]
					}
				}
				synctest.Wait()
				if h := q.Held(); h.Waiting > limits.Waiting || h.Sending > limits.Sending || h.Bytes > limits.Bytes {
					rt.Fatalf("Held = %+v, beyond %+v", h, limits)
				}
			}
			for _, c := range making {
				c.Drop()
			}
			close(let)
			synctest.Wait()
			if h := q.Held(); h != (mirror.Held{}) {
				rt.Errorf("Held = %+v in the end, want nothing", h)
			}
			mu.Lock()
			defer mu.Unlock()
			for id := range taken {
				if sent[id] != 1 {
					rt.Errorf("copy %s was sent %d times", id, sent[id])
				}
			}
			if len(sent) != len(taken) {
				rt.Errorf("sent %d copies, took %d", len(sent), len(taken))
			}
			end()
		})
	})
}
