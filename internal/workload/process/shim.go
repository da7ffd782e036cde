package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cd/slipway/internal/workload"
)

// How a shim or a stage exits.
const (
	exitTold   = 0
	exitBroken = 1
	exitUsage  = 2
	exitCannot = 127 // what a shell says of a command it cannot run
)

const (
	wishTick     = 500 * time.Millisecond // between two looks at the wish, if no signal came
	defaultGrace = 10 * time.Second
)

// Shim is what "slipway shim ARGS" does: it keeps the instance of the folder in
// args running until it is told to stop, and returns the exit code. It is
// started by a Driver, and by itself. The end of ctx, or SIGTERM, stops the
// application with grace and leaves the instance wanted.
func Shim(ctx context.Context, args []string) int {
	if len(args) != 1 {
		return exitUsage
	}
	if args[0] == stageWord {
		return stage()
	}
	prefix := os.Args[:max(1, len(os.Args)-len(args))]
	if err := keep(ctx, folder(args[0]), prefix); err != nil {
		os.Stderr.WriteString(err.Error() + "\n") //nolint:errcheck // there is no other place
		return exitBroken
	}
	return exitTold
}

// keeper is the one goroutine that owns an instance.
type keeper struct {
	dir     folder
	log     *logger
	nursery *nursery
	wake    <-chan os.Signal
	w       wish
	r       record
	saved   record
	claim   claim
	quick   int // exits in a row without having been steady
}

func keep(ctx context.Context, dir folder, prefix []string) (err error) {
	life, free, err := lock(dir.path(lifeFile))
	if err != nil || !free {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed before it began
		}
		return err
	}
	defer func() { err = errors.Join(err, unlock(life)) }()
	k := &keeper{dir: dir, nursery: newNursery(prefix)}
	defer k.claim.drop()
	if k.w, err = dir.wish(); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := errors.Join(closeInherited(), unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM, unix.SIGINT)
	defer stop()
	wake, died := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(wake, unix.SIGHUP)
	signal.Notify(died, unix.SIGCHLD)
	k.wake = wake
	k.w.Tuning = k.w.Tuning.orDefaults()
	if k.log, err = openLogger(dir.path(logFile), k.w.Tuning.LogBytes, k.w.Tuning.LogFiles); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.log.Close()) }()

	var wg sync.WaitGroup
	defer wg.Wait()
	threadCtx, threadEnd := context.WithCancel(context.WithoutCancel(ctx))
	defer threadEnd()
	wg.Go(func() { k.nursery.run(threadCtx, died) })
	return k.run(ctx)
}

// run follows the wish through its generations.
func (k *keeper) run(ctx context.Context) error {
	if err := k.inherit(); err != nil {
		return err
	}
	for {
		if !k.w.Run {
			if over, err := k.finish(ctx); err != nil || over {
				return err
			}
			continue
		}
		if k.r.Gen != k.w.Gen {
			k.r = record{Gen: k.w.Gen, Shim: k.r.Shim}
			k.quick = 0
		}
		wanted, unwant := context.WithCancel(ctx)
		var wg sync.WaitGroup
		wg.Go(func() { k.untilChanged(wanted, unwant) })
		k.live(wanted)
		unwant()
		wg.Wait()
		if err := killAll(k.orphans); err != nil {
			k.log.say("%v", err)
		}
		w, err := k.dir.wish()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // who removes the folder ends the instance
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil && w.Run {
			k.log.say("the runner was told to end; the instance stays wanted")
			k.r.settle(workload.Backoff)
			k.r.LastExit = "its runner was told to end"
			return k.save()
		}
		w.Tuning = w.Tuning.orDefaults()
		k.w = w
	}
}

// inherit takes over from a shim that was killed: nothing it started may live on.
func (k *keeper) inherit() error {
	me, err := identify(os.Getpid())
	if err != nil {
		return err
	}
	old, err := k.dir.record()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.log.say("its state could not be read, so it begins anew: %v", err)
	}
	if left := old.leftovers(); len(left) > 0 {
		k.log.say("%d processes of a killed runner are ended", len(left))
	}
	if err := killAll(old.leftovers); err != nil {
		return err
	}
	k.r, k.r.Shim = old, me
	if old.Gen == k.w.Gen && old.Child.PID != 0 {
		k.r.Restarts++
		k.r.LastExit = "its runner was killed"
		k.log.say("the runner was killed; this is the next one")
	}
	k.r.Child, k.r.Strays = identity{}, nil
	return nil
}

