package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

type promoteOptions struct {
	to, reason          string
	finish, yes, detach bool
	dryRun              bool
	timeout             time.Duration
}

func (s *session) promote() *cobra.Command {
	var o promoteOptions
	var env string
	cmd := &cobra.Command{
		Use: "promote CHANGE|SERVICE", Short: "Let a change enter the next environment, or leave a step that waits", Args: between(1, 1),
		Long: "Shows what would differ and asks once. A step that waits for a person in that\n" +
			"environment is approved; with --finish what is left of the analysis is skipped.",
		Example:           "  slipway promote 7\n  slipway promote payment --to prod\n  slipway promote 7 --to prod --yes\n  slipway promote 7 --env prod --finish --reason \"proven by hand\"",
		ValidArgsFunction: s.completeService,
		RunE: func(cmd *cobra.Command, args []string) error {
			if env != "" && o.to != "" && env != o.to {
				return usageError{err: errors.New("--to and --env name two environments"), next: "slipway promote " + args[0] + " --to " + o.to}
			}
			if env != "" {
				o.to = env
			}
			t, err := targetOf(args[0])
			if err != nil {
				return err
			}
			api, err := s.api()
			if err != nil {
				return err
			}
			return s.runPromote(cmd.Context(), api, t, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.to, "to", "", "environment to enter (default: the next one)")
	f.StringVar(&env, "env", "", "environment in which a step waits")
	f.BoolVar(&o.finish, "finish", false, "skip what is left of the analysis and finish")
	f.StringVar(&o.reason, "reason", "", "why, for the ledger")
	f.BoolVar(&o.yes, "yes", false, "do not ask")
	f.BoolVar(&o.detach, "detach", false, "do not watch")
	trialFlag(cmd, &o.dryRun)
	f.DurationVar(&o.timeout, "timeout", 0, "stop watching after this time and exit with 5; the change goes on")
	s.completeFlag(cmd, "to", s.environmentNames)
	s.completeFlag(cmd, "env", s.environmentNames)
	return cmd
}

func (s *session) runPromote(ctx context.Context, api *client.Client, t target, o promoteOptions) error {
	if o.to == "" {
		o.to = t.env
	}
	open, flying, err := underWay(ctx, api, target{change: t.change, service: t.service, env: o.to})
	if err != nil {
		return err
	}
	if o.finish {
		if !flying {
			return &delivery.Refusal{Code: delivery.CodeNotInFlight, Why: "nothing is under way that could be finished", Next: "slipway status"}
		}
		t = target{change: open.Change}
		o.to = open.Env
	}
	if !flying || open.State != delivery.Waiting && open.State != delivery.Judging {
		if o.to, err = s.destination(ctx, api, t, o.to); err != nil {
			return err
		}
		if err := s.before(ctx, api, t, o.to); err != nil {
			return err
		}
	} else {
		o.to = open.Env
		s.talk(fmt.Sprintf("  %s %s is at %s in %s%s\n", open.Service, open.Version, stepOf(open), open.Env, tail(open, time.Now())))
	}
	if ok, err := s.ask(ctx, "  let it into "+o.to+"?", o.yes || o.dryRun); err != nil || !ok {
		return err
	}
	after, err := newestLine(ctx, api)
	if err != nil {
		return err
	}
	var asked control.Asked
	if o.finish {
		asked, err = api.Ask(ctx, "finish", control.Request{Change: open.Change, Env: open.Env, Reason: o.reason, DryRun: o.dryRun})
	} else {
		asked, err = api.Promote(ctx, control.PromoteRequest{Change: t.change, Service: t.service, To: o.to, Reason: o.reason, DryRun: o.dryRun})
	}
	if err != nil {
		return err
	}
	if o.dryRun {
		return s.tried(asked, asked.Effect)
	}
	r := asked.Rollout
	if o.detach {
		return s.show(r, func() string {
			return fmt.Sprintf("  %s %s %s goes on in %s\n%s", s.look.sign(signRuns), r.Service, r.Version, r.Env, next(fmt.Sprintf("slipway watch %d", r.Change)))
		}, func() []string { return []string{string(r.ID)} })
	}
	return s.follow(ctx, &follower{api: api, out: s.Stderr, id: r.Change, after: after, timeout: o.timeout, only: r.Env, quiet: s.format != "table" && !s.look.live})
}

func stepOf(r delivery.Rollout) string {
	if step, ok := r.At(); ok {
		return step.String()
	}
	return string(r.State)
}

// destination is the environment that a promotion enters: the one named, or the
// first in order that has not what the one before it has.
func (s *session) destination(ctx context.Context, api *client.Client, t target, to string) (string, error) {
	if to != "" {
		return to, nil
	}
	p, _, err := api.Project(ctx)
	if err != nil {
		return "", err
	}
	board, err := api.Board(ctx)
	if err != nil {
		return "", err
	}
	service, release := t.service, delivery.ReleaseID("")
	if t.change != 0 {
		whole, err := api.Change(ctx, t.change)
		if err != nil {
			return "", err
		}
		service, release = whole.Change.Members[0].Service, whole.Change.Members[0].To
	}
	if _, ok := p.Service(service); !ok {
		return "", delivery.Unknown(delivery.CodeUnknownService, "service", service, p.ServiceNames(), "slipway status")
	}
	for _, env := range p.EnvironmentNames() {
		before := cellOf(board, service, p.Before(env))
		if before.Release == "" || release != "" && before.Release != release {
			continue
		}
		if cellOf(board, service, env).Release != before.Release {
			return env, nil
		}
	}
	return "", &delivery.Refusal{Code: delivery.CodeNothingToDo, Why: service + " has nothing that waits to be promoted", Next: "slipway why " + service}
}

// before shows what entering an environment changes there.
func (s *session) before(ctx context.Context, api *client.Client, t target, to string) error {
	p, _, err := api.Project(ctx)
	if err != nil {
		return err
	}
	if _, ok := p.Environment(to); !ok {
		return delivery.Unknown(delivery.CodeUnknownEnvironment, "environment", to, p.EnvironmentNames(), "slipway status")
	}
	board, err := api.Board(ctx)
	if err != nil {
		return err
	}
	service, source := t.service, p.Before(to)
	if t.change != 0 {
		whole, err := api.Change(ctx, t.change)
		if err != nil {
			return err
		}
		service, source = whole.Change.Members[0].Service, whole.Change.Members[0].Version
	}
	here := cellOf(board, service, to)
	if here.Release == "" || source == "" {
		s.talk(fmt.Sprintf("  %s   it would be the first release in %s\n", service, to))
		return nil
	}
	d, _, err := client.Read[control.Diff](ctx, api, diffPath(service, to, source))
	if err != nil {
		return err
	}
	s.talk(s.difference(d, to, source))
	return nil
}

// ask puts a question to the person at the terminal. Where nobody can answer,
// the command line was the answer.
func (s *session) ask(ctx context.Context, question string, yes bool) (bool, error) {
	in, file := s.Stdin.(*os.File)
	if yes || !s.look.live || file && !term.IsTerminal(int(in.Fd())) {
		return true, nil
	}
	s.talk(question + " [y/N] ")
	answers := make(chan string, 1)
	go func() { // a read of a terminal cannot be interrupted; the program ends with it
		line, err := bufio.NewReader(s.Stdin).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			line = ""
		}
		answers <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case a := <-answers:
		if a == "y" || a == "yes" {
			return true, nil
		}
		s.talk("  nothing was changed\n")
		return false, ended(exitFailed)
	}
}
