package proxy

import (
	"math"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/proxy/trace"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// noHeaders is a request without any.
type noHeaders struct{}

func (noHeaders) Value(string, int) (string, bool) { return "", false }

func TestWhatIsLogged(t *testing.T) {
	begun := trace.Start(noHeaders{}, 0)
	for _, tc := range []struct {
		log          delivery.AccessLog
		failed, want bool
	}{
		{"", true, false},
		{delivery.LogOff, true, false},
		{delivery.LogErrors, true, true},
		{delivery.LogErrors, false, false},
		{delivery.LogAll, false, true},
	} {
		if got := recordingOf(traffic.Table{Plane: delivery.DataPlane{AccessLog: tc.log}}).logs(tc.failed, &begun); got != tc.want {
			t.Errorf("logs %q of a request that failed %v = %v", tc.log, tc.failed, got)
		}
	}
	const n = 50000
	for share, want := range map[delivery.Weight]float64{0: 0.01, 2500: 0.25, delivery.Full: 1} {
		by := recordingOf(traffic.Table{Plane: delivery.DataPlane{AccessLog: delivery.LogSampled, LogShare: share}})
		got := 0
		for range n {
			c := trace.Start(noHeaders{}, 0)
			if by.logs(false, &c) {
				got++
			}
			if by.logs(false, &c) != by.logs(true, &c) {
				t.Fatal("of one trace some requests are logged and some are not")
			}
		}
		if off := math.Abs(float64(got) - n*want); off > 8*math.Sqrt(n*want*(1-want)) { // less often than once in 10^12
			t.Errorf("%d of %d are logged at a share of %s", got, n, share)
		}
	}
}
