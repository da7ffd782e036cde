package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/slipway-cd/slipway/internal/cli"
	"github.com/slipway-cd/slipway/internal/server"
	trafficproxy "github.com/slipway-cd/slipway/internal/traffic/proxy"
	"github.com/slipway-cd/slipway/internal/workload"
)

// startLimit is how long a process of ours may take until it answers.
const startLimit = 30 * time.Second

// Up starts the data plane and the control plane in the background, unless
// they run, and returns when both answer. A data plane of another version gives
// its place to one of this.
func Up(ctx context.Context, o cli.UpOptions) (cli.UpReport, error) {
	files, err := layoutOf(o.State)
	if err != nil {
		return cli.UpReport{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return cli.UpReport{}, fmt.Errorf("app: %w", err)
	}
	report := cli.UpReport{State: files.root}
	if err := files.admits(o.Addr); err != nil {
		return report, err
	}
	started, err := start(ctx, part{files: files, self: self, name: "proxy", answers: files.proxyAnswers})
	if err != nil {
		return report, err
	}
	report.Started = started
	if report.UpgradedFrom, err = files.upgradeOther(ctx, self); err != nil {
		return report, err
	}
	control := part{files: files, self: self, name: "server", answers: func(ctx context.Context) error { return files.serverAnswers(ctx, &report) }}
	if o.Addr != "" {
		control.args = []string{"--addr", o.Addr}
	}
	if o.AnonymousRead {
		control.args = append(control.args, "--anonymous-read")
	}
	if started, err = start(ctx, control); err != nil {
		if report.Started && !held(files.lock("server")) {
			_, endErr := end(context.WithoutCancel(ctx), files.lock("proxy"), startLimit)
			err = errors.Join(err, endErr)
			report.Started = false
		}
		return report, err
	}
	report.Started, report.ServerStarted = report.Started || started, started
	report.ServerPID, report.ProxyPID = holder(files.lock("server")), holder(files.lock("proxy"))
	return report, nil
}

// admits refuses an address that the server could not listen on, before
// anything is started. A server that runs has its address already.
func (l layout) admits(addr string) error {
	if held(l.lock("server")) {
		return nil
	}
	listener, err := server.Listen(cmp.Or(addr, DefaultAddr), server.ListenOptions{})
	switch {
	case err == nil:
		return listener.Close()
	case held(l.lock("server")): // another up was faster, and this is its server
		return nil
	}
	return err
}

// ProxyRuns reports whether the data plane of a state folder runs, whatever the
// server does.
func ProxyRuns(state string) bool {
	return held(layout{root: state}.lock("proxy"))
}

// Listening lists the addresses that the data plane of a state folder accepts
// requests on; none when it does not run.
func Listening(ctx context.Context, state string) ([]string, error) {
	if !ProxyRuns(state) {
		return nil, nil
	}
	socket, err := layout{root: state}.socket()
	if err != nil {
		return nil, err
	}
	seen, err := trafficproxy.New(socket).State(ctx)
	if err != nil {
		return nil, fmt.Errorf("app: %w", err)
	}
	var addrs []string
	for _, l := range seen.Listeners {
		if l.Error == "" {
			addrs = append(addrs, l.Addr)
		}
	}
	return addrs, nil
}

// part is one process of the house.
type part struct {
	files   layout
	self    string
	name    string
	args    []string
	answers func(context.Context) error
}

// start makes a part answer: it waits for one that runs, and starts one where
// none does. It reports whether it had to. When the process it started ends
// first, the end of its log says why.
func start(ctx context.Context, p part) (started bool, err error) {
	ctx, stop := context.WithTimeout(ctx, startLimit)
	defer stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var ended <-chan struct{} // closed when the process that was started here is over
	log := p.files.log(p.name)
	old := sizeOf(log)
	for {
		over := started && isOver(ended)
		runs := held(p.files.lock(p.name))
		switch {
		case runs:
		case !started: // none runs, or the one that ran has gone by now
			if ended, err = spawn(p.files, p.self, p.name, p.args...); err != nil {
				return false, err
			}
			started = true
		case over:
			return started, fmt.Errorf("app: %s ended while it started: %s", p.name, lastWords(log, old))
		}
		if err = p.answers(ctx); err == nil && runs {
			return started, nil
		}
		select {
		case <-ctx.Done():
			return started, fmt.Errorf("app: %s does not answer: %w; the end of %s: %s", p.name, err, log, lastWords(log, old))
		case <-tick.C:
		}
	}
}

func isOver(ended <-chan struct{}) bool {
	select {
	case <-ended:
		return true
	default:
		return false
	}
}

// spawn starts a part of the house that outlives its parent. The channel is closed
// when it ends before us; its log says why.
func spawn(files layout, self, part string, args ...string) (ended <-chan struct{}, err error) {
	log, err := os.OpenFile(files.log(part), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("app: start %s: %w", part, err)
	}
	cmd := exec.Command(self, append([]string{part, "--state", files.root}, args...)...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, files.root
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	over := make(chan struct{})
	if err = cmd.Start(); err == nil {
		go func() {
			_ = cmd.Wait() // reaped
			close(over)
		}()
	}
	if err := errors.Join(err, log.Close()); err != nil {
		return nil, fmt.Errorf("app: start %s: %w", part, err)
	}
	return over, nil
}

// sizeOf is the length of a file in bytes, 0 where there is none.
func sizeOf(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// mostWords bounds the lines of a log that are told.
const mostWords = 4

// lastWords is what a process said of its end, in one line: of what was written
// to its log after the first from bytes, the last lines for people from the
// reason on. Where it said nothing to people it is the last line of the log.
func lastWords(path string, from int64) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	fresh := b[min(from, int64(len(b))):]
	var said []string
	for line := range strings.Lines(string(fresh)) {
		line = strings.Join(strings.Fields(line), " ")
		if line == "" || strings.HasPrefix(line, "{") {
			continue
		}
		if strings.HasPrefix(line, "✖") || strings.HasPrefix(line, "panic:") {
			said = nil
		}
		said = append(said, line)
	}
	switch {
	case len(said) == 0:
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		return lines[len(lines)-1]
	case strings.HasPrefix(said[0], "panic:"):
		return strings.Join(said[:min(len(said), mostWords)], "; ")
	}
	return strings.Join(said[max(0, len(said)-mostWords):], "; ")
}

func (l layout) proxyAnswers(ctx context.Context) error {
	socket, err := l.socket()
	if err != nil {
		return err
	}
	_, err = trafficproxy.New(socket).State(ctx)
	return err
}

func (l layout) serverAnswers(ctx context.Context, report *cli.UpReport) error {
	b, err := os.ReadFile(l.api())
	if err != nil {
		return err
	}
	var at struct {
		URL string `json:"url"`
		PID int    `json:"pid"`
	}
	if err := json.Unmarshal(b, &at); err != nil {
		return err
	}
	if at.PID != holder(l.lock("server")) {
		return errors.New("it is starting")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.URL+"/api/v1/healthz", nil)
	if err != nil {
		return err
	}
	res, err := (&http.Client{Timeout: 2 * time.Second}).Do(req)
	if err != nil {
		return err
	}
	report.URL = at.URL
	if err := res.Body.Close(); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	return nil
}

// Down stops the control plane, and unless told otherwise the data plane and
// every instance.
func Down(ctx context.Context, o cli.DownOptions) (cli.DownReport, error) {
	files, err := layoutOf(o.State)
	if err != nil {
		return cli.DownReport{}, err
	}
	var report cli.DownReport
	if report.Server, err = end(ctx, files.lock("server"), startLimit); err != nil || o.KeepInstances {
		return report, err
	}
	if report.Proxy, err = end(ctx, files.lock("proxy"), startLimit); err != nil {
		return report, err
	}
	report.Instances, err = stopAll(ctx, files)
	return report, err
}

// stopAll stops every instance of the folder, all at the same time.
func stopAll(ctx context.Context, files layout) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("app: %w", err)
	}
	d, err := openDrivers(ctx, files, self, slog.New(slog.DiscardHandler))
	if err != nil {
		return 0, err
	}
	all, err := d.workload.List(ctx)
	if err != nil {
		return 0, errors.Join(err, d.workload.Close())
	}
	var (
		work sync.WaitGroup
		mu   sync.Mutex
		errs error
		n    int
	)
	for _, s := range all {
		if s.Phase == workload.Stopped {
			continue
		}
		n++
		work.Go(func() {
			err := d.workload.Stop(ctx, s.Spec.ID)
			mu.Lock()
			defer mu.Unlock()
			errs = errors.Join(errs, err)
		})
	}
	work.Wait()
	return n, errors.Join(errs, d.workload.Close())
}
