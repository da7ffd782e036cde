package store

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// BenchmarkGroupCommit writes from 64 goroutines, each write with one line of
// the ledger, and once more one write at a time. Only the ratio means anything.
func BenchmarkGroupCommit(b *testing.B) {
	s := openStore(b)
	const writers = 64
	run := func(writers, each int) (perSecond float64, commits int64) {
		before, began := s.writer.commits.Load(), time.Now()
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() {
				for j := range each {
					if err := s.Write(b.Context(), func(tx *Tx) error {
						if err := tx.SetWant(delivery.Want{Service: fmt.Sprint(i), Env: "prod", Release: "r1", Count: j + 1}); err != nil {
							return err
						}
						return appendLine("x")(tx)
					}); err != nil {
						b.Error(err)
					}
				}
			})
		}
		wg.Wait()
		return float64(writers*each) / time.Since(began).Seconds(), s.writer.commits.Load() - before
	}
	for b.Loop() {
		grouped, commits := run(writers, 10)
		alone, _ := run(1, writers)
		b.ReportMetric(grouped, "grouped/s")
		b.ReportMetric(alone, "alone/s")
		b.ReportMetric(grouped/alone, "ratio")
		b.ReportMetric(float64(writers*10)/float64(commits), "writes/commit")
	}
}

// BenchmarkSnapshot reads the world of 100 services in 3 environments with ten
// rollouts under way: as it was, and after one route moved.
func BenchmarkSnapshot(b *testing.B) {
	s := openStore(b)
	fleet(b, s, 100)
	for i := range 10 {
		start(b, s, fmt.Sprintf("s%03d", i), "prod")
	}
	read := func(b *testing.B) {
		if w, err := s.Snapshot(b.Context()); err != nil || len(w.Routes) != 300 {
			b.Fatal(len(w.Routes), err)
		}
	}
	gen := int64(1)
	b.Run("same", func(b *testing.B) {
		for b.Loop() {
			read(b)
		}
	})
	b.Run("moved", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			write(b, s, func(tx *Tx) error {
				gen++
				return tx.SaveRoute(delivery.Route{Service: "s001", Env: "prod", Gen: gen})
			})
			b.StartTimer()
			read(b)
		}
	})
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			s.world.Store(nil)
			read(b)
		}
	})
}
