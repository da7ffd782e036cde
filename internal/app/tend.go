package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/workload"
)

// keepReleases is how many of a service's newest releases keep their files.
const keepReleases = 10

// collectEvery is how often what nobody can go back to is thrown away.
const collectEvery = 10 * time.Minute

// collect throws away bundles and logs that nothing needs any more.
func (a *App) collect(ctx context.Context) error {
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		gone, err := a.Loop.Collect(ctx, keepReleases)
		if err == nil {
			err = a.prune(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			a.log.ErrorContext(ctx, "could not throw away what is old; will try again", slog.Any("error", err))
		case len(gone) > 0:
			a.log.InfoContext(ctx, "threw away bundles that nothing goes back to", slog.Int("bundles", len(gone)))
		}
	}
}

// prune forgets the folders and logs of stopped instances of old releases.
func (a *App) prune(ctx context.Context) error {
	recent := map[delivery.ReleaseID]bool{}
	snap, err := a.Store.Snapshot(ctx)
	if err != nil {
		return err
	}
	for _, svc := range snap.Project.Services {
		rels, err := a.Store.Releases(ctx, svc.Name, keepReleases)
		if err != nil {
			return err
		}
		for _, r := range rels {
			recent[r.ID] = true
		}
	}
	_, err = a.drivers.workload.Prune(ctx, func(s workload.Spec) bool { return recent[s.Release] })
	return err
}

// guardProxy starts the data plane again when its process is gone. One that
// runs and does not answer is left alone: it may still be routing.
func (a *App) guardProxy(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if held(a.files.lock("proxy")) {
			continue
		}
		a.log.WarnContext(ctx, "the data plane is gone; starting it again")
		if _, err := spawn(a.files, a.self, "proxy"); err != nil {
			a.log.ErrorContext(ctx, "the data plane could not be started; will try again", slog.Any("error", err))
		}
	}
}

// runTest runs the test of a step: exit 0 passes. The end of its output is the reason.
func runTest(ctx context.Context, t control.TestRun) (delivery.Outcome, string) {
	if t.Timeout <= 0 {
		t.Timeout = time.Minute
	}
	ctx, stop := context.WithTimeout(ctx, t.Timeout)
	defer stop()
	name := t.Command[0]
	if strings.Contains(name, "/") && !filepath.IsAbs(name) {
		name = filepath.Join(t.Dir, name)
	}
	cmd := exec.CommandContext(ctx, name, t.Command[1:]...)
	cmd.Dir, cmd.WaitDelay = t.Dir, time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "LANG=" + os.Getenv("LANG")}
	for k, v := range t.Vars {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	var out tail
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return delivery.Pass, "exit 0"
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return delivery.Fail, fmt.Sprintf("no end after %s%s", t.Timeout, out.text())
	case errors.As(err, &exit):
		return delivery.Fail, exit.Error() + out.text()
	}
	return delivery.Broken, err.Error()
}

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

const tailBytes = 2000

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if over := len(t.b) - tailBytes; over > 0 {
		t.b = bytes.Clone(t.b[over:])
	}
	return len(p), nil
}

// text is the last lines as one, for a sentence.
func (t *tail) text() string {
	const lines, runes = 3, 300
	var last []string
	for l := range strings.SplitSeq(string(t.b), "\n") {
		if l = strings.TrimSpace(l); l != "" {
			last = append(last, l)
		}
	}
	if len(last) == 0 {
		return "; it said nothing"
	}
	s := []rune(strings.Join(last[max(0, len(last)-lines):], " | "))
	return ": " + string(s[max(0, len(s)-runes):])
}