// finish writes that the instance is gone, unless somebody wants it again. It
// does so at the door, so that no Ensure can believe in a shim that is leaving.
func (k *keeper) finish(ctx context.Context) (over bool, err error) {
	ctx = context.WithoutCancel(ctx) // an end that was asked for is still written down
	err = k.dir.atDoor(ctx, func() error {
		w, err := k.dir.wish()
		if err != nil {
			return err
		}
		w.Tuning = w.Tuning.orDefaults()
		if k.w = w; w.Run {
			return nil
		}
		over = true
		k.r.Gen = w.Gen
		k.r.settle(workload.Stopped)
		k.log.say("stopped")
		return refresh(k.dir.path(stateFile), k.r)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return over, err
}

// settle moves a record without a process to phase.
func (r *record) settle(phase workload.Phase) {
	r.Child, r.Strays, r.Probe, r.Retry = identity{}, nil, "", time.Time{}
	r.to(phase)
}

func (r *record) to(phase workload.Phase) {
	if r.Phase != phase {
		r.Phase, r.Since = phase, time.Now().UTC()
	}
}

// untilChanged ends the context of a run when the wish moves on or vanishes.
func (k *keeper) untilChanged(ctx context.Context, unwant context.CancelFunc) {
	tick := time.NewTicker(wishTick)
	defer tick.Stop()
	gen := k.w.Gen
	for {
		w, err := k.dir.wish()
		if err == nil && w.Gen != gen || errors.Is(err, fs.ErrNotExist) {
			unwant()
			return
		}
		select {
		case <-k.wake:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// live starts the application again and again until ctx ends.
func (k *keeper) live(ctx context.Context) {
	for ctx.Err() == nil {
		run := k.begin()
		if run.err == nil {
			run.watch(ctx)
		}
		run.close()
		if ctx.Err() != nil {
			return
		}
		if run.steady(k.w.Tuning.Steady) {
			k.quick = 0
		}
		if !run.served {
			k.r.Port = 0 // perhaps somebody else has it
		}
		wait := backoff(k.quick, k.w.Tuning)
		k.quick++
		k.r.Restarts++
		k.r.LastExit = run.why()
		k.r.settle(workload.Backoff)
		k.r.Probe = run.probe
		k.r.Tail = k.log.last()
		k.r.Retry = time.Now().Add(wait).UTC()
		k.log.say("%s; the next start is in %s", k.r.LastExit, wait.Round(time.Millisecond))
		k.keepTrying()
		if pause(ctx, wait) != nil {
			return
		}
	}
}

// save writes the record if it changed.
func (k *keeper) save() error {
	if reflect.DeepEqual(k.r, k.saved) {
		return nil
	}
	if err := refresh(k.dir.path(stateFile), k.r); err != nil {
		return fmt.Errorf("its state cannot be written: %w", err)
	}
	k.saved = k.r // Tail and Limits are replaced, never changed in place
	return nil
}

// keepTrying saves, if that is possible: a full disk does not end what runs.
// The next change saves again.
func (k *keeper) keepTrying() {
	if err := k.save(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.log.say("%v", err)
	}
}

// leftovers lists what still runs of a record whose shim is gone.
func (r record) leftovers() []identity {
	left := sessionOf(r.Child)
	for _, p := range r.Strays {
		if p.runs() && !slices.Contains(left, p) {
			left = append(left, p)
		}
	}
	return left
}

// orphans lists every process below this shim.
func (k *keeper) orphans() []identity { return descendantsOf(os.Getpid()) }

// exitWords says how a process ended, as people read it.
func exitWords(err error) string {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "exit status 0"
	case errors.As(err, &exit):
		return exit.String()
	}
	return strings.TrimSpace(err.Error())
}
