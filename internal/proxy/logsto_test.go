package proxy

import (
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// The control plane takes spans where nobody else does, and no logs.
func TestLogsTo(t *testing.T) {
	at := delivery.DataPlane{OTLP: "http://127.0.0.1:4318"}
	if got := logsTo(traffic.Table{Plane: at}); got != at.OTLP {
		t.Errorf("logs go to %q, want the collector of the project", got)
	}
	if got := logsTo(traffic.Table{Plane: at, Failures: true}); got != "" {
		t.Errorf("logs go to %q, want nowhere: that is the control plane itself", got)
	}
}
