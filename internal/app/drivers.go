package app

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
	"github.com/slipway-cd/slipway/internal/metric/embedded"
	trafficproxy "github.com/slipway-cd/slipway/internal/traffic/proxy"
	"github.com/slipway-cd/slipway/internal/workload/process"
)

// drivers is the one list of drivers of this build.
type drivers struct {
	workload *process.Driver
	traffic  *trafficproxy.Driver
}

func openDrivers(ctx context.Context, files layout, self string, log *slog.Logger) (drivers, error) {
	socket, err := files.socket()
	if err != nil {
		return drivers{}, err
	}
	w, err := process.Open(ctx, process.Options{Root: files.instances(), Shim: []string{self, "shim"}, Log: log})
	if err != nil {
		return drivers{}, fmt.Errorf("app: %w", err)
	}
	return drivers{workload: w, traffic: trafficproxy.New(socket)}, nil
}

// metrics says who has the numbers of which source.
func metrics(numbers *embedded.Store) map[delivery.MetricSource]metric.Driver {
	return map[delivery.MetricSource]metric.Driver{
		delivery.FromTraffic:  numbers,
		delivery.FromService:  numbers,
		delivery.FromWorkload: numbers,
		delivery.FromLogs:     numbers,
	}
}
