package process

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/porttest"
	"github.com/slipway-cd/slipway/internal/workload"
	"github.com/slipway-cd/slipway/internal/workload/workloadtest"
)

// newKit opens drivers with a tuning of the test's own.
func newKit(t *testing.T, tune func(*Tuning)) *workloadtest.Kit {
	t.Helper()
	return workloadtest.NewKit(t, func(ctx context.Context, root string) (workload.Driver, error) {
		o, err := options(root)
		if err != nil {
			return nil, err
		}
		tune(&o.Tuning)
		return Open(ctx, o)
	})
}

func asIs(*Tuning) {}

func shimOf(t *testing.T, k *workloadtest.Kit, id workload.ID) identity {
	t.Helper()
	r, err := folder(filepath.Join(k.Root, string(id))).record()
	if err != nil {
		t.Fatal(err)
	}
	return r.Shim
}

// A version that does not start says why, in words that name the cure.
func TestCase50_UnstartableIsToldPlainly(t *testing.T) {
	t.Parallel()
	k := newKit(t, asIs)
	for name, c := range map[string]struct {
		file    string // made in the bundle
		text    string
		mode    os.FileMode
		command string
		says    string
	}{
		"not-found":      {command: "./server", says: "command not found: ./server is not in the bundle"},
		"not-in-path":    {command: "no-such-program", says: "neither in PATH"},
		"forgot-dot":     {file: "server", text: "#!/bin/sh\n", mode: 0o755, command: "server", says: "write ./server"},
		"not-executable": {file: "server", text: "#!/bin/sh\n", mode: 0o644, command: "./server", says: "chmod +x"},
		"a-folder":       {command: "./.", says: "is a folder"},
		"no-interpreter": {file: "server", text: "#!/no/such/interpreter\n", mode: 0o755, command: "./server", says: "interpreter that is not there"},
		"no-program":     {file: "server", text: "\x00\x01\x02", mode: 0o755, command: "./server", says: "is no program for this machine"},
		"no-bundle":      {command: "./server", says: "deploy the version again"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := k.Spec(t, workload.ID("prod."+name+".r1.0"), workloadtest.Healthy, "")
			spec.Run.Command = []string{c.command}
			if c.file != "" {
				if err := os.WriteFile(filepath.Join(spec.Bundle, c.file), []byte(c.text), c.mode); err != nil {
					t.Fatal(err)
				}
			}
			if name == "no-bundle" {
				spec.Bundle = filepath.Join(spec.Bundle, "gone")
			}
			k.Ensure(t, spec)
			// A child of this test that was just forked may hold the file open for writing, which is told at first.
			s := k.Await(t, spec.ID, "in backoff, since it "+c.says, func(s workload.Status) bool {
				return s.Phase == workload.Backoff && (strings.Contains(s.LastExit, c.says) || !strings.Contains(s.LastExit, "text file busy"))
			})
			if !strings.Contains(s.LastExit, c.says) || s.PID != 0 {
				t.Errorf("LastExit = %q (pid %d), want it to say %q", s.LastExit, s.PID, c.says)
			}
			k.Stop(t, spec.ID)
		})
	}
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", porttest.Free(t))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	k := newKit(t, func(tune *Tuning) { tune.PortLow, tune.PortHigh = port, port })
	spec := k.Spec(t, "prod.shop.r1.0", workloadtest.Healthy, "")
	k.Ensure(t, spec)
	s := k.AwaitPhase(t, spec.ID, workload.Backoff)
	if want := "no free port from " + strconv.Itoa(port); !strings.Contains(s.LastExit, want) {
		t.Errorf("LastExit = %q, want %q", s.LastExit, want)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if s = k.AwaitPhase(t, spec.ID, workload.Ready); s.Addr != l.Addr().String() {
		t.Errorf("it serves on %s, want the port that became free", s.Addr)
	}
}

