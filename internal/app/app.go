package app

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/slipway-cd/slipway/internal/access"
	"github.com/slipway-cd/slipway/internal/artifact"
	"github.com/slipway-cd/slipway/internal/cli"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/metric/embedded"
	"github.com/slipway-cd/slipway/internal/proxy/otlp"
	"github.com/slipway-cd/slipway/internal/server"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/telemetry"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/web"
)

// DefaultAddr is where the API listens unless told otherwise.
const DefaultAddr = "127.0.0.1:7500"

// Version is what this build calls itself.
const Version = "0.1.0"

// App is a built control plane.
type App struct {
	Loop     *control.Loop
	Store    *store.Store
	drivers  drivers
	files    layout
	listener net.Listener
	handler  http.Handler
	tells    *telemetry.Telemetry
	intake   *intake
	numbers  numbers
	log      *slog.Logger
	records  *otlp.Records // what a collector is sent of log
	self     string
	undo     []func() error
}

// New builds the control plane of a state folder, or builds nothing.
func New(ctx context.Context, o cli.ServerOptions) (_ *App, err error) {
	a := &App{}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	if a.files, err = layoutOf(o.State); err != nil {
		return nil, err
	}
	mine, err := lock(ctx, a.files.lock("server"))
	if err != nil {
		return nil, err
	}
	a.onClose(mine.Close)
	out := o.Log
	if out == nil {
		out = io.Discard
	}
	a.log, a.records = logger(out, otlp.From{Service: "slipway", Scope: "github.com/slipway-cd/slipway/internal/app", Version: Version})
	if a.self, err = os.Executable(); err != nil {
		return nil, fmt.Errorf("app: %w", err)
	}
	if a.Store, err = store.Open(ctx, a.files.store()); err != nil {
		return nil, fmt.Errorf("app: %w", err)
	}
	a.onClose(a.Store.Close)
	a.numbers = numbers{of: embedded.New(), kept: a.Store, log: a.log}
	if err := a.numbers.restore(ctx); err != nil {
		return nil, err
	}
	bundles, err := artifact.Open(a.files.bundles())
	if err != nil {
		return nil, fmt.Errorf("app: %w", err)
	}
	if a.drivers, err = openDrivers(ctx, a.files, a.self, a.log); err != nil {
		return nil, err
	}
	a.onClose(a.drivers.workload.Close)
	preview, err := secret(a.files.previewKey())
	if err != nil {
		return nil, err
	}
	otlpKey, err := secret(a.files.otlpKey())
	if err != nil {
		return nil, err
	}
	if a.intake, err = openIntake(ctx, a.Store, otlpKey, a.numbers.of, a.log); err != nil {
		return nil, err
	}
	a.Loop = control.New(control.Deps{
		Store: a.Store, Workload: a.drivers.workload, Traffic: traffic.New(a.drivers.traffic), Numbers: a.numbers.of, Metrics: metrics(a.numbers.of),
		Artifacts: bundles, Test: runTest, PreviewKey: []byte(preview), Telemetry: a.intake.deps(), Log: a.log,
	})
	a.tells = telemetry.New(telemetry.Deps{Loop: a.Loop, Store: a.Store, Log: a.log, Records: a.records, Version: Version, Mark: a.files.traces()})
	a.tells.Aim(ctx)
	return a, a.listen(o, bundles)
}

