package app

import (
	"context"
	"log/slog"
	"path/filepath"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-cd/slipway/internal/metric/embedded"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// A server that is started again draws what the one before had kept.
func TestNumbersOutliveTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		kept, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "slipway.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer kept.Close()
		n := numbers{of: embedded.New(), kept: kept, log: slog.New(slog.DiscardHandler)}
		back := make(chan error, 1)
		go func() { back <- n.Run(ctx) }()
		for range 20 * 60 {
			now := time.Now()
			n.of.Take(traffic.Frame{At: now, Blocks: []traffic.Block{{Route: "prod/api", Release: "r1", Second: now.Unix(), Requests: 7, Server: 1, Bins: map[int]uint32{500: 7}}}}, now)
			time.Sleep(time.Second)
		}
		stop()
		if err := <-back; err != nil {
			t.Fatal(err)
		}
		want := n.of.Minutes(0, time.Now().Add(-embedded.Settled-time.Minute).Unix())
		if len(want) < 15 || want[3].Numbers.Traffic.Requests != 420 {
			t.Fatalf("%d minutes, want 15 at least, of 420 requests each", len(want))
		}
		again := numbers{of: embedded.New(), kept: kept, log: n.log}
		if err := again.restore(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := again.of.Minutes(0, time.Now().Unix())
		if len(got) < len(want)-1 || !reflect.DeepEqual(got, want[:len(got)]) {
			t.Errorf("%d minutes came back, want %d", len(got), len(want))
		}
		for range 10 { // a month later nothing is left
			time.Sleep(3 * 24 * time.Hour)
		}
		if err := again.prune(t.Context(), time.Now().Add(-minutesLife+time.Hour)); err != nil {
			t.Fatal(err)
		}
		rows, err := kept.Minutes(t.Context(), store.MinuteQuery{Service: "api", From: time.Now().Add(-31 * 24 * time.Hour), To: time.Now()})
		if err != nil || len(rows) > 0 {
			t.Errorf("%d minutes are left after a month, %v", len(rows), err)
		}
	})
}
