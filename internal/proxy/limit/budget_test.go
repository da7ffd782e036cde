package limit

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// The budget against a list of all that ever happened.
func TestBudgetModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Now()
		share := delivery.Weight(rapid.IntRange(0, int(delivery.Full)).Draw(t, "share"))
		b := NewBudget(now)
		epoch := now
		type second struct{ requests, retries int }
		seen := map[int]*second{}
		at := func() (int, *second) {
			s := int(now.Sub(epoch) / time.Second)
			if seen[s] == nil {
				seen[s] = &second{}
			}
			return s, seen[s]
		}
		t.Repeat(map[string]func(*rapid.T){
			"time passes": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 12_000).Draw(t, "ms")) * time.Millisecond)
			},
			"requests": func(t *rapid.T) {
				n := rapid.IntRange(1, 50).Draw(t, "n")
				_, s := at()
				s.requests += n
				for range n {
					b.Asked(now)
				}
			},
			"retries": func(t *rapid.T) {
				for range rapid.IntRange(1, 15).Draw(t, "n") {
					last, s := at()
					requests, retries := 0, 0
					for i := last - window + 1; i <= last; i++ {
						if old := seen[i]; old != nil {
							requests, retries = requests+old.requests, retries+old.retries
						}
					}
					want := retries < freeRetries+requests*int(share)/int(delivery.Full)
					if got := b.Retry(now, share); got != want {
						t.Fatalf("Retry() = %v with %d requests and %d retries at %s, want %v", got, requests, retries, share, want)
					}
					if want {
						s.retries++
					}
				}
			},
		})
	})
}

// Many at a time never take more than there is.
func TestBudgetTogether(t *testing.T) {
	now := time.Now()
	b := NewBudget(now)
	var all sync.WaitGroup
	var taken atomic.Int64
	for range 8 {
		all.Go(func() {
			for range 100 {
				b.Asked(now)
			}
		})
	}
	all.Wait()
	for range 8 {
		all.Go(func() {
			for range 100 {
				if b.Retry(now, delivery.Percent(20)) {
					taken.Add(1)
				}
			}
		})
	}
	all.Wait()
	if want := int64(freeRetries + 800/5); taken.Load() != want {
		t.Errorf("%d retries, want %d: ten and a fifth of 800", taken.Load(), want)
	}
}

func BenchmarkBudgetAsked(b *testing.B) {
	now := time.Now()
	budget := NewBudget(now)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			budget.Asked(now)
		}
	})
}
