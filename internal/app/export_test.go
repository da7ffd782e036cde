package app

import (
	"context"

	"github.com/slipway-cd/slipway/internal/cli"
)

// OldProxy is Proxy of an older version, whose successor is one of this.
func OldProxy(ctx context.Context, o cli.ProxyOptions) error {
	return runPlane(ctx, o, "0.0.1")
}
