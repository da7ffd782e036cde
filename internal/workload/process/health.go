package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/probe"
)

const (
	upFor     = time.Second            // a process without a check is ready after it
	eager     = 100 * time.Millisecond // between two probes until the first good one
	answerLen = 200                    // bytes of an answer that are shown
)

// withDefaults fills in what a health check leaves open.
func withDefaults(h delivery.Health) delivery.Health {
	if h.Interval <= 0 {
		h.Interval = time.Second
	}
	if h.Timeout <= 0 {
		h.Timeout = time.Second
	}
	h.Rise, h.Fall = max(h.Rise, 1), max(h.Fall, 1)
	return h
}

// health counts good and bad probes in a row.
type health struct {
	rise, fall int
	good, bad  int
	ready      bool
}

// see takes in one probe and reports whether ready changed.
func (h *health) see(ok bool) bool {
	if ok {
		h.good, h.bad = h.good+1, 0
	} else {
		h.good, h.bad = 0, h.bad+1
	}
	was := h.ready
	switch {
	case !h.ready && h.good >= h.rise:
		h.ready = true
	case h.ready && h.bad >= h.fall:
		h.ready = false
	}
	return h.ready != was
}

// wait returns how long until the next probe.
func (h *health) wait(interval time.Duration) time.Duration {
	if !h.ready && h.good == 0 {
		return min(interval, eager)
	}
	return interval
}

// prober asks one running instance how it is.
type prober struct {
	spec   delivery.Health
	port   int
	bundle string
	env    []string
	path   string
	start  func(*exec.Cmd) error // starts a child of the shim
	wait   func(*exec.Cmd) error
	group  func() []identity // the processes of the instance
	since  time.Time
	client *http.Client
}

// newClient follows no redirect and keeps no connection: each probe is a new one.
func newClient(p delivery.Protocol) *http.Client {
	t := &http.Transport{DisableKeepAlives: true, Protocols: new(http.Protocols)}
	t.Protocols.SetHTTP1(p == delivery.HTTP1)
	t.Protocols.SetUnencryptedHTTP2(p == delivery.H2C)
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// once returns nil if the instance is healthy and what it answered if not.
func (p *prober) once(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.spec.Timeout)
	defer cancel()
	var err error
	switch {
	case p.spec.HTTP != "":
		err = p.http(ctx)
	case p.spec.GRPC != nil:
		err = probe.Ask(ctx, probe.Target{Addr: p.addr(), GRPC: p.spec.GRPC, Timeout: p.spec.Timeout})
	case p.spec.TCP:
		err = p.tcp(ctx)
	case len(p.spec.Command) > 0:
		return p.command(ctx)
	default:
		if up := time.Since(p.since); up < upFor {
			return fmt.Errorf("it runs for %s; it counts as ready after %s", up.Round(10*time.Millisecond), upFor)
		}
		return nil
	}
	if errors.Is(err, unix.ECONNREFUSED) {
		return refused(p.group(), p.port)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: no answer within %s", p.name(), p.spec.Timeout)
	}
	return err
}

func (p *prober) name() string {
	if p.spec.HTTP != "" {
		return "GET " + p.spec.HTTP
	}
	if p.spec.GRPC != nil {
		return strings.TrimSuffix("grpc.health.v1 of "+*p.spec.GRPC, " of ")
	}
	return "port " + strconv.Itoa(p.port)
}

func (p *prober) addr() string { return net.JoinHostPort(loopback, strconv.Itoa(p.port)) }

func (p *prober) tcp(ctx context.Context) error {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", p.addr())
	if err != nil {
		return err
	}
	return c.Close()
}

func (p *prober) http(ctx context.Context) error {
	path := p.spec.HTTP
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.addr()+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "slipway-health")
	res, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close() // read only
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		return nil
	}
	if to := res.Header.Get("Location"); to != "" && res.StatusCode < 400 {
		return fmt.Errorf("GET %s: %s to %s; a health check follows no redirect", path, res.Status, to)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, answerLen))
	if err != nil || len(body) == 0 {
		return fmt.Errorf("GET %s: %s", path, res.Status)
	}
	return fmt.Errorf("GET %s: %s: %q", path, res.Status, strings.TrimSpace(string(body)))
}

// command runs the check in the bundle. It is killed with all it started when
// its time is over.
func (p *prober) command(ctx context.Context) error {
	argv := p.spec.Command
	full, err := lookCommand(p.bundle, argv[0], p.path)
	if err != nil {
		return err
	}
	out := &head{max: answerLen}
	cmd := &exec.Cmd{Path: full, Args: argv, Env: p.env, Dir: p.bundle, Stdout: out, Stderr: out, WaitDelay: time.Second}
	cmd.SysProcAttr = newSession()
	if err := p.start(cmd); err != nil {
		return fmt.Errorf("health command %s: %w", argv[0], err)
	}
	done := make(chan error, 1)
	go func() { done <- p.wait(cmd) }()
	select {
	case err = <-done:
	case <-ctx.Done():
		unix.Kill(-cmd.Process.Pid, unix.SIGKILL) //nolint:errcheck // it may just have ended
		<-done                                    //nolint:errcheck // it was killed
		return fmt.Errorf("health command %s: not done within %s", argv[0], p.spec.Timeout)
	}
	if err == nil {
		return nil
	}
	if said := strings.TrimSpace(string(out.b)); said != "" {
		return fmt.Errorf("health command %s: %w: %q", argv[0], err, said)
	}
	return fmt.Errorf("health command %s: %w", argv[0], err)
}

// head keeps the first bytes written to it.
type head struct {
	b   []byte
	max int
}

func (h *head) Write(p []byte) (int, error) {
	h.b = append(h.b, p[:min(len(p), h.max-len(h.b))]...)
	return len(p), nil
}