// A port that somebody took while the instance was down is not waited for.
func TestPortTakenBetweenStarts(t *testing.T) {
	t.Parallel()
	k := newKit(t, asIs)
	spec := k.Spec(t, "prod.shop.r1.0", workloadtest.Healthy, "")
	k.Ensure(t, spec)
	first := k.AwaitPhase(t, spec.ID, workload.Ready)
	shim := shimOf(t, k, spec.ID)
	if err := shim.signal(unix.SIGSTOP); err != nil { // it notices nothing until the port is taken
		t.Fatal(err)
	}
	t.Cleanup(func() { shim.signal(unix.SIGCONT) })
	if err := unix.Kill(first.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	k.Eventually(t, "its port to be taken", func() bool {
		l, err := net.Listen("tcp", first.Addr)
		if err == nil {
			t.Cleanup(func() { l.Close() })
		}
		return err == nil
	})
	if err := shim.signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	k.Await(t, spec.ID, "restarted", func(s workload.Status) bool { return s.Restarts > 0 })
	second := k.AwaitPhase(t, spec.ID, workload.Ready)
	if second.Addr == first.Addr || second.Restarts != 1 {
		t.Errorf("after its port %s was taken it is %+v", first.Addr, second)
	}
}

// What answers on the port must be the instance itself.
func TestAStrangerOnThePortIsNotReady(t *testing.T) {
	t.Parallel()
	stranger, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.NotFoundHandler()}
	go s.Serve(stranger)
	defer s.Close()
	port := stranger.Addr().(*net.TCPAddr).Port
	me, err := identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := notOurs([]identity{me}, port); err != nil {
		t.Errorf("our own listener: %v", err)
	}
	if err := notOurs(nil, port); err == nil || !strings.Contains(err.Error(), "not part of the instance") {
		t.Errorf("a stranger's listener: %v", err)
	}
	if err := refused([]identity{me}, 1); err == nil || !strings.Contains(err.Error(), "listens on ") || !strings.Contains(err.Error(), strconv.Itoa(port)) {
		t.Errorf("refused = %v, want it to name %d", err, port)
	}
}

// A shim that is killed takes its family along and is replaced.
func TestKilledShimIsReplacedAndLeavesNoOrphan(t *testing.T) {
	t.Parallel()
	k := newKit(t, asIs)
	spec := k.Spec(t, "prod.shop.r1.0", workloadtest.Forking, "")
	spec.Run.Stop.Grace = 2 * time.Second
	k.Ensure(t, spec)
	first := k.AwaitPhase(t, spec.ID, workload.Ready)
	k.Eventually(t, "the process that left the session to be written down", func() bool {
		return len(folderRecord(t, k, spec.ID).Strays) == 1
	})
	old := k.Running(spec.ID)
	if len(old) != 3 {
		t.Fatalf("it has the processes %v, want three", old)
	}
	if err := shimOf(t, k, spec.ID).signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := k.Await(t, spec.ID, "ready under a new shim", func(s workload.Status) bool {
		return s.Phase == workload.Ready && s.PID != first.PID
	})
	if second.Restarts != 1 || second.LastExit != "its runner was killed" {
		t.Errorf("after its shim was killed it is %+v", second)
	}
	for _, pid := range k.Running(spec.ID) {
		if slices.Contains(old, pid) {
			t.Errorf("pid %d of the killed shim still runs", pid)
		}
	}
}

// A shim that is killed at any moment of a start leaves one instance, never two.
func TestShimKilledAtAnyMomentOfAStart(t *testing.T) {
	t.Parallel()
	k := newKit(t, asIs)
	spec := k.Spec(t, "prod.shop.r1.0", workloadtest.Healthy, "")
	f := folder(filepath.Join(k.Root, string(spec.ID)))
	for round := range 8 {
		k.Ensure(t, spec)
		at := time.NewTimer(time.Duration(rand.Int64N(int64(60 * time.Millisecond))))
		<-at.C
		if r, err := f.record(); err == nil {
			r.Shim.signal(unix.SIGKILL) // it may not have written itself down yet
			k.Eventually(t, "the shim to be gone", func() bool { return !r.Shim.runs() })
		}
		k.Ensure(t, spec)
		s := k.AwaitPhase(t, spec.ID, workload.Ready)
		if pids := k.Running(spec.ID); len(pids) != 1 || pids[0] != s.PID {
			t.Errorf("round %d: it has the processes %v, List says %d", round, pids, s.PID)
		}
	}
	k.Stop(t, spec.ID)
	if s := k.Status(t, spec.ID); s.Restarts == 0 {
		t.Error("no kill was counted as a restart")
	}
}

