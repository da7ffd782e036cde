package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/workload"
)

// Options says where a Driver keeps its instances and how it starts shims.
type Options struct {
	Root   string   // folder of the instances; made if it is not there
	Shim   []string // argv that calls Shim with the arguments that follow: [exe "shim"]
	Log    *slog.Logger
	Tuning Tuning // of instances that are ensured from now on
}

// Tuning is how instances are run. Zero fields take the defaults.
type Tuning struct {
	PortLow    int           `json:"port_low"`    // 10000; below the range of outgoing connections
	PortHigh   int           `json:"port_high"`   // 19999
	BackoffMin time.Duration `json:"backoff_min"` // 250 ms before the first restart
	BackoffMax time.Duration `json:"backoff_max"` // 30 s
	Steady     time.Duration `json:"steady"`      // 30 s; who served that long restarts at BackoffMin
	LogBytes   int64         `json:"log_bytes"`   // 10 MiB a file
	LogFiles   int           `json:"log_files"`   // 3
	NoGroups   bool          `json:"no_groups"`   // make no control groups; limits are watched instead
}

func (t Tuning) orDefaults() Tuning {
	if t.PortLow <= 0 || t.PortHigh < t.PortLow {
		t.PortLow, t.PortHigh = 10_000, 19_999
	}
	if t.BackoffMin <= 0 {
		t.BackoffMin = 250 * time.Millisecond
	}
	if t.BackoffMax < t.BackoffMin {
		t.BackoffMax = max(30*time.Second, t.BackoffMin)
	}
	if t.Steady <= 0 {
		t.Steady = 30 * time.Second
	}
	if t.LogBytes <= 0 {
		t.LogBytes = 10 << 20
	}
	if t.LogFiles <= 0 {
		t.LogFiles = 3
	}
	return t
}

// shimWait is how long a shim may take to show that it lives.
const shimWait = 20 * time.Second

// Driver runs instances as processes. Any number of Drivers, in any number of
// processes, may share a root; the instances outlive all of them.
type Driver struct {
	root   string
	shim   []string
	log    *slog.Logger
	tuning Tuning
	bell   chan struct{}
	close  context.CancelFunc
	closed chan struct{}

	meter meter

	mu      sync.Mutex // guards spawned
	spawned []int      // shims of this process, to be reaped
}

// Open makes the root, adopts what runs there and rings Changed until Close or
// the end of ctx. A wanted instance whose shim died gets a new one.
func Open(ctx context.Context, o Options) (*Driver, error) {
	root, err := filepath.Abs(o.Root)
	if err == nil {
		err = os.MkdirAll(root, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("process: open: %w", err)
	}
	if len(o.Shim) == 0 || o.Log == nil {
		return nil, fmt.Errorf("process: open: %w", delivery.Invalid("options", "Shim and Log are needed"))
	}
	ctx, cancel := context.WithCancel(ctx)
	d := &Driver{root: root, shim: slices.Clone(o.Shim), log: o.Log, tuning: o.Tuning, bell: make(chan struct{}, 1), close: cancel, closed: make(chan struct{})}
	go func() {
		defer close(d.closed)
		d.watch(ctx)
	}()
	return d, nil
}

// Close ends the watching. The instances run on.
func (d *Driver) Close() error {
	d.close()
	<-d.closed
	d.reap()
	return nil
}

// Changed implements workload.Driver.
func (d *Driver) Changed() <-chan struct{} { return d.bell }

// Ensure implements workload.Driver. An instance that is being stopped is
// started again with s as soon as it is gone.
func (d *Driver) Ensure(ctx context.Context, s workload.Spec) error {
	f, err := d.folderOf(s.ID)
	if err == nil {
		err = checkRun(s.Run, s.Bundle)
	}
	if err == nil {
		err = d.ensure(ctx, f, s)
	}
	if err != nil {
		return fmt.Errorf("process: ensure %s: %w", s.ID, err)
	}
	return nil
}

func (d *Driver) ensure(ctx context.Context, f folder, s workload.Spec) error {
	for {
		if err := os.MkdirAll(string(f), 0o700); err != nil {
			return err
		}
		err := f.atDoor(ctx, func() error {
			w, err := f.wish()
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				d.log.Warn("a spec cannot be read and is written anew", "instance", s.ID, "error", err)
			}
			if err != nil || !w.Run {
				r, _ := f.record() // an unreadable record counts no generation
				w = wish{Gen: max(w.Gen, r.Gen) + 1, Run: true, Spec: s, Tuning: d.tuning}
				if err := replace(f.path(specFile), w); err != nil {
					return err
				}
				f.wake()
			}
			return d.revive(ctx, f)
		})
		if !errors.Is(err, fs.ErrNotExist) || ctx.Err() != nil {
			return err
		}
		// Prune took the folder before the door was reached.
	}
}

