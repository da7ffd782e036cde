package proxy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/porttest"
	"github.com/slipway-cd/slipway/internal/traffic"
	driver "github.com/slipway-cd/slipway/internal/traffic/proxy"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

// 200 changes of weights and instances under clients that never repeat a
// request: none fails.
func TestChangesUnderLoadLoseNothing(t *testing.T) {
	t.Parallel()
	w := world(t)
	var olds, news []*traffictest.Instance
	for i := range 3 {
		olds = append(olds, w.Instance(fmt.Sprintf("old.%d", i), "r1", "v1"))
		news = append(news, w.Instance(fmt.Sprintf("new.%d", i), "r2", "v2"))
	}
	pool := func(all []*traffictest.Instance, weight delivery.Weight) traffic.Pool {
		p := traffictest.Share(all[0], weight)
		for _, in := range all[1:] {
			if rand.IntN(2) == 0 {
				p.Endpoints = append(p.Endpoints, traffic.Endpoint{ID: in.ID, Addr: in.Addr})
			}
		}
		return p
	}
	one(w, pool(olds, delivery.Full))
	ctx, stop := context.WithCancel(t.Context())
	var fresh atomic.Int64
	count := func(_, body string) {
		if body == "r2" {
			fresh.Add(1)
		}
	}
	get := hammer(ctx, t, 8, w.Addr, http.MethodGet, count)
	post := hammer(ctx, t, 8, w.Addr, http.MethodPost, count)
	const changes = 200
	for range changes {
		weight := delivery.Weight(rand.IntN(int(delivery.Full) + 1))
		if rand.IntN(4) == 0 {
			rand.Shuffle(len(news), func(i, j int) { news[i], news[j] = news[j], news[i] })
		}
		one(w, pool(news, weight), pool(olds, delivery.Full-weight))
		pause(t.Context(), 2*time.Millisecond)
	}
	stop()
	asked := get() + post()
	t.Logf("%d changes, %d requests, %d of them to the new release", changes, asked, fresh.Load())
	if asked < changes || fresh.Load() == 0 {
		t.Errorf("%d requests, %d to the new release: that is no load", asked, fresh.Load())
	}
}

// An instance that dies under load costs idempotent requests nothing.
func TestInstanceKilledUnderLoad(t *testing.T) {
	t.Parallel()
	w := world(t)
	stay := w.Instance("stay", "r1", "v1")
	kill := make(chan struct{})
	victim := backend(t, "victim", func(rw http.ResponseWriter, _ *http.Request) {
		select {
		case <-kill:
			panic(http.ErrAbortHandler) // in flight: dies without a byte
		default:
			_, _ = rw.Write([]byte("r1"))
		}
	})
	p := traffictest.Share(stay, delivery.Full)
	p.Endpoints = append(p.Endpoints, victim.Endpoints...)
	p.Check = traffic.Check{Interval: 50 * time.Millisecond, Fall: 2}
	one(w, p)
	ctx, stop := context.WithCancel(t.Context())
	var answered atomic.Int64
	wait := hammer(ctx, t, 12, w.Addr, http.MethodGet, func(string, string) { answered.Add(1) })
	await(t, "a load that allows for the retries of all twelve", func() bool { return answered.Load() > 200 })
	close(kill)
	await(t, "the victim to be ejected", func() bool { return w.State().Routes[0].Pools[0].Healthy == 1 })
	pause(t.Context(), 200*time.Millisecond)
	stop()
	if n := wait(); n == 0 {
		t.Error("nobody asked")
	}
}

