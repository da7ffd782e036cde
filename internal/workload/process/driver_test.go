package process

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/workload"
	"github.com/slipway-cd/slipway/internal/workload/workloadtest"
)

const shimWord = "shim"

func TestMain(m *testing.M) {
	workloadtest.Main(context.Background(), m, open, map[string]func(context.Context, []string) int{shimWord: Shim, grpcWord: grpcApp, h2cWord: h2cApp})
}

func options(root string) (Options, error) {
	exe, err := os.Executable()
	return Options{
		Root: root, Shim: []string{exe, shimWord}, Log: slog.New(slog.DiscardHandler),
		Tuning: Tuning{BackoffMin: 50 * time.Millisecond, BackoffMax: 500 * time.Millisecond},
	}, err
}

func open(ctx context.Context, root string) (workload.Driver, error) {
	o, err := options(root)
	if err != nil {
		return nil, err
	}
	return Open(ctx, o)
}

func TestDriver(t *testing.T) { workloadtest.Run(t, open) }
