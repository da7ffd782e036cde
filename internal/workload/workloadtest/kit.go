package workloadtest

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/workload"
)

// Open opens a driver on a root that others may have open too. The driver may
// do things until ctx ends, and not after.
type Open func(ctx context.Context, root string) (workload.Driver, error)

// serverWord is the argument that makes a test binary a server that ensures
// what it reads from its standard input, and then waits to be killed.
const serverWord = "workloadtest-server"

// Main is what TestMain calls. The test binary plays every role of the suite,
// and those given here, by its first argument: that of a shim, for example.
func Main(ctx context.Context, m *testing.M, open Open, roles map[string]func(context.Context, []string) int) {
	if len(os.Args) > 1 {
		args := os.Args[2:]
		switch word := os.Args[1]; {
		case word == appWord:
			os.Exit(App(ctx, args))
		case word == serverWord:
			os.Exit(server(ctx, open, args))
		case roles[word] != nil:
			os.Exit(roles[word](ctx, args))
		}
	}
	// The tests wait for processes most of their time. A flag given by hand wins.
	if err := flag.Set("test.parallel", "6"); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(m.Run())
}

func server(ctx context.Context, open Open, args []string) int {
	var specs []workload.Spec
	err := json.NewDecoder(os.Stdin).Decode(&specs)
	var d workload.Driver
	if err == nil {
		d, err = open(ctx, args[0])
	}
	for _, s := range specs {
		if err == nil {
			err = d.Ensure(ctx, s)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Stdout.WriteString("ensured\n") //nolint:errcheck // the test reads what comes
	<-ctx.Done()
	return 0
}

// Kit is a driver on a root of its own, with what a test needs to judge it.
// When the test ends, every instance of the root is stopped.
type Kit struct {
	Root   string
	Driver workload.Driver

	open   Open
	mark   string
	opened []workload.Driver
}

// NewKit opens a driver on a new root.
func NewKit(t testing.TB, open Open) *Kit {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	k := &Kit{Root: root, open: open, mark: root}
	k.Driver = k.Another(t)
	t.Cleanup(func() { k.stopAll(t) })
	return k
}

// Another opens one more driver on the same root, as a restarted server does.
func (k *Kit) Another(t testing.TB) workload.Driver {
	t.Helper()
	d, err := k.open(t.Context(), k.Root)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	k.opened = append(k.opened, d)
	return d
}

// stopAll leaves nothing running, whatever the test did, and nobody who may write
// into the root, which is removed next.
func (k *Kit) stopAll(t testing.TB) {
	for _, d := range k.opened {
		if c, ok := d.(io.Closer); ok {
			if err := c.Close(); err != nil {
				t.Errorf("Close to clean up: %v", err)
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	d, err := k.open(ctx, k.Root)
	if err != nil {
		t.Errorf("open to clean up: %v", err)
		return
	}
	list, err := d.List(ctx)
	if err != nil {
		t.Errorf("List to clean up: %v", err)
	}
	for _, s := range list {
		if err := d.Stop(ctx, s.Spec.ID); err != nil {
			t.Errorf("Stop(%s) to clean up: %v", s.Spec.ID, err)
		}
	}
	k.Eventually(t, "no process to be left after every instance was stopped", func() bool { return len(k.Running("")) == 0 && k.deserted() })
	if c, ok := d.(io.Closer); ok {
		if err := c.Close(); err != nil {
			t.Errorf("Close to clean up: %v", err)
		}
	}
}

// deserted reports whether no process was started with the root, or a folder in it,
// as an argument: servers of the suite are, and what keeps an instance running may be.
func (k *Kit) deserted() bool {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is good
	return !slices.ContainsFunc(files, func(file string) bool {
		b, err := os.ReadFile(file)
		return err == nil && bytes.Contains(b, []byte("\x00"+k.Root))
	})
}

// Spec returns the spec of an instance of the suite's application, checked by
// HTTP. Its processes carry a mark by which Running finds them.
func (k *Kit) Spec(t testing.TB, id workload.ID, m Mode, arg string) workload.Spec {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return workload.Spec{
		ID: id, Service: "shop", Env: "prod", Release: "r0123456789abcdef", Version: "v1", Change: 1,
		Bundle: t.TempDir(),
		Run: delivery.RunSpec{
			Command: []string{exe, appWord, string(m)},
			Health:  delivery.Health{HTTP: "/healthz", Interval: 100 * time.Millisecond, Timeout: 5 * time.Second, Rise: 2, Fall: 2},
			Stop:    delivery.Stop{Grace: 20 * time.Second},
		},
		Vars: map[string]string{"ARG": arg, "MARK": k.markOf(id)},
	}
}

func (k *Kit) markOf(id workload.ID) string { return k.mark + "#" + string(id) }

// Running lists the processes of an instance, or of all if id is empty, by the
// mark in their environment. The driver's own processes do not carry it.
func (k *Kit) Running(id workload.ID) []int {
	want := "MARK=" + k.mark + "#"
	if id != "" {
		want = "MARK=" + k.markOf(id)
	}
	files, _ := filepath.Glob("/proc/[0-9]*/environ") // the pattern is good
	var pids []int
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for v := range bytes.SplitSeq(b, []byte{0}) {
			if string(v) == want || id == "" && strings.HasPrefix(string(v), want) {
				if pid, err := strconv.Atoi(strings.Split(f, "/")[2]); err == nil {
					pids = append(pids, pid)
				}
			}
		}
	}
	return pids
}

// Ensure calls Ensure and fails the test on an error.
func (k *Kit) Ensure(t testing.TB, s workload.Spec) {
	t.Helper()
	if err := k.Driver.Ensure(t.Context(), s); err != nil {
		t.Fatalf("Ensure(%s): %v", s.ID, err)
	}
}

// Stop calls Stop and fails the test on an error.
func (k *Kit) Stop(t testing.TB, id workload.ID) {
	t.Helper()
	if err := k.Driver.Stop(t.Context(), id); err != nil {
		t.Fatalf("Stop(%s): %v", id, err)
	}
}

// Status returns the status of one instance; its Phase is empty if it is not listed.
func (k *Kit) Status(t testing.TB, id workload.ID) workload.Status {
	t.Helper()
	list, err := k.Driver.List(t.Context())
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	for _, s := range list {
		if s.Spec.ID == id {
			return s
		}
	}
	return workload.Status{}
}

// Await waits until the status of an instance is as wanted and returns it.
func (k *Kit) Await(t testing.TB, id workload.ID, what string, ok func(workload.Status) bool) workload.Status {
	t.Helper()
	var s workload.Status
	seen := false
	defer func() {
		if !seen {
			t.Logf("last status of %s: %+v", id, s)
		}
	}()
	k.Eventually(t, string(id)+" to be "+what, func() bool {
		s = k.Status(t, id)
		seen = ok(s)
		return seen
	})
	return s
}

// AwaitPhase waits until an instance is in a phase.
func (k *Kit) AwaitPhase(t testing.TB, id workload.ID, p workload.Phase) workload.Status {
	t.Helper()
	return k.Await(t, id, string(p), func(s workload.Status) bool { return s.Phase == p })
}

// patience is how long a noisy machine gets for what must happen.
const patience = 30 * time.Second

// Eventually polls until ok or fails the test.
func (k *Kit) Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(patience)
	defer late.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-late.C:
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}

// Get asks an instance and returns what it answered.
func (k *Kit) Get(t testing.TB, s workload.Status, path string) string {
	t.Helper()
	got, err := fetch(t.Context(), s.Addr, path)
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return got
}

func fetch(ctx context.Context, addr, path string) (string, error) {
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return "", err
	}
	res, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close() // read only
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

// StartServer starts another process that opens the root and ensures specs. It
// is killed when the test ends; ensured closes when it is done with all specs.
func (k *Kit) StartServer(t testing.TB, specs ...workload.Spec) (cmd *exec.Cmd, ensured <-chan struct{}) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in, err := json.Marshal(specs)
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(exe, serverWord, k.Root)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // it may have been killed before
		cmd.Wait()         //nolint:errcheck // killed
	})
	done := make(chan struct{})
	go func() {
		if n, _ := out.Read(make([]byte, 16)); n > 0 {
			close(done)
		}
	}()
	return cmd, done
}