// A candidate that is dead costs its callers nothing, and it is charged for each.
func TestDeadCandidateIsChargedAndItsCallersAreSaved(t *testing.T) {
	t.Parallel()
	w := world(t)
	stable := w.Instance("stable", "r1", "v1")
	dead := traffic.Pool{Release: "r2", Version: "v2", Weight: 5000, Endpoints: []traffic.Endpoint{{ID: "dead", Addr: porttest.Free(t)}}, Check: traffic.Check{Interval: 100 * time.Millisecond, Fall: 2}}
	one(w, dead, traffictest.Share(stable, 5000))
	const n = 200
	for i := range n {
		c := &plain{addr: w.Addr}
		code, body, err := c.ask(t.Context(), http.MethodPost, "shop", "/", fmt.Sprint("user-", i))
		c.close()
		if err != nil || code != http.StatusOK || body != "r1" {
			t.Fatalf("POST = %d %q, %v, want 200 by the stable release", code, body, err)
		}
	}
	await(t, "the check to notice", func() bool { return w.State().Routes[0].Pools[0].Healthy == 0 })
	if why := w.State().Routes[0].Pools[0].Endpoints[0].Why; why == "" {
		t.Error("State does not say why the candidate is not healthy")
	}
	w.AwaitBlocks("the charge", func(all map[traffictest.BlockKey]traffic.Block) bool {
		var charged, ok, stableBad, sum uint64
		for k, b := range all {
			sum += b.Requests
			switch k.Release {
			case "r2":
				charged += b.Connect
				ok += b.OK
			case "r1":
				stableBad += b.UnitsBad
			}
		}
		return sum == n && charged > n/4 && ok == 0 && stableBad == 0
	})
}

// With every instance of the only pool dead the answer says so, and comes at once.
func TestAllDeadAnswersProblem(t *testing.T) {
	t.Parallel()
	w := world(t)
	one(w, traffic.Pool{Release: "r1", Weight: delivery.Full, Endpoints: []traffic.Endpoint{{ID: "dead", Addr: porttest.Free(t)}}})
	code, body := w.Ask("shop", "")
	var p struct{ Code, Detail, Hint string }
	if err := json.Unmarshal([]byte(body), &p); err != nil || code != http.StatusBadGateway || p.Code != "no_connection" || p.Hint == "" {
		t.Errorf("answer = %d %s, want a 502 problem with a hint", code, body)
	}
}

// SIGKILL of the data plane's process loses no acknowledged table.
func TestKilledDataPlaneComesBackWithTheLastTable(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	run := func() *exec.Cmd {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		awaitPlane(t, dir)
		return cmd
	}
	kill := func(cmd *exec.Cmd) {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // says "killed"
	}
	cmd := run()
	w := traffictest.NewWorld(t, driver.New(filepath.Join(dir, "s")))
	v1, v2 := w.Instance("v1", "r1", "v1"), w.Instance("v2", "r2", "v2")
	one(w, traffictest.Share(v1, delivery.Full))
	for i := range 3 {
		weight := delivery.Weight(1000 * (i + 1))
		one(w, traffictest.Share(v2, weight), traffictest.Share(v1, delivery.Full-weight))
		first := w.State()
		kill(cmd)
		cmd = run()
		await(t, "the listener", func() bool { code, _ := w.Ask("shop", ""); return code == http.StatusOK })
		s := w.State()
		if s.Generation != first.Generation || s.Routes[0].Split[0].Weight != weight || s.PID == first.PID {
			t.Errorf("after SIGKILL State = %+v, want generation %d and %s in another process", s, first.Generation, weight)
		}
	}
	kill(cmd)
}

// A stop lets what runs finish and tells clients to close, so that none loses a
// request to a closed idle connection.
func TestStopLosesNothing(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	end := serve(t, dir)
	w := traffictest.NewWorld(t, driver.New(filepath.Join(dir, "s")))
	v1 := w.Instance("v1", "r1", "v1")
	one(w, traffictest.Share(v1, delivery.Full))
	var served, closed atomic.Int64
	quit := make(chan struct{})
	for range 8 {
		go func() {
			defer func() { quit <- struct{}{} }()
			c := &plain{addr: w.Addr}
			for {
				fresh, began := c.conn == nil, time.Now()
				code, _, err := c.ask(t.Context(), http.MethodPost, "shop", "/", "k")
				if err != nil && (fresh || c.slept(began)) {
					return // the listener is closed: refused before a byte was sent
				}
				if err != nil || code != http.StatusOK {
					t.Errorf("POST = %d, %v", code, err)
					return
				}
				served.Add(1)
				if c.conn == nil {
					closed.Add(1)
				}
				pause(t.Context(), time.Millisecond)
			}
		}()
	}
	await(t, "load", func() bool { return served.Load() > 100 })
	if err := end(); err != nil {
		t.Error(err)
	}
	for range 8 {
		<-quit
	}
	if closed.Load() == 0 {
		t.Error("no answer said Connection: close")
	}
}
