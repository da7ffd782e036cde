package workloadtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/workload"
)

func flapping(t *testing.T, k *Kit) {
	lamp := filepath.Join(t.TempDir(), "healthy")
	light := func() {
		if err := os.WriteFile(lamp, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	spec := k.Spec(t, "prod.shop.r1.0", Flapping, lamp)
	light()
	k.Ensure(t, spec)
	first := k.AwaitPhase(t, spec.ID, workload.Ready)
	for range 2 {
		if err := os.Remove(lamp); err != nil {
			t.Fatal(err)
		}
		s := k.AwaitPhase(t, spec.ID, workload.Unready)
		if !strings.Contains(s.Probe, "flapping") || !s.Since.After(first.Since) {
			t.Errorf("unready it is %+v", s)
		}
		light()
		s = k.AwaitPhase(t, spec.ID, workload.Ready)
		if s.PID != first.PID || s.Restarts != 0 || s.Probe != "" {
			t.Errorf("ready again it is %+v", s)
		}
	}
}

// A loop that is ready for a moment each time must not look like progress:
// Restarts never goes down and the last exit stays in sight.
func crashLoop(t *testing.T, k *Kit) {
	spec := k.Spec(t, "prod.shop.r1.0", Crashing, "400ms")
	spec.Run.Health.Rise = 1
	k.Ensure(t, spec)
	ready, last := false, 0
	k.Await(t, spec.ID, "restarted thrice", func(s workload.Status) bool {
		if s.Restarts < last {
			t.Errorf("Restarts went from %d to %d", last, s.Restarts)
		}
		last = s.Restarts
		ready = ready || s.Phase == workload.Ready
		if s.Restarts > 0 && s.LastExit != "exit status 3" {
			t.Errorf("LastExit = %q after %d restarts", s.LastExit, s.Restarts)
		}
		return s.Restarts >= 3 && ready
	})
}

func exitAtOnce(t *testing.T, k *Kit) {
	spec := k.Spec(t, "prod.shop.r1.0", ExitAtOnce, "")
	k.Ensure(t, spec)
	s := k.Await(t, spec.ID, "in backoff with its last words", func(s workload.Status) bool {
		return s.Phase == workload.Backoff && s.Restarts >= 2 && len(s.Tail) > 0
	})
	if s.LastExit != "exit status 7" || !slices.Contains(s.Tail, "boom: no database") || s.PID != 0 {
		t.Errorf("a version that does not start is %+v", s)
	}
}

func unknownCommand(t *testing.T, k *Kit) {
	spec := k.Spec(t, "prod.shop.r1.0", Healthy, "")
	spec.Run.Command = []string{"./no-such-server"}
	k.Ensure(t, spec)
	s := k.Await(t, spec.ID, "in backoff", func(s workload.Status) bool { return s.Phase == workload.Backoff })
	if !strings.Contains(s.LastExit, "./no-such-server") || s.Restarts == 0 {
		t.Errorf("LastExit = %q after %d restarts, want it to name the command", s.LastExit, s.Restarts)
	}
	spec = k.Spec(t, "prod.shop.r1.1", Healthy, "")
	spec.Run.Command = nil
	if err := k.Driver.Ensure(t.Context(), spec); err == nil {
		t.Error("Ensure without a command is taken")
	}
}

func stopFinishes(t *testing.T, k *Kit) {
	spec := k.Spec(t, "prod.shop.r1.0", Healthy, "")
	k.Ensure(t, spec)
	s := k.AwaitPhase(t, spec.ID, workload.Ready)
	answer := make(chan string, 1)
	go func() {
		got, err := fetch(t.Context(), s.Addr, "/takes?for=500ms")
		answer <- fmt.Sprint(got, err)
	}()
	k.Eventually(t, "the request to be under way", func() bool { return k.Get(t, s, "/busy") == "1" })
	k.Stop(t, spec.ID)
	if got := <-answer; got != "done <nil><nil>" {
		t.Errorf("the request in flight got %q", got)
	}
}

func stopGraceful(t *testing.T, k *Kit) {
	spec := k.Spec(t, "prod.shop.r1.0", Healthy, "")
	k.Ensure(t, spec)
	k.AwaitPhase(t, spec.ID, workload.Ready)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := k.Driver.Stop(t.Context(), spec.ID); err != nil {
				t.Errorf("Stop: %v", err)
			}
		})
	}
	wg.Wait()
	if pids := k.Running(spec.ID); len(pids) != 0 {
		t.Errorf("after Stop there are still %v", pids)
	}
	s := k.Status(t, spec.ID)
	if s.Phase != workload.Stopped && s.Phase != "" || s.PID != 0 {
		t.Errorf("after Stop it is %+v", s)
	}
	if s.Phase == workload.Stopped && (s.LastExit != "exit status 0" || s.Restarts != 0) {
		t.Errorf("it ended with %q and %d restarts, want a graceful end", s.LastExit, s.Restarts)
	}
	k.Stop(t, spec.ID)
}

