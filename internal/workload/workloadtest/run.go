package workloadtest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cd/slipway/internal/workload"
)

// Run judges a driver: every sentence of workload.Driver is a test here. The
// package under test has a TestMain that calls Main.
func Run(t *testing.T, open Open) {
	for name, test := range map[string]func(*testing.T, *Kit){
		"EnsureRunsWhatTheSpecSays":       ensureRuns,
		"EnsureTwiceIsOnce":               ensureTwice,
		"EnsureFromTwoProcessesIsOnce":    ensureTwoProcesses,
		"EnsureAgainAfterStop":            ensureAfterStop,
		"SlowStartIsStartingThenReady":    slowStart,
		"HealthCheckThatFailsIsTold":      neverReady,
		"HealthCheckThatNeverAnswers":     silent,
		"RedirectIsNotHealthy":            redirects,
		"WrongPortIsTold":                 wrongPort,
		"ReadyAndUnreadyFollowTheCheck":   flapping,
		"Case46_CrashLoopOnlyCountsUp":    crashLoop,
		"Case50_ExitAtOnceIsTold":         exitAtOnce,
		"Case50_UnknownCommandIsTold":     unknownCommand,
		"Case55_StopLetsRequestsFinish":   stopFinishes,
		"Case56_RestartIsSeen":            restartSeen,
		"StopIsGraceful":                  stopGraceful,
		"StopKillsTheStubborn":            stopStubborn,
		"StopTakesTheWholeFamily":         stopForking,
		"StopOfNothingChangesNothing":     stopNothing,
		"StopEndsABackoff":                stopBackoff,
		"AnotherDriverAdopts":             adopts,
		"MemoryLimitHolds":                memoryLimit,
		"UsageIsOfTheWholeFamily":         usage,
		"LogsMergeTailAndFollow":          logs,
		"ChangedRings":                    changed,
		"KillOfTheServerInMidEnsure":      killServer,
		"InstancesWithOneRootAreManyOnes": many,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, NewKit(t, open))
		})
	}
}

func ensureRuns(t *testing.T, k *Kit) {
	spec := k.Spec(t, "prod.shop.r1.0", Healthy, "")
	spec.Vars["GREETING"] = "two words\nand a line"
	k.Ensure(t, spec)
	s := k.AwaitPhase(t, spec.ID, workload.Ready)
	if s.PID == 0 || s.Addr == "" || s.Started.IsZero() || s.Since.IsZero() || s.Restarts != 0 || s.Probe != "" {
		t.Errorf("a ready instance has status %+v", s)
	}
	if s.Spec.Version != "v1" || s.Spec.Change != 1 || s.Spec.Vars["GREETING"] != spec.Vars["GREETING"] {
		t.Errorf("List gives the spec %+v, want %+v", s.Spec, spec)
	}
	if got := k.Get(t, s, "/where"); got != spec.Bundle+" <nil>" {
		t.Errorf("it runs in %s, want %s", got, spec.Bundle)
	}
	env := k.Get(t, s, "/env")
	port := s.Addr[strings.LastIndexByte(s.Addr, ':')+1:]
	want := []string{"PORT=" + port, "GREETING=" + spec.Vars["GREETING"], "MARK=" + spec.Vars["MARK"], "ARG="}
	for _, v := range want {
		if !strings.Contains(env, v) {
			t.Errorf("its environment lacks %q", v)
		}
		env = strings.Replace(env, v, "", 1)
	}
	for line := range strings.Lines(env) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), "=")
		if name != "" && !slices.Contains([]string{"PATH", "HOME", "LANG", "TMPDIR"}, name) {
			t.Errorf("its environment has %s, which is not in the spec", name)
		}
	}
}

// once fails if an instance has not exactly one process.
func (k *Kit) once(t *testing.T, id workload.ID) {
	t.Helper()
	if pids := k.Running(id); len(pids) != 1 {
		t.Errorf("%s has the processes %v, want one", id, pids)
	}
}

func ensureTwice(t *testing.T, k *Kit) {
	spec := k.Spec(t, "prod.shop.r1.0", Healthy, "")
	other := k.Another(t)
	var wg sync.WaitGroup
	for i := range 8 {
		d := []workload.Driver{k.Driver, other}[i%2]
		wg.Go(func() {
			if err := d.Ensure(t.Context(), spec); err != nil {
				t.Errorf("Ensure: %v", err)
			}
		})
	}
	wg.Wait()
	first := k.AwaitPhase(t, spec.ID, workload.Ready)
	k.once(t, spec.ID)
	changed := spec
	changed.Version = "v2"
	k.Ensure(t, changed)
	s := k.Status(t, spec.ID)
	if s.PID != first.PID || s.Spec.Version != "v1" || s.Restarts != 0 {
		t.Errorf("Ensure of what runs made %+v, want it adopted as it is: %+v", s, first)
	}
	k.once(t, spec.ID)
}

