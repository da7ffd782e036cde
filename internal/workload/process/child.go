package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	stageWait = 30 * time.Second       // longest time until a stage is the application
	drainWait = time.Second            // for the last lines after an exit
	killWait  = 10 * time.Second       // for the kernel to take killed processes away
	lookAgain = 20 * time.Millisecond  // between two looks for processes that end
	watchTick = 500 * time.Millisecond // between two samples of memory
)

// nursery starts the children of a shim and buries all that end below it.
type nursery struct {
	thread chan func() // one OS thread; its end would kill every child (Pdeathsig)
	prefix []string    // argv that starts this binary's shim

	mu  sync.Mutex // guards own, and starting against reaping
	own map[int]bool
}

func newNursery(prefix []string) *nursery {
	return &nursery{thread: make(chan func()), prefix: prefix, own: map[int]bool{}}
}

// run is the thread that starts processes, and the end of those that were left
// to us by their parents. It returns when ctx ends, after the last child.
func (n *nursery) run(ctx context.Context, died <-chan os.Signal) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		select {
		case f := <-n.thread:
			f()
		case <-died:
			n.reap()
		case <-ctx.Done():
			return
		}
	}
}

// reap buries the zombies that nobody here waits for.
func (n *nursery) reap() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, pid := range childrenOf(os.Getpid()) {
		if s, err := statOf(pid); err == nil && s.state == 'Z' && !n.own[pid] {
			unix.Wait4(pid, nil, unix.WNOHANG, nil) //nolint:errcheck // gone is gone
		}
	}
}

// start starts cmd on the thread that lives as long as the shim.
func (n *nursery) start(cmd *exec.Cmd) error {
	done := make(chan error)
	n.thread <- func() {
		n.mu.Lock()
		err := cmd.Start()
		if err == nil {
			n.own[cmd.Process.Pid] = true
		}
		n.mu.Unlock()
		done <- err
	}
	return <-done
}

func (n *nursery) wait(cmd *exec.Cmd) error {
	err := cmd.Wait()
	n.mu.Lock()
	delete(n.own, cmd.Process.Pid)
	n.mu.Unlock()
	return err
}

// newSession makes a child the leader of its own session and process group that
// dies when the shim does.
func newSession() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
}

// child is one run of the application.
type child struct {
	cmd    *exec.Cmd
	id     identity
	ended  chan struct{} // closes when it exited
	exit   error         // valid after ended
	pipes  [2]*os.File
	pumped chan struct{} // closes when every line is written
}

// startChild brings the application up to the moment it runs, or says why not.
// record is called with its identity before it becomes the application.
func (n *nursery) startChild(o order, dir string, log *logger, admit func(pid int) error, record func(identity) error) (*child, error) {
	orderR, orderW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	answerR, answerW, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, orderR.Close(), orderW.Close())
	}
	defer answerR.Close() //nolint:errcheck // read only
	defer orderW.Close()  //nolint:errcheck // its end tells a waiting stage to go
	argv := append(slices.Clone(n.prefix), stageWord)
	c := &child{ended: make(chan struct{}), pumped: make(chan struct{})}
	c.cmd = &exec.Cmd{Path: "/proc/self/exe", Args: argv, Dir: dir, ExtraFiles: []*os.File{orderR, answerW}, SysProcAttr: newSession()}
	c.cmd.Env = []string{}
	writers, err := c.open()
	if err == nil {
		err = n.start(c.cmd)
	}
	for _, f := range append(writers, orderR, answerW) {
		f.Close() //nolint:errcheck // the child has its own
	}
	if err != nil {
		c.closePipes()
		return nil, err
	}
	go c.pump(log)
	go func() {
		c.exit = n.wait(c.cmd)
		close(c.ended)
	}()
	if c.id, err = identify(c.cmd.Process.Pid); err == nil {
		err = record(c.id)
	}
	if err == nil {
		err = admit(c.id.PID)
	}
	if err == nil {
		err = command(orderW, answerR, o)
	}
	if err != nil {
		c.cmd.Process.Kill() //nolint:errcheck // it may have ended
		<-c.ended
		c.drain()
		return nil, err
	}
	return c, nil
}

// command tells the stage what to become and waits until it did.
func command(w, r *os.File, o order) error {
	until := time.Now().Add(stageWait)
	if err := errors.Join(w.SetDeadline(until), r.SetDeadline(until)); err != nil {
		return err
	}
	if err := json.NewEncoder(w).Encode(o); err != nil {
		return fmt.Errorf("its stage ended early: %w", err)
	}
	why, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("its stage did not answer: %w", err)
	}
	if len(why) > 0 {
		return errors.New(string(why))
	}
	return nil
}

func (c *child) open() (writers []*os.File, err error) {
	for i := range c.pipes {
		r, w, err := os.Pipe()
		if err != nil {
			return writers, err
		}
		c.pipes[i] = r
		writers = append(writers, w)
	}
	c.cmd.Stdout, c.cmd.Stderr = writers[0], writers[1]
	return writers, nil
}

func (c *child) pump(log *logger) {
	var wg sync.WaitGroup
	wg.Go(func() { log.pump("stdout", c.pipes[0]) })
	wg.Go(func() { log.pump("stderr", c.pipes[1]) })
	wg.Wait()
	close(c.pumped)
}

// drain waits for the last lines; a process that escaped with the pipe open
// does not hold it up.
func (c *child) drain() {
	t := time.NewTimer(drainWait)
	defer t.Stop()
	select {
	case <-c.pumped:
	case <-t.C:
	}
	c.closePipes()
	<-c.pumped
}

func (c *child) closePipes() {
	for _, p := range c.pipes {
		if p != nil {
			p.Close() //nolint:errcheck // read only
		}
	}
}

// group lists the processes of the instance: the session of the child and all
// that ever left it, because what loses its parent becomes a child of the shim.
func (c *child) group() []identity {
	return descendantsOf(os.Getpid())
}

// strays lists the processes of the instance that left its session. Health
// commands lead sessions of their own and are none.
func (n *nursery) strays(c *child) []identity {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []identity
	for _, p := range c.group() {
		if s, err := statOf(p.PID); err == nil && s.session != c.id.PID && !n.own[s.session] {
			all = append(all, p)
		}
	}
	return all
}

// killAll ends every process of the list that list gives, until it gives none.
func killAll(list func() []identity) error {
	deadline := time.NewTimer(killWait)
	defer deadline.Stop()
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		left := list()
		if len(left) == 0 {
			return nil
		}
		for _, p := range left {
			p.signal(unix.SIGKILL) //nolint:errcheck // the next look tells
		}
		select {
		case <-deadline.C:
			return fmt.Errorf("%d processes do not die, the first is pid %d", len(left), left[0].PID)
		case <-tick.C:
		}
	}
}
