package app

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/slipway-cd/slipway/internal/cli"
	"github.com/slipway-cd/slipway/internal/proxy"
	"github.com/slipway-cd/slipway/internal/proxy/handover"
	"github.com/slipway-cd/slipway/internal/proxy/otlp"
	trafficproxy "github.com/slipway-cd/slipway/internal/traffic/proxy"
)

// Proxy runs the data plane in the foreground until ctx ends, or until a
// successor has taken its place and its own last requests are done.
func Proxy(ctx context.Context, o cli.ProxyOptions) error { return runPlane(ctx, o, Version) }

func runPlane(ctx context.Context, o cli.ProxyOptions, version string) error {
	files, err := layoutOf(o.State)
	if err != nil {
		return err
	}
	socket := o.Socket
	if socket == "" {
		if socket, err = files.socket(); err != nil {
			return err
		}
	}
	out := o.Log
	if out == nil {
		out = io.Discard
	}
	log, records := logger(out, otlp.From{Service: "slipway-proxy", Scope: "github.com/slipway-cd/slipway/internal/proxy", Version: version})
	options := proxy.Options{
		Socket: socket, StateDir: files.proxy(), Log: log, Records: records, Version: version,
		First:     o.First,
		Args:      os.Args[1:], // a successor is run as this process was
		AccessLog: o.AccessLog, Metrics: o.Metrics,
	}
	if !handover.Inherited() { // else the lock comes with the place
		mine, err := lock(ctx, files.lock("proxy"))
		if err != nil {
			return err
		}
		options.Locks = []*os.File{mine.f}
	}
	return proxy.Run(ctx, options)
}

// upgradeLimit is how long the requests of a data plane before the running one
// may hold up an upgrade.
const upgradeLimit = 3 * time.Minute

// upgradeOther makes a running data plane of another version give its place to
// a process of the binary self, and returns the version that it was, or "".
func (l layout) upgradeOther(ctx context.Context, self string) (string, error) {
	socket, err := l.socket()
	if err != nil {
		return "", err
	}
	plane := trafficproxy.New(socket)
	seen, err := plane.State(ctx)
	if err != nil {
		return "", fmt.Errorf("app: %w", err)
	}
	if seen.Version == Version {
		return "", nil
	}
	ctx, stop := context.WithTimeout(ctx, upgradeLimit)
	defer stop()
	if _, err := plane.Upgrade(ctx, self); err != nil {
		return "", fmt.Errorf("app: the data plane of version %s runs on: %w", seen.Version, err)
	}
	return seen.Version, nil
}

// Socket returns the path of the control socket of a state folder's data plane.
func Socket(state string) (string, error) { return layout{root: state}.socket() }
