package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// patience is how long a process may take to answer, and then to end.
const patience = 15 * time.Second

// lab is a folder and the processes that were started in it. Each is pinned to
// one core, and is ended by its process ID.
type lab struct {
	dir       string
	loadCore  int // of the upstream and of whatever makes load
	proxyCore int
	running   []*process
}

// process is one that runs until stop.
type process struct {
	name string
	cmd  *exec.Cmd
	log  *bytes.Buffer
	done chan struct{} // closed when it has ended
}

func newLab(loadCore, proxyCore int) (*lab, error) {
	dir, err := os.MkdirTemp("", "bench") // short: a socket's path is
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	return &lab{dir: dir, loadCore: loadCore, proxyCore: proxyCore}, nil
}

// close ends every process and removes the folder.
func (l *lab) close() error {
	for _, p := range l.running {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
	}
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for _, p := range l.running {
		select {
		case <-p.done:
		case <-limit.C:
			_ = p.cmd.Process.Kill()
			<-p.done
			limit.Reset(0)
		}
	}
	return os.RemoveAll(l.dir)
}

// write puts a file into the folder and returns its path.
func (l *lab) write(name, text string) (string, error) {
	path := filepath.Join(l.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o644)
}

// free returns a loopback address that nobody listens on.
func (l *lab) free(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// pinned is a command on one core, in a process group of its own so that the
// terminal's Ctrl-C reaches only us, and which the kernel ends when we die.
func pinned(ctx context.Context, core int, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "taskset", append([]string{"-c", strconv.Itoa(core), name}, args...)...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// start runs a program on core until the lab closes.
func (l *lab) start(ctx context.Context, core int, title, name string, args ...string) (*process, error) {
	p := &process{name: title, log: &bytes.Buffer{}, done: make(chan struct{})}
	p.cmd = pinned(context.WithoutCancel(ctx), core, name, args...)
	p.cmd.Dir = l.dir
	p.cmd.Env = append(p.cmd.Env, "XDG_DATA_HOME="+l.dir, "XDG_CONFIG_HOME="+l.dir)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("bench: start %s: %w", title, err)
	}
	l.running = append(l.running, p)
	go func() {
		_ = p.cmd.Wait() // how it ended is in its log
		close(p.done)
	}()
	return p, nil
}

// await polls until ok says nil, the process ends, or patience does.
func (p *process) await(ctx context.Context, ok func(context.Context) error) error {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("bench: %s ended: %s", p.name, bytes.TrimSpace(p.log.Bytes()))
		case <-ctx.Done():
			return fmt.Errorf("bench: %s does not answer: %w", p.name, errors.Join(err, ctx.Err()))
		case <-tick.C:
		}
	}
}

// alive fails when a process has ended by itself.
func (p *process) alive() error {
	select {
	case <-p.done:
		return fmt.Errorf("bench: %s ended: %s", p.name, bytes.TrimSpace(p.log.Bytes()))
	default:
		return nil
	}
}

// tool runs a program on the load core and returns what it printed.
func (l *lab) tool(ctx context.Context, name string, args ...string) (string, error) {
	cmd := pinned(ctx, l.loadCore, name, args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", fmt.Errorf("bench: %s: %w: %s", name, err, bytes.TrimSpace(said.Bytes()))
	}
	return said.String(), nil
}