func ensureTwoProcesses(t *testing.T, k *Kit) {
	spec := k.Spec(t, "prod.shop.r1.0", Healthy, "")
	_, one := k.StartServer(t, spec)
	_, two := k.StartServer(t, spec)
	for _, done := range []<-chan struct{}{one, two} {
		k.Eventually(t, "both servers to ensure", func() bool { return closed(done) })
	}
	k.AwaitPhase(t, spec.ID, workload.Ready)
	k.once(t, spec.ID)
}

func ensureAfterStop(t *testing.T, k *Kit) {
	spec := k.Spec(t, "prod.shop.r1.0", Stubborn, "")
	spec.Run.Stop.Grace = time.Minute // it is stopping until it is killed below
	k.Ensure(t, spec)
	first := k.AwaitPhase(t, spec.ID, workload.Ready)
	stopped := make(chan error, 1)
	go func() { stopped <- k.Driver.Stop(t.Context(), spec.ID) }()
	k.AwaitPhase(t, spec.ID, workload.Stopping)
	again := spec
	again.Version, again.Run.Stop.Grace = "v2", 300*time.Millisecond
	k.Ensure(t, again) // while it is stopping
	end(t, first.PID)
	if err := <-stopped; err != nil {
		t.Errorf("Stop: %v", err)
	}
	second := k.Await(t, spec.ID, "ready anew", func(s workload.Status) bool { return s.Phase == workload.Ready && s.PID != first.PID })
	if second.Spec.Version != "v2" {
		t.Errorf("after a stop it runs %s, want the new spec", second.Spec.Version)
	}
	k.Stop(t, spec.ID)
	if s := k.Status(t, spec.ID); s.Phase != workload.Stopped && s.Phase != "" {
		t.Errorf("after Stop it is %s", s.Phase)
	}
	again.Version = "v1"
	k.Ensure(t, again) // after it stopped
	if third := k.AwaitPhase(t, spec.ID, workload.Ready); third.Spec.Version != "v1" {
		t.Errorf("after a stop it runs %s, want the newest spec", third.Spec.Version)
	}
	k.once(t, spec.ID)
}

func slowStart(t *testing.T, k *Kit) {
	may := filepath.Join(t.TempDir(), "listen")
	spec := k.Spec(t, "prod.shop.r1.0", Slow, may)
	k.Ensure(t, spec)
	s := k.Await(t, spec.ID, "running", func(s workload.Status) bool { return s.PID != 0 })
	if s.Phase != workload.Starting {
		t.Errorf("before it listens it is %s, want starting", s.Phase)
	}
	if err := os.WriteFile(may, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ready := k.AwaitPhase(t, spec.ID, workload.Ready)
	if ready.PID != s.PID || ready.Restarts != 0 {
		t.Errorf("a slow start became %+v", ready)
	}
}

// told waits until a failed health check is explained.
func (k *Kit) told(t *testing.T, m Mode, words ...string) workload.Status {
	t.Helper()
	spec := k.Spec(t, "prod.shop.r1.0", m, "")
	spec.Run.Health.Timeout = time.Second
	k.Ensure(t, spec)
	s := k.Await(t, spec.ID, "explained by "+strings.Join(words, ", "), func(s workload.Status) bool {
		for _, w := range words {
			if !strings.Contains(s.Probe, w) {
				return false
			}
		}
		return true
	})
	if s.Phase != workload.Starting {
		t.Errorf("it is %s, want starting", s.Phase)
	}
	return s
}

func neverReady(t *testing.T, k *Kit) { k.told(t, NeverReady, "503", "the database is down") }
func silent(t *testing.T, k *Kit)     { k.told(t, Silent, "no answer within 1s") }
func redirects(t *testing.T, k *Kit)  { k.told(t, Redirects, "302", "/login") }

func wrongPort(t *testing.T, k *Kit) {
	s := k.told(t, WrongPort, "listens on ", "not on PORT ")
	if port := s.Addr[strings.LastIndexByte(s.Addr, ':')+1:]; !strings.HasSuffix(s.Probe, "not on PORT "+port) {
		t.Errorf("Probe = %q, want it to name PORT %s", s.Probe, port)
	}
}

func restartSeen(t *testing.T, k *Kit) {
	spec := k.Spec(t, "prod.shop.r1.0", Healthy, "")
	k.Ensure(t, spec)
	first := k.AwaitPhase(t, spec.ID, workload.Ready)
	end(t, first.PID)
	second := k.Await(t, spec.ID, "ready again", func(s workload.Status) bool {
		return s.Phase == workload.Ready && s.Restarts > 0
	})
	if second.Restarts != 1 || second.PID == first.PID || !strings.Contains(second.LastExit, "killed") {
		t.Errorf("after a kill it is %+v", second)
	}
	if second.Addr != first.Addr {
		t.Errorf("it moved from %s to %s", first.Addr, second.Addr)
	}
	k.once(t, spec.ID)
}

// end kills a process that is there.
func end(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
}
