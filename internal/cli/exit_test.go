package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/delivery"
)

func TestExitOf(t *testing.T) {
	problem := func(status int, code delivery.RefusalCode) error {
		return fmt.Errorf("client: %w", &client.Problem{Status: status, Code: string(code)})
	}
	for _, c := range []struct {
		err  error
		want exit
	}{
		{nil, exitDone},
		{errors.New("disk full"), exitFailed},
		{ended(exitRolledBack), exitRolledBack},
		{ended(exitDone), exitDone},
		{fmt.Errorf("watch: %w", context.Canceled), exitInterrupted},
		{misused(errors.New("unknown flag")), exitUsage},
		{delivery.Invalid("file", "is empty"), exitUsage},
		{&delivery.Refusal{Code: delivery.CodeUnknownService}, exitUsage},
		{&delivery.Refusal{Code: delivery.CodeHeld}, exitBlocked},
		{&delivery.Refusal{Code: delivery.CodeNoRollbackTarget}, exitFailed},
		{client.ErrNoServer, exitFailed},
		{problem(409, delivery.CodeHeld), exitBlocked},
		{problem(409, delivery.CodeQuarantined), exitBlocked},
		{problem(409, delivery.CodeNotEligible), exitBlocked},
		{problem(409, delivery.CodeNothingToDo), exitFailed},
		{problem(409, delivery.CodeNoRollbackTarget), exitFailed},
		{problem(409, delivery.CodeNotInFlight), exitFailed},
		{problem(409, "conflict"), exitFailed},
		{problem(404, delivery.CodeUnknownService), exitUsage},
		{problem(404, delivery.CodeUnknownChange), exitUsage},
		{problem(422, "invalid"), exitUsage},
		{problem(400, "malformed"), exitUsage},
		{problem(401, "unauthorized"), exitFailed},
		{problem(500, "internal"), exitFailed},
	} {
		if got := exitOf(c.err); got != c.want {
			t.Errorf("exitOf(%v) = %d, want %d", c.err, got, c.want)
		}
	}
}

func TestExitCodesAreListed(t *testing.T) {
	want := []exit{0, 1, 2, 3, 4, 5, 6, 130}
	all := exits()
	if len(all) != len(want) {
		t.Fatalf("%d codes, want %d", len(all), len(want))
	}
	r := slipway(t.Context(), t, t.TempDir(), "help", "exit-codes")
	for i, e := range all {
		if e.Code != want[i] || !strings.Contains(r.stdout, fmt.Sprintf("%3d  %s", e.Code, e.Name)) || !strings.Contains(r.stdout, e.Meaning) {
			t.Errorf("code %d (%s) is not in the help:\n%s", e.Code, e.Name, r.stdout)
		}
	}
}

// Every complaint says what, why and what comes next.
func TestComplaints(t *testing.T) {
	var all, programs strings.Builder
	for _, err := range []error{
		misused(errors.New("unknown command \"depoly\" for \"slipway\"\n\nDid you mean this?\n\tdeploy\n")),
		misused(errors.New("unknown flag: --nope")),
		delivery.InvalidNext("--from", "there is nothing at ./build", "build it first"),
		&delivery.Refusal{Code: delivery.CodeHeld, Why: "payment is held in prod", Who: "anyone with access", Next: "slipway release payment --env prod"},
		fmt.Errorf("%w (/state)", client.ErrNoServer),
		&client.Problem{Status: 422, Detail: "two mistakes in slipway.yaml", Code: "invalid", Errors: []client.ProblemDetail{
			{Location: "slipway.yaml:5:9", Message: "services.cart.replicas: must be at least 0", Value: "  5 | replicas: -1\n    |           ^"},
			{Location: "slipway.yaml:7:3", Message: "there is no field weigth"},
		}},
		&client.Problem{Status: 422, Detail: "set: PORT is set by Slipway itself", Code: "invalid", Errors: []client.ProblemDetail{{Location: "set", Message: "PORT is set by Slipway itself"}}},
		errors.New("store: disk full"),
		context.Canceled,
	} {
		var errs strings.Builder
		s := &session{Env: Env{Stderr: &errs}}
		s.complain(err)
		all.WriteString(errs.String() + "--\n")
		s = &session{Env: Env{Stderr: &programs}, format: "json", began: true}
		s.complain(err)
	}
	golden(t, "complaints.txt", all.String())
	golden(t, "complaints.jsonl", programs.String())
}

// Each command has a line that says what it does, and examples.
func TestEveryCommandExplainsItself(t *testing.T) {
	r := slipway(t.Context(), t, t.TempDir(), "capabilities", "-o", "name")
	names := strings.Fields(strings.ReplaceAll(r.stdout, "slipway ", "slipway/"))
	if len(names) < 25 {
		t.Fatalf("%d commands: %v", len(names), names)
	}
	for _, name := range names {
		args := append(strings.Split(name, "/")[1:], "--help")
		if r := slipway(t.Context(), t, t.TempDir(), strings.Fields(strings.Join(args, " "))...); r.code != 0 || !strings.Contains(r.stdout, "Examples:") && !strings.Contains(name, "help") {
			t.Errorf("%v: exit %d, and no examples in\n%s", args, r.code, r.stdout)
		}
	}
	for _, want := range []string{"init", "up", "down", "demo", "deploy", "status", "watch", "why", "diff", "promote", "rollback", "abort", "pause", "resume", "hold", "release", "logs", "history", "trace", "audit/verify", "config/explain", "doctor", "completion"} {
		if !strings.Contains(strings.Join(names, " ")+" ", "slipway/"+want+" ") && !strings.Contains(r.stdout, "slipway "+strings.ReplaceAll(want, "/", " ")+"\n") {
			t.Errorf("there is no command %s", want)
		}
	}
}

// Programs are told in their own format why a command failed, also if the command line
// makes no sense, and nothing on stdout; the exit codes are those that people get.
func TestFailuresForPrograms(t *testing.T) {
	state := open(t, always(t, at(rolling("dev", delivery.Done))))
	for _, c := range []struct {
		args string
		exit exit
		code string
	}{
		{"deploy none -o json", exitUsage, "unknown_service"},
		{"deploy payment --canary 900 -o json", exitUsage, "invalid"},
		{"changes --outcome lost -o json", exitUsage, "invalid"},
		{"status --bogus -o json", exitUsage, "usage"},
		{"-o=json nonsense", exitUsage, "usage"},
		{"--output json status more", exitUsage, "usage"},
		{"metrics payment -o json", exitUsage, "not_found"},
	} {
		r := slipway(t.Context(), t, state, strings.Fields(c.args)...)
		lines := strings.Split(strings.TrimSpace(r.stderr), "\n")
		var f failure
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &f); err != nil {
			t.Fatalf("slipway %s says %q: %v", c.args, r.stderr, err)
		}
		if r.code != int(c.exit) || f.Exit != c.exit || f.Code != c.code || f.Error == "" || f.Next == "" || r.stdout != "" {
			t.Errorf("slipway %s = %d %+v, stdout %q; want %d %s", c.args, r.code, f, r.stdout, c.exit, c.code)
		}
	}
	r := slipway(t.Context(), t, state, "deploy", "none", "-o", "yaml")
	if !strings.Contains(r.stderr, "code: unknown_service\n") {
		t.Errorf("-o yaml says %q", r.stderr)
	}
	if r := slipway(t.Context(), t, state, "deploy", "none"); !strings.HasPrefix(r.stderr, "✖") {
		t.Errorf("people are told %q", r.stderr)
	}
}