// revive starts a shim if none lives, and returns when one does. It is called
// at the door; should two start all the same, the second ends by itself.
func (d *Driver) revive(ctx context.Context, f folder) error {
	if alive, err := f.alive(); err != nil || alive {
		return err
	}
	said, err := os.OpenFile(f.path(errFile), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer said.Close() //nolint:errcheck // the shim has its own
	cmd := &exec.Cmd{Path: d.shim[0], Args: append(slices.Clone(d.shim), string(f)), Dir: string(f), Stderr: said, Env: []string{}}
	for _, k := range inherited() {
		if v, set := os.LookupEnv(k); set {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return delivery.InvalidNext("shim", "cannot be started: "+err.Error(), "check that "+d.shim[0]+" is there and may be run")
	}
	pid := cmd.Process.Pid
	if err := cmd.Process.Release(); err != nil {
		return err
	}
	return d.awaitShim(ctx, f, pid)
}

func (d *Driver) awaitShim(ctx context.Context, f folder, pid int) error {
	ctx, cancel := context.WithTimeout(ctx, shimWait)
	defer cancel()
	for {
		if alive, err := f.alive(); err != nil || alive {
			d.remember(pid)
			return err
		}
		if got, err := unix.Wait4(pid, nil, unix.WNOHANG, nil); got == pid || errors.Is(err, unix.ECHILD) {
			// It may have left the place to another, that a server began which was killed.
			if alive, err := f.alive(); err != nil || alive {
				return err
			}
			said, _ := os.ReadFile(f.path(errFile)) // only more words
			return fmt.Errorf("its shim ended at once: %s", strings.TrimSpace(string(said)))
		}
		if err := pause(ctx, 2*time.Millisecond); err != nil {
			d.remember(pid)
			return fmt.Errorf("its shim does not come up: %w", err)
		}
	}
}

func (d *Driver) remember(pid int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.spawned = append(d.spawned, pid)
}

// reap buries the shims of this process that ended.
func (d *Driver) reap() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.spawned = slices.DeleteFunc(d.spawned, func(pid int) bool {
		got, err := unix.Wait4(pid, nil, unix.WNOHANG, nil)
		return got == pid || errors.Is(err, unix.ECHILD)
	})
}

// wake tells the shim to look at the wish now rather than at its next tick.
func (f folder) wake() {
	if r, err := f.record(); err == nil && r.Shim.PID != 0 {
		r.Shim.signal(unix.SIGHUP) //nolint:errcheck // it looks by itself
	}
}

// Stop implements workload.Driver. Stopping what is not there changes nothing.
func (d *Driver) Stop(ctx context.Context, id workload.ID) error {
	f, err := d.folderOf(id)
	if err == nil {
		err = d.stop(ctx, f)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("process: stop %s: %w", id, err)
	}
	return nil
}

func (d *Driver) stop(ctx context.Context, f folder) error {
	var gen int64
	err := f.atDoor(ctx, func() error {
		w, err := f.wish()
		if errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err != nil {
			d.log.Warn("a spec cannot be read; its instance is stopped without it", "instance", string(f), "error", err)
			r, _ := f.record() // an unreadable record counts no generation
			w = wish{Gen: r.Gen, Run: true, Spec: workload.Spec{ID: workload.ID(filepath.Base(string(f)))}}
		}
		if w.Run {
			w.Run = false
			w.Gen++
			if err := replace(f.path(specFile), w); err != nil {
				return err
			}
			f.wake()
		}
		gen = w.Gen
		return nil
	})
	for err == nil {
		over, oerr := d.gone(ctx, f, gen)
		if oerr != nil || over {
			return oerr
		}
		err = pause(ctx, lookAgain)
	}
	return err
}

// gone reports whether the instance of a generation is stopped. If its shim
// died before it could, the rest is done here.
func (d *Driver) gone(ctx context.Context, f folder, gen int64) (bool, error) {
	if alive, err := f.alive(); err != nil || alive {
		r, rerr := f.record()
		return rerr == nil && r.Gen > gen, err // ensured again, and running again
	}
	d.reap()
	over := false
	err := f.atDoor(ctx, func() error {
		w, err := f.wish()
		if err != nil {
			return err
		}
		if over = w.Gen != gen; over {
			return nil
		}
		over, err = f.bury()
		return err
	})
	return over, err
}

// bury takes the place of a shim that was killed, to end what it left.
func (f folder) bury() (done bool, err error) {
	life, free, err := lock(f.path(lifeFile))
	if err != nil || !free {
		return false, err
	}
	defer func() { err = errors.Join(err, unlock(life)) }()
	w, err := f.wish()
	if err != nil {
		return false, err
	}
	r, err := f.record()
	if err == nil && r.Phase == workload.Stopped && r.Gen == w.Gen {
		return true, nil
	}
	if err := killAll(r.leftovers); err != nil {
		return false, err
	}
	r.Gen = w.Gen
	r.settle(workload.Stopped)
	return true, refresh(f.path(stateFile), r)
}

// List implements workload.Driver. Instances that ended are listed as Stopped
// until Prune removes them.
func (d *Driver) List(ctx context.Context) ([]workload.Status, error) {
	all, err := d.folders()
	if err != nil {
		return nil, fmt.Errorf("process: list: %w", err)
	}
	d.meter.look()
	list := make([]workload.Status, 0, len(all))
	for _, f := range all {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s, err := f.status(&d.meter)
		if errors.Is(err, fs.ErrNotExist) {
			continue // pruned, or not written yet
		}
		if err != nil {
			return nil, fmt.Errorf("process: list: %w", err)
		}
		list = append(list, s)
	}
	d.meter.keep(list)
	return list, nil
}

func (f folder) status(m *meter) (workload.Status, error) {
	alive, err := f.alive() // before the files: what is written after it is newer
	if err != nil {
		return workload.Status{}, err
	}
	w, torn := f.wish()
	if errors.Is(torn, fs.ErrNotExist) {
		return workload.Status{}, torn
	}
	r, err := f.record()
	if err != nil {
		r = record{}
	}
	if torn != nil { // still listed, so that it can be stopped or ensured anew
		w = wish{Gen: r.Gen, Run: true, Spec: workload.Spec{ID: workload.ID(filepath.Base(string(f)))}}
		r.Probe = "its spec cannot be read: " + torn.Error()
	}
	mine := r.Shim.runs() // otherwise the shim that lives has not written yet
	s := workload.Status{
		Spec: w.Spec, Phase: r.Phase, PID: r.Child.PID, Started: r.Started, Since: r.Since,
		Restarts: r.Restarts, LastExit: r.LastExit, Probe: r.Probe, Tail: r.Tail,
	}
	if r.Port > 0 {
		s.Addr = net.JoinHostPort(loopback, strconv.Itoa(r.Port))
	}
	if r.Phase == workload.Backoff {
		s.Next = max(0, time.Until(r.Retry))
	}
	switch {
	case alive && mine && r.Gen == w.Gen && r.Phase != "":
	case alive && mine && r.Gen != 0 && r.Phase != workload.Stopped:
		s.Phase = workload.Stopping
	case w.Run && r.Gen != w.Gen:
		s = workload.Status{Spec: w.Spec, Phase: workload.Starting} // written down, not begun
	case alive && w.Run:
		s.Phase, s.PID = workload.Starting, 0
	case alive:
		s.Phase, s.PID = workload.Stopping, 0
	case w.Run:
		s.Phase, s.PID, s.LastExit, s.Next = workload.Backoff, 0, "its runner was killed", 0
	default:
		s.Phase, s.PID = workload.Stopped, 0
	}
	if s.PID != 0 && mine {
		s.Usage = m.of(s.Spec.ID, r)
	}
	return s, nil
}

// folders lists the folders of instances, sorted by id.
func (d *Driver) folders() ([]folder, error) {
	entries, err := os.ReadDir(d.root)
	if err != nil {
		return nil, err
	}
	var all []folder
	for _, e := range entries {
		if e.IsDir() && goodID.MatchString(e.Name()) {
			all = append(all, folder(filepath.Join(d.root, e.Name())))
		}
	}
	return all, nil
}

// Prune removes the folders, and with them the logs, of stopped instances that
// keep does not keep, and returns their ids. It touches no other instance.
func (d *Driver) Prune(ctx context.Context, keep func(workload.Spec) bool) ([]workload.ID, error) {
	all, err := d.folders()
	if err != nil {
		return nil, fmt.Errorf("process: prune: %w", err)
	}
	var gone []workload.ID
	old, err := filepath.Glob(filepath.Join(d.root, ".gone-*"))
	for _, trash := range old { // of a Prune that was killed
		err = errors.Join(err, os.RemoveAll(trash))
	}
	if err != nil {
		return nil, fmt.Errorf("process: prune: %w", err)
	}
	for _, f := range all {
		trash := filepath.Join(d.root, ".gone-"+filepath.Base(string(f)))
		err := f.atDoor(ctx, func() error {
			s, err := f.status(&d.meter)
			if err != nil || s.Phase != workload.Stopped || keep(s.Spec) {
				return err
			}
			gone = append(gone, s.Spec.ID)
			return errors.Join(os.RemoveAll(trash), os.Rename(string(f), trash))
		})
		if err == nil {
			err = os.RemoveAll(trash)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return gone, fmt.Errorf("process: prune %s: %w", filepath.Base(string(f)), err)
		}
	}
	return gone, nil
}
