// Command slipway delivers changes of every kind, safely and reversibly. It only
// ties the command line to the house; the scripts in testdata judge it.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/slipway-cd/slipway/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends at once
	code := cli.Main(ctx, world())
	stop()
	os.Exit(code)
}
