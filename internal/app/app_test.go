package app_test

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/app"
	"github.com/slipway-cd/slipway/internal/cli"
	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/porttest"
)

// quick is a way to roll out that needs no traffic to be proven.
const quick = "{strategy: canary, steps: [{weight: 20, hold: 300ms, proven: false}, {weight: 100, hold: 100ms, proven: false}], soak: 200ms, window: 1m, deadline: 2m}"

// A release goes through every environment and is reached in each; services
// find each other, and are told who they are.
func TestTwoServicesInTwoEnvironments(t *testing.T) {
	h := build(t, quick, "staging", "prod")
	a := h.deploy("api", manners{Version: "v1"}, nil)
	b := h.deploy("web", manners{Version: "w1"}, nil)
	for _, id := range []delivery.RolloutID{h.id(a, "staging"), h.id(b, "staging"), h.id(a, "prod"), h.id(b, "prod")} {
		if r := h.ended(id); r.State != delivery.Done {
			t.Fatalf("%s = %s: %s", id, r.State, r.Reason)
		}
	}
	for _, env := range []string{"staging", "prod"} {
		if code, body := h.get(env, "", "/"); code != 200 || body != "v1 hello" {
			t.Errorf("%s: api = %d %q, want 200 \"v1 hello\"", env, code, body)
		}
		if code, body := h.get(env, "web.localhost", "/call?to=API_URL"); code != 200 || body != "v1 hello" {
			t.Errorf("%s: web calls api = %d %q, want 200 \"v1 hello\"", env, code, body)
		}
		_, vars := h.get(env, "web.localhost", "/env")
		for _, want := range []string{"service.name=web", "service.version=w1", "deployment.environment.name=" + env, "slipway.change=2", "PORT=", "API_URL=http://127.0.0.1:"} {
			if !strings.Contains(vars, want) {
				t.Errorf("%s: the environment of web lacks %s", env, want)
			}
		}
		for _, no := range []string{"SLIPWAY_TOKEN", "SSH_", "SHIM"} {
			if strings.Contains(vars, no) {
				t.Errorf("%s: the environment of web holds %s", env, no)
			}
		}
	}
	h.until("the call from web to api is known", func() bool {
		var out struct{ Items []control.Call }
		err := h.api.Do(t.Context(), "GET", "/services/api/calls", nil, &out)
		for _, c := range out.Items {
			if c.Env == "prod" && c.Caller == "web" && c.Callee == "api" && c.Requests > 0 {
				return true
			}
		}
		return err != nil
	}, func() string { return "" })
}

