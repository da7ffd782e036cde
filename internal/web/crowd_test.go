package web

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/control"
)

// processorTime is what this process has used so far.
func processorTime(t testing.TB) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkCrowd500x5 is one second of 500 people who follow the board of 500 services
// in 5 environments, just after something moved: in processor time, and in looks taken.
// "alone" is as if each looked for themselves.
func BenchmarkCrowd500x5(b *testing.B) {
	h := fleet(b, fleetOf)
	h.halt()
	w := h.pages
	var looks atomic.Int64
	show := func(ctx context.Context, q request) (page, error) {
		looks.Add(1)
		return w.board(ctx, q)
	}
	_, lately := w.forAll(show)
	for name, look := range map[string]look{"alone": w.alone(show), "shared": lately} {
		b.Run(name, func(b *testing.B) {
			crowd := h.crowd(maxSeats)
			var used time.Duration
			looks.Store(0)
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				hold := control.HoldRequest{Service: fleetService(i % fleetOf), Env: fleetEnvironments()[i/fleetOf%5], Why: "a bench of " + name, By: "ann"}
				if _, err := h.loop.PutHold(b.Context(), hold); err != nil {
					b.Fatal(err)
				}
				w.glances = glances{} // a second later
				before := processorTime(b)
				b.StartTimer()
				var all sync.WaitGroup
				for _, q := range crowd {
					all.Go(func() {
						_, message, _ := w.renew(b.Context(), q, look, "")
						_, _ = io.Discard.Write(message)
					})
				}
				all.Wait()
				used += processorTime(b) - before
			}
			b.ReportMetric(float64(looks.Load())/float64(b.N), "looks/op")
			b.ReportMetric(float64(used.Microseconds())/1000/float64(b.N), "cpu-ms/op")
		})
	}
}

// crowd is requests of n people who are signed in and follow the board.
func (h *house) crowd(n int) []request {
	h.t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Host = "127.0.0.1:7500"
	for _, c := range h.admin().cookies {
		r.AddCookie(c)
	}
	pass, err := h.pages.d.Guard.Enter(httptest.NewRecorder(), r)
	if err != nil {
		h.t.Fatal(err)
	}
	all := make([]request, n)
	for i := range all {
		all[i] = request{Request: r, Who: pass.Who, pass: pass}
	}
	return all
}