func TestStopOfAnInstanceWhoseShimWasKilled(t *testing.T) {
	t.Parallel()
	k := newKit(t, asIs)
	spec := k.Spec(t, "prod.shop.r1.0", workloadtest.Forking, "")
	spec.Run.Stop.Grace = 2 * time.Second
	k.Ensure(t, spec)
	k.AwaitPhase(t, spec.ID, workload.Ready)
	k.Eventually(t, "the process that left the session to be written down", func() bool {
		return len(folderRecord(t, k, spec.ID).Strays) == 1
	})
	if err := shimOf(t, k, spec.ID).signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	k.Stop(t, spec.ID)
	if s := k.Status(t, spec.ID); s.Phase != workload.Stopped {
		t.Errorf("after Stop it is %+v", s)
	}
	if left := k.Running(spec.ID); len(left) != 0 {
		t.Errorf("left running: %v", left)
	}
}

func folderRecord(t *testing.T, k *workloadtest.Kit, id workload.ID) record {
	t.Helper()
	r, err := folder(filepath.Join(k.Root, string(id))).record()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A shim that is told to end, as when the machine goes down, ends its instance
// with grace and leaves it wanted.
func TestShimThatIsToldToEnd(t *testing.T) {
	t.Parallel()
	k := newKit(t, asIs)
	spec := k.Spec(t, "prod.shop.r1.0", workloadtest.Healthy, "")
	k.Ensure(t, spec)
	first := k.AwaitPhase(t, spec.ID, workload.Ready)
	if err := shimOf(t, k, spec.ID).signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	second := k.Await(t, spec.ID, "ready under a new shim", func(s workload.Status) bool {
		return s.Phase == workload.Ready && s.PID != first.PID
	})
	if second.Restarts != 0 {
		t.Errorf("it is %+v, want no restart counted: it did not exit by itself", second)
	}
}

// A server that died between the wish and the shim: the wish counts.
func TestAWishWithoutAShimIsGranted(t *testing.T) {
	t.Parallel()
	k := newKit(t, asIs)
	spec := k.Spec(t, "prod.shop.r1.0", workloadtest.Healthy, "")
	dir := filepath.Join(k.Root, string(spec.ID))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := replace(filepath.Join(dir, specFile), wish{Gen: 1, Run: true, Spec: spec}); err != nil {
		t.Fatal(err)
	}
	k.AwaitPhase(t, spec.ID, workload.Ready) // nobody calls Ensure
	if pids := k.Running(spec.ID); len(pids) != 1 {
		t.Errorf("it has the processes %v, want one", pids)
	}
}

func TestRemovedFolderEndsItsInstance(t *testing.T) {
	t.Parallel()
	k := newKit(t, asIs)
	spec := k.Spec(t, "prod.shop.r1.0", workloadtest.Healthy, "")
	k.Ensure(t, spec)
	k.AwaitPhase(t, spec.ID, workload.Ready)
	k.Eventually(t, "its folder to be removed, though some of it may be written anew meanwhile", func() bool {
		return os.RemoveAll(filepath.Join(k.Root, string(spec.ID))) == nil
	})
	k.Eventually(t, "its process to end", func() bool { return len(k.Running(spec.ID)) == 0 })
}

func TestUnreadableStateIsNoObstacle(t *testing.T) {
	t.Parallel()
	k := newKit(t, asIs)
	spec := k.Spec(t, "prod.shop.r1.0", workloadtest.Healthy, "")
	k.Ensure(t, spec)
	k.AwaitPhase(t, spec.ID, workload.Ready)
	k.Stop(t, spec.ID)
	for _, name := range []string{stateFile, specFile} {
		if err := os.WriteFile(filepath.Join(k.Root, string(spec.ID), name), []byte(`{"gen":`), 0o600); err != nil {
			t.Fatal(err)
		}
		if s := k.Status(t, spec.ID); name == specFile && !strings.Contains(s.Probe, "spec cannot be read") {
			t.Errorf("List with a torn spec gives %+v, want it to say so", s)
		}
		k.Ensure(t, spec)
		k.AwaitPhase(t, spec.ID, workload.Ready)
		if name == specFile { // torn while it runs
			if err := os.WriteFile(filepath.Join(k.Root, string(spec.ID), name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		k.Stop(t, spec.ID)
		if pids := k.Running(spec.ID); len(pids) != 0 {
			t.Errorf("after Stop there are still %v", pids)
		}
	}
}

func TestPruneRemovesOnlyWhatIsStoppedAndNotKept(t *testing.T) {
	t.Parallel()
	k := newKit(t, asIs)
	specs := map[string]workload.Spec{}
	for _, id := range []string{"running", "kept", "old"} {
		specs[id] = k.Spec(t, workload.ID(id), workloadtest.Healthy, "")
		k.Ensure(t, specs[id])
	}
	for id := range specs {
		k.AwaitPhase(t, workload.ID(id), workload.Ready)
	}
	k.Stop(t, "kept")
	k.Stop(t, "old")
	gone, err := k.Driver.(*Driver).Prune(t.Context(), func(s workload.Spec) bool { return s.ID == "kept" })
	if err != nil || !slices.Equal(gone, []workload.ID{"old"}) {
		t.Fatalf("Prune = %v (%v), want old", gone, err)
	}
	list, err := k.Driver.List(t.Context())
	if err != nil || len(list) != 2 {
		t.Errorf("List = %v (%v), want two", list, err)
	}
	if k.Status(t, "running").Phase != workload.Ready {
		t.Error("Prune touched what runs")
	}
	k.Ensure(t, specs["old"])
	k.AwaitPhase(t, "old", workload.Ready)
}

// The application inherits three descriptors and no more.
func TestNoDescriptorLeaks(t *testing.T) {
	t.Parallel()
	var leak [2]int
	if err := unix.Pipe(leak[:]); err != nil { // without close-on-exec, as a careless parent leaves them
		t.Fatal(err)
	}
	defer unix.Close(leak[0])
	defer unix.Close(leak[1])
	k := newKit(t, asIs)
	spec := k.Spec(t, "prod.shop.r1.0", workloadtest.Healthy, "")
	spec.Run.Command = []string{"/bin/sh", "-c", "ls /proc/$$/fd; exec tail -f /dev/null"}
	spec.Run.Health = delivery.Health{}
	k.Ensure(t, spec)
	k.AwaitPhase(t, spec.ID, workload.Ready)
	var fds []string
	k.Eventually(t, "it to list its descriptors", func() bool {
		fds = nil
		err := k.Driver.Logs(t.Context(), workload.LogQuery{}, func(l workload.LogLine) bool {
			if l.Stream == "stdout" {
				fds = append(fds, l.Text)
			}
			return true
		})
		return err == nil && len(fds) >= 3
	})
	for _, fd := range fds {
		if n, err := strconv.Atoi(fd); err != nil || n > 2 && n < 10 { // the shell's own are above nine
			t.Errorf("the application has the descriptors %q", fds)
		}
	}
	entries, err := os.ReadDir("/proc/" + strconv.Itoa(shimOf(t, k, spec.ID).PID) + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	var mine, its unix.Stat_t
	if err := unix.Fstat(leak[0], &mine); err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		p := "/proc/" + strconv.Itoa(shimOf(t, k, spec.ID).PID) + "/fd/" + e.Name()
		if unix.Stat(p, &its) == nil && its.Ino == mine.Ino && its.Dev == mine.Dev {
			t.Errorf("the shim holds the server's pipe as descriptor %s", e.Name())
		}
	}
}

func TestHealthCommand(t *testing.T) {
	t.Parallel()
	k := newKit(t, asIs)
	spec := k.Spec(t, "prod.shop.r1.0", workloadtest.Healthy, "")
	lamp := filepath.Join(t.TempDir(), "lamp")
	spec.Run.Health = delivery.Health{Command: []string{"sh", "-c", `test -e ` + lamp + ` || { echo "no lamp, port $PORT"; exit 4; }`}, Interval: 50 * time.Millisecond, Timeout: 20 * time.Second}
	k.Ensure(t, spec)
	s := k.Await(t, spec.ID, "told", func(s workload.Status) bool { return strings.Contains(s.Probe, "no lamp") })
	if port := s.Addr[strings.LastIndexByte(s.Addr, ':')+1:]; !strings.Contains(s.Probe, "exit status 4") || !strings.Contains(s.Probe, "port "+port) {
		t.Errorf("Probe = %q", s.Probe)
	}
	if err := os.WriteFile(lamp, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	k.AwaitPhase(t, spec.ID, workload.Ready)
}

func TestHealthCommandThatHangsIsKilled(t *testing.T) {
	t.Parallel()
	k := newKit(t, asIs)
	spec := k.Spec(t, "prod.shop.r1.0", workloadtest.Healthy, "")
	spec.Run.Health = delivery.Health{Command: []string{"sh", "-c", "sleep 600; true"}, Interval: 50 * time.Millisecond, Timeout: 200 * time.Millisecond}
	k.Ensure(t, spec)
	k.Await(t, spec.ID, "told", func(s workload.Status) bool { return strings.Contains(s.Probe, "not done within 200ms") })
	k.Stop(t, spec.ID)
	if pids := k.Running(spec.ID); len(pids) != 0 {
		t.Errorf("after Stop there are still %v", pids)
	}
}

func TestTCPCheckAndLimits(t *testing.T) {
	t.Parallel()
	k := newKit(t, asIs)
	spec := k.Spec(t, "prod.shop.r1.0", workloadtest.Healthy, "")
	spec.Run.Health = delivery.Health{TCP: true}
	spec.Run.Limits = delivery.Limits{OpenFiles: 333, Processes: 200, CPUs: 1.5, MemoryBytes: 1 << 30}
	k.Ensure(t, spec)
	s := k.AwaitPhase(t, spec.ID, workload.Ready)
	if got := k.Get(t, s, "/files"); !strings.HasSuffix(got, " 333 <nil>") {
		t.Errorf("its limit of open files is %q, want 333", got)
	}
	if words := folderRecord(t, k, spec.ID).Limits; len(words) != 4 {
		t.Errorf("the state says the limits %q, want four", words)
	}
}

// Where no control group can be made, the shim watches.
func TestMemoryIsWatchedWithoutControlGroups(t *testing.T) {
	t.Parallel()
	k := newKit(t, func(tune *Tuning) { tune.NoGroups = true })
	spec := k.Spec(t, "prod.shop.r1.0", workloadtest.Greedy, "200")
	spec.Run.Limits = delivery.Limits{MemoryBytes: 96 << 20}
	k.Ensure(t, spec)
	s := k.Await(t, spec.ID, "restarted", func(s workload.Status) bool { return s.Restarts > 0 })
	if !strings.HasPrefix(s.LastExit, "killed: over its memory limit of 96 MiB (RSS ") {
		t.Errorf("LastExit = %q, want the limit and the RSS", s.LastExit)
	}
	if words := folderRecord(t, k, spec.ID).Limits; !slices.Contains(words, "memory 96 MiB by sampling its RSS") {
		t.Errorf("the state says the limits %q", words)
	}
	few := k.Spec(t, "prod.shop.r1.1", workloadtest.Forking, "")
	few.Run.Limits = delivery.Limits{Processes: 2}
	k.Ensure(t, few)
	s = k.Await(t, few.ID, "restarted", func(s workload.Status) bool { return s.Restarts > 0 })
	if s.LastExit != "killed: over its limit of 2 processes (3)" {
		t.Errorf("LastExit = %q, want the limit of processes", s.LastExit)
	}
	k.Stop(t, spec.ID)
	k.Stop(t, few.ID)
}

func TestOpenAndEnsureRefuse(t *testing.T) {
	t.Parallel()
	if _, err := Open(t.Context(), Options{Root: t.TempDir(), Log: slog.New(slog.DiscardHandler)}); !errors.Is(err, delivery.ErrInvalid) {
		t.Errorf("Open without a shim = %v", err)
	}
	o, err := options(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	o.Shim = []string{filepath.Join(t.TempDir(), "no-such-binary")}
	d, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	spec := workload.Spec{ID: "a", Bundle: "/", Run: delivery.RunSpec{Command: []string{"true"}}}
	if err := d.Ensure(t.Context(), spec); !errors.Is(err, delivery.ErrInvalid) || !strings.Contains(err.Error(), "no-such-binary") {
		t.Errorf("Ensure without a shim binary = %v", err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	o.Shim = []string{"/bin/sh", "-c", "echo the shim is broken >&2; exit 1"}
	if d, err = Open(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Ensure(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "the shim is broken") {
		t.Errorf("Ensure with a broken shim = %v, want its last words", err)
	}
	if err := d.Stop(t.Context(), spec.ID); err != nil {
		t.Error(err)
	}
	for _, id := range []workload.ID{"", "..", ".hidden", "a/b", "../a", workload.ID(strings.Repeat("x", 201))} {
		spec.ID = id
		if err := d.Ensure(t.Context(), spec); !errors.Is(err, delivery.ErrInvalid) {
			t.Errorf("Ensure(%q) = %v, want it refused", id, err)
		}
	}
}