func stopStubborn(t *testing.T, k *Kit) {
	spec := k.Spec(t, "prod.shop.r1.0", Stubborn, "")
	spec.Run.Stop.Grace = 300 * time.Millisecond
	k.Ensure(t, spec)
	k.AwaitPhase(t, spec.ID, workload.Ready)
	k.Stop(t, spec.ID)
	if pids := k.Running(spec.ID); len(pids) != 0 {
		t.Errorf("after Stop there are still %v", pids)
	}
	if s := k.Status(t, spec.ID); s.Phase == workload.Stopped && !strings.Contains(s.LastExit, "killed") {
		t.Errorf("LastExit = %q, want it to say that it was killed", s.LastExit)
	}
	spec = k.Spec(t, "prod.shop.r1.1", Stubborn, "")
	spec.Run.Stop.Grace = time.Minute
	k.Ensure(t, spec)
	s := k.AwaitPhase(t, spec.ID, workload.Ready)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := k.Driver.Stop(ctx, spec.ID); err == nil {
		t.Error("Stop returned well before the instance was gone, though ctx ended")
	}
	end(t, s.PID)
}

func stopForking(t *testing.T, k *Kit) {
	spec := k.Spec(t, "prod.shop.r1.0", Forking, "")
	k.Ensure(t, spec)
	k.AwaitPhase(t, spec.ID, workload.Ready)
	k.Eventually(t, "its two children to run, one of them in a session of its own", func() bool {
		pids, sessions := k.Running(spec.ID), map[int]bool{}
		for _, pid := range pids {
			if id, err := unix.Getsid(pid); err == nil {
				sessions[id] = true
			}
		}
		return len(pids) == 3 && len(sessions) == 2
	})
	k.Stop(t, spec.ID)
	if pids := k.Running(spec.ID); len(pids) != 0 {
		t.Errorf("after Stop there are still %v", pids)
	}
	if s := k.Status(t, spec.ID); s.Phase == workload.Stopped && s.LastExit != "exit status 0" {
		t.Errorf("LastExit = %q, want every process asked to end before any is killed", s.LastExit)
	}
}

func stopNothing(t *testing.T, k *Kit) {
	for range 2 {
		k.Stop(t, "prod.shop.never.0")
	}
	if list, err := k.Driver.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("List = %v (%v), want nothing", list, err)
	}
}

func stopBackoff(t *testing.T, k *Kit) {
	spec := k.Spec(t, "prod.shop.r1.0", ExitAtOnce, "")
	k.Ensure(t, spec)
	k.AwaitPhase(t, spec.ID, workload.Backoff)
	k.Stop(t, spec.ID)
	if s := k.Status(t, spec.ID); s.Phase != workload.Stopped && s.Phase != "" {
		t.Errorf("after Stop it is %s", s.Phase)
	}
}

func adopts(t *testing.T, k *Kit) {
	ctx, end := context.WithCancel(t.Context())
	first, err := k.open(ctx, k.Root)
	if err != nil {
		t.Fatal(err)
	}
	k.opened = append(k.opened, first)
	spec := k.Spec(t, "prod.shop.r1.0", Healthy, "")
	if err := first.Ensure(ctx, spec); err != nil {
		t.Fatal(err)
	}
	before := k.AwaitPhase(t, spec.ID, workload.Ready)
	end() // the server ends, its instances do not
	k.Driver = k.Another(t)
	if s := k.Status(t, spec.ID); s.PID != before.PID || s.Phase != workload.Ready || !s.Started.Equal(before.Started) {
		t.Errorf("another driver sees %+v, want %+v", s, before)
	}
	k.Ensure(t, spec)
	k.once(t, spec.ID)
	if got := k.Get(t, before, "/"); got != "1" {
		t.Errorf("it answered %q, want the first answer of the same process", got)
	}
	k.Stop(t, spec.ID)
	if pids := k.Running(spec.ID); len(pids) != 0 {
		t.Errorf("after Stop by another driver there are still %v", pids)
	}
}

func memoryLimit(t *testing.T, k *Kit) {
	spec := k.Spec(t, "prod.shop.r1.0", Greedy, "200")
	spec.Run.Limits = delivery.Limits{MemoryBytes: 96 << 20}
	k.Ensure(t, spec)
	s := k.Await(t, spec.ID, "restarted", func(s workload.Status) bool { return s.Restarts > 0 })
	if !strings.Contains(s.LastExit, "memory limit of 96 MiB") {
		t.Errorf("LastExit = %q, want it to name the limit", s.LastExit)
	}
}

