package demo

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-cd/slipway/internal/cli"
	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// actLimit is the longest an act may take.
const actLimit = 10 * time.Minute

// Summary is what a tour showed.
type Summary struct {
	OK      bool    `json:"ok"` // every act ended as it must
	Seconds float64 `json:"seconds"`
	Acts    []Act   `json:"acts"`
}

// Act is one part of the story and how it ended.
type Act struct {
	Name     string            `json:"name"`
	Wanted   string            `json:"wanted"`
	Outcome  string            `json:"outcome"`
	OK       bool              `json:"ok"`
	Seconds  float64           `json:"seconds"`
	Requests uint64            `json:"requests"`  // that shoppers made in all environments
	Failed   uint64            `json:"failed"`    // of them
	By       map[string]uint64 `json:"failed_by"` // where they failed: "payment v3-bad"
	Lost     uint64            `json:"lost"`      // failed and nobody said where: by Slipway itself
	Notes    []string          `json:"notes,omitempty"`
}

// scene plays one act and returns how it ended, and an error if not as it must.
type scene struct {
	name, wanted string
	play         func(ctx context.Context, note func(string, ...any)) (string, error)
}

// tour tells the whole story and returns 0 only if every act ended as it must.
func (s *stage) tour(ctx context.Context) (int, error) {
	begun := time.Now()
	sum := Summary{OK: true}
	for i, sc := range s.scenes() {
		s.sayf("\n  %d  %s\n", i+1, sc.name)
		act := s.perform(ctx, sc)
		sum.Acts = append(sum.Acts, act)
		sum.OK = sum.OK && act.OK
		mark := "✔"
		if !act.OK {
			mark = "✖"
		}
		s.sayf("     %s %s   %s   %d requests, %d failed%s\n", mark, act.Outcome, human(time.Duration(act.Seconds*float64(time.Second))), act.Requests, act.Failed, whereFailed(act))
		if ctx.Err() != nil {
			return 130, nil
		}
	}
	sum.Seconds = time.Since(begun).Seconds()
	if err := s.sumUp(sum); err != nil {
		return 1, err
	}
	if !sum.OK {
		s.sayf("\n  the tour did not end as it must\n")
		return 1, nil
	}
	s.sayf("\n  every act ended as it must, in %s\n", human(time.Since(begun)))
	return 0, nil
}