// Up twice is up once; the server may be killed, and what ran goes on as it was.
func TestServerKilledAndAdopted(t *testing.T) {
	h := build(t, quick, "prod")
	if r := h.ended(h.id(h.deploy("api", manners{Version: "v1"}, nil), "prod")); r.State != delivery.Done {
		t.Fatal(r.Reason)
	}
	pids := h.pids()
	l := h.load("prod", 4)
	one := h.up()
	if two := h.up(); two.Started || two.ServerPID != one.ServerPID || two.ProxyPID != one.ProxyPID {
		t.Errorf("up twice: %+v then %+v", one, two)
	}
	s := h.deploy("api", manners{Version: "v2"}, func(s *control.Submission) {
		s.Strategy = &delivery.Override{Kind: delivery.Canary, Steps: []delivery.StepSpec{{Weight: 2000, Hold: 2 * time.Second}, {Weight: delivery.Full}}}
	})
	h.until("v2 has traffic", func() bool {
		live, err := h.api.Live(t.Context(), h.id(s, "prod"))
		return err == nil && !live.Rollout.Exposed.IsZero()
	}, func() string { return "" })
	if err := syscall.Kill(one.ServerPID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if own, err := app.Listening(t.Context(), h.state); err != nil || !slices.Contains(own, h.port["prod"]) {
		t.Errorf("without a server the data plane listens on %v, %v; want %s among them", own, err, h.port["prod"])
	}
	again := h.up()
	if again.ServerPID == one.ServerPID || again.ProxyPID != one.ProxyPID {
		t.Errorf("after the kill: %+v, before %+v", again, one)
	}
	if r := h.ended(h.id(s, "prod")); r.State != delivery.Done {
		t.Errorf("v2 = %s: %s", r.State, r.Reason)
	}
	all, bad, first := l.end()
	if bad > 0 || all < 50 {
		t.Errorf("%d of %d requests failed, the first: %s", bad, all, first)
	}
	for id, pid := range pids {
		if now, ok := h.pids()[id]; ok && now != pid {
			t.Errorf("%s was started again: pid %d, was %d", id, now, pid)
		}
	}
}

func (h *home) pids() map[string]int {
	h.t.Helper()
	out := map[string]int{}
	var page struct{ Items []delivery.Rollout }
	if err := h.api.Do(h.t.Context(), "GET", "/rollouts", nil, &page); err != nil {
		h.t.Fatal(err)
	}
	for _, r := range page.Items {
		live, err := h.api.Live(h.t.Context(), r.ID)
		if err != nil {
			h.t.Fatal(err)
		}
		for _, i := range live.Instances {
			out[string(i.Spec.ID)] = i.PID
		}
	}
	return out
}

// A data plane whose process is gone is started again with the table it had.
func TestDataPlaneComesBack(t *testing.T) {
	h := build(t, quick, "prod")
	if r := h.ended(h.id(h.deploy("api", manners{Version: "v1"}, nil), "prod")); r.State != delivery.Done {
		t.Fatal(r.Reason)
	}
	if err := syscall.Kill(h.up().ProxyPID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	h.until("api answers again", func() bool {
		code, body := h.get("prod", "", "/")
		return code == 200 && body == "v1 hello"
	}, func() string { return "" })
	if r := h.ended(h.id(h.deploy("api", manners{Version: "v2"}, nil), "prod")); r.State != delivery.Done {
		t.Fatalf("after the data plane came back: %s: %s", r.State, r.Reason)
	}
}

// The judge sees what a health check does not, with its whole chain real.
func TestBadReleaseIsCaught(t *testing.T) {
	h := build(t, "{strategy: canary, steps: [{weight: 50, hold: 1s}, {weight: 100, hold: 0s}], soak: 0s, window: 1m, deadline: 2m}", "prod")
	if r := h.ended(h.id(h.deploy("api", manners{Version: "v1"}, nil), "prod")); r.State != delivery.Done {
		t.Fatal(r.Reason)
	}
	l := h.load("prod", 8)
	r := h.ended(h.id(h.deploy("api", manners{Version: "v2", Fail: 0.5}, nil), "prod"))
	if r.State != delivery.Reverted || r.Cause.Kind != delivery.CauseVerdict {
		t.Fatalf("v2 = %s by %s: %s", r.State, r.Cause.Kind, r.Reason)
	}
	if _, bad, first := l.end(); bad == 0 || !strings.Contains(first, "lost") {
		t.Errorf("%d failed, the first: %s; want those of v2 alone", bad, first)
	}
	_, err := h.try("api", manners{Version: "v2", Fail: 0.5}, nil)
	if no := (*client.Problem)(nil); !errors.As(err, &no) || no.Code != string(delivery.CodeQuarantined) || no.Hint != "slipway release api v2" {
		t.Errorf("deploy of what is held = %v, want a refusal that names the next command", err)
	}
	if code, body := h.get("prod", "", "/"); code != 200 || body != "v1 hello" {
		t.Errorf("api = %d %q, want v1", code, body)
	}
}

// A version that does not start, and one whose health check never answers, go
// back within the deadline, and say why.
func TestVersionThatDoesNotStart(t *testing.T) {
	h := build(t, quick, "prod")
	if r := h.ended(h.id(h.deploy("api", manners{Version: "v1"}, nil), "prod")); r.State != delivery.Done {
		t.Fatal(r.Reason)
	}
	h.put(strings.Replace(h.yaml, "deadline: 2m", "deadline: 8s", 1)) // a good one may need longer on a busy machine
	for _, tt := range []struct {
		how  manners
		want string
	}{
		{manners{Version: "v2", Die: "no such table: orders"}, "no such table: orders"},
		{manners{Version: "v3", Sick: true}, "503"},
	} {
		r := h.ended(h.id(h.deploy("api", tt.how, nil), "prod"))
		if r.State != delivery.Reverted || !r.Exposed.IsZero() || !strings.Contains(r.Cause.Text, tt.want) {
			t.Errorf("%s = %s, exposed %v: %s; want reverted, never exposed, with %q", tt.how.Version, r.State, !r.Exposed.IsZero(), r.Cause.Text, tt.want)
		}
		if code, body := h.get("prod", "", "/"); code != 200 || body != "v1 hello" {
			t.Errorf("api = %d %q, want v1", code, body)
		}
	}
}

// Blue-green: all instances, a test on the preview route, one switch, and back.
func TestBlueGreen(t *testing.T) {
	self, _ := os.Executable()
	_ = self
	h := build(t, `{strategy: blue-green, test: [sh, -c, "test \"$SLIPWAY_VERSION\" != v3 || { echo v3 is not welcome; exit 1; }"], test_timeout: 1m, soak: 200ms, window: 1m, deadline: 2m}`, "prod")
	if r := h.ended(h.id(h.deploy("api", manners{Version: "v1"}, nil), "prod")); r.State != delivery.Done {
		t.Fatal(r.Reason)
	}
	l := h.load("prod", 4)
	if r := h.ended(h.id(h.deploy("api", manners{Version: "v2"}, nil), "prod")); r.State != delivery.Done {
		t.Fatal(r.Reason)
	}
	r := h.ended(h.id(h.deploy("api", manners{Version: "v3"}, nil), "prod"))
	if r.State != delivery.Reverted || r.Cause.Kind != delivery.CauseTest || !strings.Contains(r.Cause.Text, "v3 is not welcome") || !r.Exposed.IsZero() {
		t.Errorf("v3 = %s by %s: %s", r.State, r.Cause.Kind, r.Cause.Text)
	}
	back, err := h.api.Rollback(t.Context(), control.RollbackRequest{Service: "api", Env: "prod"})
	if err != nil {
		t.Fatal(err)
	}
	if r := h.ended(back.Rollout.ID); r.State != delivery.Done || r.Version != "v1" || len(r.Plan.Steps) != 0 {
		t.Errorf("back = %s %s: %s, plan %s; want v1 by one route write", r.State, r.Version, r.Reason, r.Plan)
	}
	if _, err := h.api.Rollback(t.Context(), control.RollbackRequest{Service: "api", Env: "prod"}); err == nil {
		t.Error("a second rollback went to what was left for being bad")
	}
	if all, bad, first := l.end(); bad > 0 {
		t.Errorf("%d of %d requests failed, the first: %s", bad, all, first)
	}
}

// Configuration rides the same rollout, and comes back with the release.
func TestCase27RollbackRestoresConfiguration(t *testing.T) {
	h := build(t, quick, "prod")
	if r := h.ended(h.id(h.deploy("api", manners{Version: "v1"}, nil), "prod")); r.State != delivery.Done {
		t.Fatal(r.Reason)
	}
	s, err := h.api.Submit(t.Context(), control.Submission{Service: "api", Set: map[string]string{"GREETING": "bye"}})
	if err != nil {
		t.Fatal(err)
	}
	if s.Change.Kind != delivery.Config {
		t.Errorf("kind = %s, want config", s.Change.Kind)
	}
	if r := h.ended(h.id(s, "prod")); r.State != delivery.Done {
		t.Fatal(r.Reason)
	}
	if _, body := h.get("prod", "", "/"); body != "v1 bye" {
		t.Errorf("api = %q, want the new configuration", body)
	}
	back, err := h.api.Rollback(t.Context(), control.RollbackRequest{Service: "api"})
	if err != nil {
		t.Fatal(err)
	}
	if r := h.ended(back.Rollout.ID); r.State != delivery.Done {
		t.Fatal(r.Reason)
	}
	if _, body := h.get("prod", "", "/"); body != "v1 hello" {
		t.Errorf("api = %q, want the old configuration", body)
	}
}

// A port that is taken is named, and used as soon as it is free.
func TestPortInUse(t *testing.T) {
	h := build(t, quick, "prod")
	taken, err := net.Listen("tcp", porttest.Free(t))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, src, err := h.api.Project(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	old := h.port["prod"]
	h.port["prod"] = taken.Addr().String()
	if _, _, err := h.api.PutProject(t.Context(), "slipway.yaml", h.dir, []byte(strings.Replace(src, old, h.port["prod"], 1))); err != nil {
		t.Fatal(err)
	}
	if r := h.ended(h.id(h.deploy("api", manners{Version: "v1"}, nil), "prod")); r.State != delivery.Done {
		t.Fatal(r.Reason)
	}
	h.until("the board names the port", func() bool {
		b, err := h.api.Board(t.Context())
		return err == nil && len(b.Trouble) > 0 && strings.Contains(b.Trouble[0], h.port["prod"])
	}, func() string { return "" })
	taken.Close()
	h.until("api answers on the port", func() bool {
		code, body := h.get("prod", "", "/")
		return code == 200 && body == "v1 hello"
	}, func() string { return "" })
}

// What nobody can do anything with is refused, with the next command, and
// changes nothing.
func TestRefusals(t *testing.T) {
	h := build(t, quick, "prod")
	if r := h.ended(h.id(h.deploy("api", manners{Version: "v1"}, nil), "prod")); r.State != delivery.Done {
		t.Fatal(r.Reason)
	}
	before := h.lines()
	for _, tt := range []struct {
		name string
		ask  func(context.Context) error
		code delivery.RefusalCode
		hint string
	}{
		{"unknown service", func(ctx context.Context) error {
			_, err := h.api.Submit(ctx, control.Submission{Service: "apo", Version: "v1"})
			return err
		}, delivery.CodeUnknownService, "slipway status"},
		{"unknown version", func(ctx context.Context) error {
			_, err := h.api.Submit(ctx, control.Submission{Service: "api", Version: "v9"})
			return err
		}, delivery.CodeUnknownVersion, "--from"},
		{"the same again", func(ctx context.Context) error {
			_, err := h.api.Submit(ctx, control.Submission{Service: "api", Version: "v1"})
			return err
		}, delivery.CodeNothingToDo, "slipway status"},
		{"nothing to go back to", func(ctx context.Context) error {
			_, err := h.api.Rollback(ctx, control.RollbackRequest{Service: "api"})
			return err
		}, delivery.CodeNoRollbackTarget, "slipway deploy api"},
		{"nothing to abort", func(ctx context.Context) error {
			_, err := h.api.Ask(ctx, "abort", control.Request{Service: "api"})
			return err
		}, delivery.CodeNotInFlight, "slipway rollback api"},
	} {
		err := tt.ask(t.Context())
		if no := (*client.Problem)(nil); !errors.As(err, &no) || no.Code != string(tt.code) || !strings.Contains(no.Hint, tt.hint) {
			t.Errorf("%s: %v (%+v), want code %s and a hint with %q", tt.name, err, no, tt.code, tt.hint)
		}
	}
	if after := h.lines(); after != before {
		t.Errorf("refusals wrote %d lines into the ledger", after-before)
	}
}

func (h *home) lines() int64 {
	h.t.Helper()
	var report struct{ Lines int64 }
	if err := h.api.Do(h.t.Context(), "GET", "/audit/verify", nil, &report); err != nil {
		h.t.Fatal(err)
	}
	return report.Lines
}

// Down ends everything that Up and the deploys began.
func TestDownLeavesNothing(t *testing.T) {
	h := build(t, quick, "prod")
	if r := h.ended(h.id(h.deploy("api", manners{Version: "v1"}, nil), "prod")); r.State != delivery.Done {
		t.Fatal(r.Reason)
	}
	pids := h.pids()
	up := h.up()
	report, err := app.Down(t.Context(), cli.DownOptions{State: h.state})
	if err != nil || !report.Server || !report.Proxy || report.Instances != 1 {
		t.Fatalf("down = %+v, %v; want server, data plane and one instance", report, err)
	}
	pids["server"], pids["proxy"] = up.ServerPID, up.ProxyPID
	for name, pid := range pids {
		h.until(name+" is gone", func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }, func() string { return "" })
	}
	if report, err := app.Down(t.Context(), cli.DownOptions{State: h.state}); err != nil || report.Server || report.Proxy || report.Instances != 0 {
		t.Errorf("down again = %+v, %v; want nothing to do", report, err)
	}
}