func logs(t *testing.T, k *Kit) {
	one, two := k.Spec(t, "prod.shop.r1.0", Talking, "150"), k.Spec(t, "prod.cart.r1.0", Talking, "5")
	two.Service = "cart"
	k.Ensure(t, one)
	k.Ensure(t, two)
	s := k.AwaitPhase(t, one.ID, workload.Ready)
	k.AwaitPhase(t, two.ID, workload.Ready)
	read := func(q workload.LogQuery) (lines []workload.LogLine) {
		t.Helper()
		err := k.Driver.Logs(t.Context(), q, func(l workload.LogLine) bool { lines = append(lines, l); return true })
		if err != nil {
			t.Fatalf("Logs(%+v): %v", q, err)
		}
		return lines
	}
	var all []workload.LogLine
	count := map[workload.ID]int{}
	k.Eventually(t, "150 and 5 lines to be written", func() bool {
		clear(count)
		all = read(workload.LogQuery{Tail: 1000})
		for _, l := range all {
			if l.Stream == "stdout" {
				count[l.ID]++
			}
		}
		return count[one.ID] == 150 && count[two.ID] == 5
	})
	if !slices.IsSortedFunc(all, func(a, b workload.LogLine) int { return a.At.Compare(b.At) }) {
		t.Error("lines of two instances are not in the order of time")
	}
	if n := len(read(workload.LogQuery{Service: "shop"})); n != 100 {
		t.Errorf("without Tail there are %d lines, want 100", n)
	}
	odd := func(l workload.LogLine) bool { return l.Stream == "stdout" && strings.HasSuffix(l.Text, "7") }
	some := read(workload.LogQuery{Service: "shop", Tail: 12, Want: odd})
	if n := len(some); n != 12 || some[0].Text != "line 37" || some[11].Text != "line 147" {
		t.Errorf("the last 12 lines that end in 7 are %d: %v", n, some)
	}
	for _, l := range read(workload.LogQuery{Service: "cart", Env: "prod", Release: two.Release}) {
		if l.ID != two.ID {
			t.Errorf("a line of %s was selected", l.ID)
		}
	}
	if n := len(read(workload.LogQuery{Env: "staging"})); n != 0 {
		t.Errorf("%d lines of an environment that is not there", n)
	}
	ctx, end := context.WithCancel(t.Context())
	asked := false
	err := k.Driver.Logs(ctx, workload.LogQuery{Service: "shop", Tail: 1, Follow: true}, func(l workload.LogLine) bool {
		if !asked {
			asked = true
			k.Get(t, s, "/follow-me")
		}
		if l.Text == "/follow-me" && l.Stream == "stderr" {
			end()
		}
		return true
	})
	if err != nil || ctx.Err() == nil {
		t.Errorf("Logs with Follow = %v, want the new line and a quiet end", err)
	}
	k.Stop(t, one.ID)
	if n := len(read(workload.LogQuery{Service: "shop"})); n != 100 {
		t.Errorf("of a stopped instance there are %d lines, want 100", n)
	}
}

func changed(t *testing.T, k *Kit) {
	for len(k.Driver.Changed()) > 0 {
		<-k.Driver.Changed()
	}
	spec := k.Spec(t, "prod.shop.r1.0", Healthy, "")
	k.Ensure(t, spec)
	late := time.NewTimer(patience)
	defer late.Stop()
	for k.Status(t, spec.ID).Phase != workload.Ready {
		select { // nothing but the bell wakes this loop
		case <-k.Driver.Changed():
		case <-late.C:
			t.Fatal("the bell did not ring until ready")
		}
	}
}

// killRounds is how often a server is killed while it ensures.
const killRounds = 20

// A server that is killed at any moment of Ensure leaves an instance that is
// started once or not at all, and the next server makes it one.
func killServer(t *testing.T, k *Kit) {
	begun := time.Now()
	_, whole := k.StartServer(t, k.Spec(t, "prod.shop.whole.0", Healthy, ""))
	k.Eventually(t, "a server to ensure undisturbed", func() bool { return closed(whole) })
	takes := time.Since(begun) // so long, that kills fall before, into and after Ensure
	early := 0
	for round := range killRounds {
		id := workload.ID(fmt.Sprintf("prod.shop.r%d.0", round))
		spec := k.Spec(t, id, Healthy, "")
		cmd, ensured := k.StartServer(t, spec)
		at := time.NewTimer(time.Duration(rand.Int64N(int64(takes))))
		select {
		case <-at.C:
		case <-ensured:
		}
		if !closed(ensured) {
			early++
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		k.Ensure(t, spec)
		s := k.AwaitPhase(t, id, workload.Ready)
		if pids := k.Running(id); len(pids) != 1 || pids[0] != s.PID {
			t.Errorf("round %d: the instance has the processes %v, List says %d", round, pids, s.PID)
		}
		k.Stop(t, id)
		if pids := k.Running(id); len(pids) != 0 {
			t.Errorf("round %d: after Stop there are still %v", round, pids)
		}
	}
	t.Logf("%d of %d servers were killed before they had ensured", early, killRounds)
}

func closed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

func many(t *testing.T, k *Kit) {
	addrs := map[string]workload.ID{}
	var ids []workload.ID
	for i := range 4 {
		spec := k.Spec(t, workload.ID(fmt.Sprintf("prod.shop.r1.%d", i)), Healthy, "")
		k.Ensure(t, spec)
		ids = append(ids, spec.ID)
	}
	for _, id := range ids {
		s := k.AwaitPhase(t, id, workload.Ready)
		if other, taken := addrs[s.Addr]; taken {
			t.Errorf("%s and %s both serve on %s", id, other, s.Addr)
		}
		addrs[s.Addr] = id
	}
	k.Stop(t, ids[0])
	for _, id := range ids[1:] {
		k.once(t, id)
	}
}