// sumUp prints a summary for programs, if one is asked for.
func (s *stage) sumUp(sum any) error {
	if !s.o.JSON {
		return nil
	}
	enc := json.NewEncoder(s.o.Stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(sum)
}

func whereFailed(a Act) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(a.By)) {
		parts = append(parts, fmt.Sprintf("%d by %s", a.By[k], cmp.Or(k, "nobody who said so")))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

func (s *stage) scenes() []scene {
	return []scene{
		{"a good version goes out: payment v2", "stable in every environment", s.good},
		{"a bad version goes out: payment v3-bad fails a share of charges, its health check does not see it", "caught, rolled back, held", s.bad},
		{"blue-green: shop v2 takes over at once in each environment, and goes back in prod", "switched and switched back", s.blueGreen},
		{"a bad configuration goes out: BANK_TIMEOUT_MS=5 for payment", "caught, rolled back, the old configuration live", s.badConfig},
		{"the server is killed with SIGKILL in mid-canary: cart v2", "resumed and done", s.killed},
	}
}

// perform plays a scene and counts what its shoppers met.
func (s *stage) perform(ctx context.Context, sc scene) Act {
	ctx, stop := context.WithTimeout(ctx, actLimit)
	defer stop()
	act := Act{Name: sc.name, Wanted: sc.wanted, By: map[string]uint64{}}
	before, begun := s.met(), time.Now()
	outcome, err := sc.play(ctx, func(format string, args ...any) {
		line := fmt.Sprintf(format, args...)
		act.Notes = append(act.Notes, line)
		s.sayf("     %s\n", line)
	})
	after := s.met()
	act.Seconds, act.Outcome, act.OK = time.Since(begun).Seconds(), outcome, err == nil
	if err != nil {
		act.Outcome = err.Error()
	}
	act.Requests, act.Failed = after.Requests-before.Requests, after.Failed-before.Failed
	for who, n := range after.Causes {
		if d := n - before.Causes[who]; d > 0 {
			act.By[who] = d
		}
	}
	if act.Lost = act.By[""]; act.Lost > 0 && act.OK {
		act.OK, act.Outcome = false, fmt.Sprintf("%s, but %d requests were lost on the way", act.Outcome, act.Lost)
	}
	return act
}

// met adds up what the shoppers of all environments have met so far.
func (s *stage) met() Counts {
	sum := Counts{Causes: map[string]uint64{}}
	for _, c := range s.crowds {
		n := c.Snapshot()
		sum.Requests += n.Requests
		sum.Failed += n.Failed
		for who, k := range n.Causes {
			sum.Causes[who] += k
		}
	}
	return sum
}

func (s *stage) good(ctx context.Context, note func(string, ...any)) (string, error) {
	done, err := s.deploy(ctx, control.Submission{Service: "payment", Version: "v2"})
	if err != nil {
		return "", err
	}
	rs, err := s.follow(ctx, done.Change.ID, note)
	if err != nil {
		return "", err
	}
	for _, r := range rs {
		if r.State != delivery.Done {
			return "", fmt.Errorf("%s ended %s: %s", r.ID, r.State, r.Reason)
		}
	}
	return "stable in " + strings.Join(envs(rs), ", "), nil
}

func (s *stage) bad(ctx context.Context, note func(string, ...any)) (string, error) {
	done, err := s.deploy(ctx, control.Submission{Service: "payment", Version: "v3-bad"})
	if err != nil {
		return "", err
	}
	rs, err := s.follow(ctx, done.Change.ID, note)
	if err != nil {
		return "", err
	}
	return s.caught(ctx, rs, "v2")
}

// caught checks that a change was sent back by the judge in prod, that what was
// stable is so again, and that the release is held.
func (s *stage) caught(ctx context.Context, rs []delivery.Rollout, want string) (string, error) {
	last := rs[len(rs)-1]
	if last.Env != s.prod() || last.State != delivery.Reverted || last.Cause.Kind != delivery.CauseVerdict {
		return "", fmt.Errorf("%s ended %s: %s", last.ID, last.State, last.Reason)
	}
	holds, err := s.api.Holds(ctx)
	if err != nil {
		return "", err
	}
	if !slices.ContainsFunc(holds, func(h delivery.Hold) bool { return h.Release == last.To }) {
		return "", fmt.Errorf("%s %s is not held", last.Service, last.Version)
	}
	if v, err := s.stable(ctx, last.Service, last.Env); err != nil || v != want {
		return "", errors.Join(fmt.Errorf("stable in %s is %q, not %q", last.Env, v, want), err)
	}
	again := control.Submission{Service: last.Service, Version: last.Version}
	if last.Kind == delivery.Config {
		again = control.Submission{Service: last.Service, Set: badTimeout()}
	}
	_, err = s.deploy(ctx, again)
	if no := (*client.Problem)(nil); !errors.As(err, &no) || no.Code != string(delivery.CodeQuarantined) {
		return "", fmt.Errorf("what is held could be deployed again: %w", err)
	}
	return fmt.Sprintf("caught in %s, rolled back in %s, %s is on hold", last.Env, human(last.Ended.Sub(last.Reverted)), last.Version), nil
}

// badTimeout is the configuration of the act in which it is bad.
func badTimeout() map[string]string { return map[string]string{"BANK_TIMEOUT_MS": "5"} }

func (s *stage) blueGreen(ctx context.Context, note func(string, ...any)) (string, error) {
	done, err := s.deploy(ctx, control.Submission{Service: "shop", Version: "v2", Strategy: &delivery.Override{Kind: delivery.BlueGreen}})
	if err != nil {
		return "", err
	}
	rs, err := s.follow(ctx, done.Change.ID, note)
	if err != nil {
		return "", err
	}
	if last := rs[len(rs)-1]; last.State != delivery.Done {
		return "", fmt.Errorf("%s ended %s: %s", last.ID, last.State, last.Reason)
	}
	begun := time.Now()
	back, err := s.api.Rollback(ctx, control.RollbackRequest{Service: "shop", Env: s.prod(), Reason: "showing the way back"})
	if err != nil {
		return "", err
	}
	if rs, err = s.follow(ctx, back.Rollout.Change, note); err != nil {
		return "", err
	}
	if v, err := s.stable(ctx, "shop", s.prod()); err != nil || v != "v1" {
		return "", errors.Join(fmt.Errorf("stable is %q, not v1, after %s ended %s", v, rs[0].ID, rs[0].State), err)
	}
	return "switched to v2, and back to v1 in " + human(time.Since(begun)), nil
}

func (s *stage) badConfig(ctx context.Context, note func(string, ...any)) (string, error) {
	done, err := s.deploy(ctx, control.Submission{Service: "payment", Set: badTimeout()})
	if err != nil {
		return "", err
	}
	if done.Change.Kind != delivery.Config {
		return "", fmt.Errorf("change #%d is of kind %s, not config", done.Change.ID, done.Change.Kind)
	}
	rs, err := s.follow(ctx, done.Change.ID, note)
	if err != nil {
		return "", err
	}
	how, err := s.caught(ctx, rs, "v2")
	if err != nil {
		return "", err
	}
	live, err := s.api.Live(ctx, rs[len(rs)-1].ID)
	if err != nil {
		return "", err
	}
	if live.Route.WeightOf(live.Rollout.To) != 0 {
		return "", fmt.Errorf("the route still gives %s to the bad configuration", live.Route.WeightOf(live.Rollout.To))
	}
	return how + "; BANK_TIMEOUT_MS=800 is live", nil
}

func (s *stage) killed(ctx context.Context, note func(string, ...any)) (string, error) {
	done, err := s.deploy(ctx, control.Submission{Service: "cart", Version: "v2"})
	if err != nil {
		return "", err
	}
	id := delivery.RolloutID(fmt.Sprintf("%d/%s", done.Change.ID, s.prod()))
	if err := s.until(ctx, func() (bool, error) {
		live, err := s.api.Live(ctx, id)
		if no := (*client.Problem)(nil); errors.As(err, &no) {
			return false, nil // not promoted that far yet
		}
		return err == nil && !live.Rollout.Exposed.IsZero(), err
	}); err != nil {
		return "", err
	}
	report, err := s.house.Up(ctx, cli.UpOptions{State: s.state, Addr: s.options.api()}) // tells the pid
	if err != nil {
		return "", err
	}
	if err := syscall.Kill(report.ServerPID, syscall.SIGKILL); err != nil {
		return "", fmt.Errorf("kill the server: %w", err)
	}
	before := s.met().Requests
	note("killed the server, pid %d, while cart v2 had a share of prod; the data plane goes on", report.ServerPID)
	if err := s.until(ctx, func() (bool, error) { return s.met().Requests > before+50, nil }); err != nil {
		return "", err
	}
	if _, err := s.house.Up(ctx, cli.UpOptions{State: s.state, Addr: s.options.api()}); err != nil {
		return "", err
	}
	if err := s.api.Again(); err != nil {
		return "", err
	}
	note("%d requests were answered without a server; started it again", s.met().Requests-before)
	rs, err := s.follow(ctx, done.Change.ID, note)
	if err != nil {
		return "", err
	}
	if last := rs[len(rs)-1]; last.State != delivery.Done || last.Env != s.prod() {
		return "", fmt.Errorf("%s ended %s: %s", last.ID, last.State, last.Reason)
	}
	return "resumed where it was, and done", nil
}

func (s *stage) prod() string { return s.places[len(s.places)-1].Env }

// portsFree refuses to begin where a port of the demo is taken.
func portsFree(api string, places []Place) error {
	addrs := []string{api}
	for _, p := range places {
		addrs = append(addrs, p.Addr)
	}
	for _, a := range addrs {
		l, err := net.Listen("tcp", a)
		if err != nil {
			return delivery.InvalidNext("port", a+" is in use; is a demo or a server running already?", "slipway down, or end what uses the port")
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}

func envs(rs []delivery.Rollout) []string {
	var out []string
	for _, r := range rs {
		out = append(out, r.Env)
	}
	return out
}