// listen opens the API and writes down where it is and what opens it.
func (a *App) listen(o cli.ServerOptions, bundles *artifact.Store) error {
	addr := o.Addr
	if addr == "" {
		addr = DefaultAddr
	}
	var err error
	if a.listener, err = server.Listen(addr, server.ListenOptions{AllowRemote: o.AllowRemote, CertFile: o.TLSCert, KeyFile: o.TLSKey}); err != nil {
		return fmt.Errorf("app: %w", err)
	}
	a.onClose(func() error {
		if err := a.listener.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	token, err := secret(a.files.token())
	if err != nil {
		return err
	}
	at := reached(addr, a.listener.Addr())
	guard := access.New(access.Deps{Root: token, Addr: at, Public: o.AnonymousRead, Store: a.Store, Log: a.log})
	api := server.New(server.Deps{
		Loop: a.Loop, Store: a.Store, Artifacts: bundles, Workload: a.drivers.workload, Log: a.log, Guard: guard, Version: Version, Metrics: a.tells, Plane: a.plane(), Traces: a.intake.traces,
	})
	a.handler = faces{api: api, pages: web.New(web.Deps{
		Loop: a.Loop, Store: a.Store, Workload: a.drivers.workload, Traces: a.intake.traces, Log: a.log, Version: Version, Guard: guard, Addr: at, Rights: api.Rights(),
	})}
	scheme := "http"
	if o.TLSCert != "" {
		scheme = "https"
	}
	return a.files.announce(scheme + "://" + near(a.listener.Addr()))
}

// near is where this machine reaches what listens at opened: an address that stands
// for all of them is none that a browser can be sent to.
func near(opened net.Addr) string {
	if at, ok := opened.(*net.TCPAddr); ok && at.IP.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(at.Port))
	}
	return opened.String()
}

// reached is the address people use: the host they were told, and the port that
// was really opened.
func reached(told string, opened net.Addr) string {
	host, _, err := net.SplitHostPort(told)
	_, port, errOpened := net.SplitHostPort(opened.String())
	if err != nil || errOpened != nil || host == "" {
		return opened.String()
	}
	return net.JoinHostPort(host, port)
}

// logger returns a log of JSON lines, and what sends them to a collector too.
func logger(out io.Writer, from otlp.From) (*slog.Logger, *otlp.Records) {
	lines := slog.NewJSONHandler(out, nil)
	records := otlp.NewRecords(from, slog.New(lines))
	return slog.New(otlp.Tee(lines, records)), records
}

// Run lives until ctx ends.
func (a *App) Run(ctx context.Context) error {
	told, end := context.WithCancel(context.WithoutCancel(ctx)) // the last lines are those of the end
	var sending sync.WaitGroup
	sending.Go(func() { a.records.Run(told) })
	defer func() {
		end()
		sending.Wait()
	}()
	a.log.InfoContext(ctx, "control plane runs", slog.String("addr", a.listener.Addr().String()), slog.Int("pid", os.Getpid()))
	return together(ctx, a.Loop.Run, a.numbers.Run, a.tells.Run, a.collect, a.guardProxy,
		func(ctx context.Context) error { return a.intake.run(ctx, a.Loop, a.drivers.workload) },
		func(ctx context.Context) error { return server.Serve(ctx, a.listener, a.handler, a.log) })
}

func (a *App) onClose(f func() error) { a.undo = append(a.undo, f) }

// Close takes down what New put up, last first. It is safe to call twice.
func (a *App) Close() (err error) {
	for _, undo := range slices.Backward(a.undo) {
		err = errors.Join(err, undo())
	}
	a.undo = nil
	return err
}

// Server runs the control plane in the foreground until ctx ends.
func Server(ctx context.Context, o cli.ServerOptions) error {
	a, err := New(ctx, o)
	if err != nil {
		return err
	}
	return errors.Join(a.Run(ctx), a.Close())
}

// lock is the lock file of a part of the house.
func (l layout) lock(part string) string { return filepath.Join(l.root, part+".pid") }

// secret reads a secret file, and makes a random one the first time.
func secret(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil && len(strings.TrimSpace(string(b))) >= 20 {
		return strings.TrimSpace(string(b)), nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("app: secret: %w", err)
	}
	token := rand.Text()
	return token, replaceFile(path, []byte(token+"\n"))
}

// announce writes down where the API is, for the CLI to find.
func (l layout) announce(url string) error {
	doc, err := json.Marshal(map[string]any{"url": url, "pid": os.Getpid()})
	if err != nil {
		return fmt.Errorf("app: %w", err)
	}
	return replaceFile(l.api(), doc)
}

// replaceFile writes a file that only its owner can read, whole or not at all.
func replaceFile(path string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return fmt.Errorf("app: write %s: %w", path, err)
	}
	_, err = tmp.Write(content)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("app: write %s: %w", path, err), os.Remove(tmp.Name()))
	}
	return nil
}
