package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// asking is a command that asks one thing of a change under way.
type asking struct {
	verb  string // of the API
	short string
	long  string
	done  func(l look, r delivery.Rollout) string // what was asked
	watch bool                                    // wait until it is back
}

func (s *session) abort() *cobra.Command {
	return s.asks(asking{
		verb: "abort", short: "Take back a change that is under way", watch: true,
		long: "All traffic goes back to what ran before, and the release goes on hold.",
		done: func(l look, r delivery.Rollout) string {
			return fmt.Sprintf("  %s %s %s is taken back in %s\n", l.sign(signBack), r.Service, r.Version, r.Env)
		},
	})
}

func (s *session) pause() *cobra.Command {
	return s.asks(asking{
		verb: "pause", short: "Stop a change where it is",
		long: "It keeps its share of the traffic and is still judged: a bad release goes back all the same.",
		done: func(l look, r delivery.Rollout) string {
			return fmt.Sprintf("  %s %s %s is paused in %s\n%s", l.sign(signPaused), r.Service, r.Version, r.Env, next(fmt.Sprintf("slipway resume %d", r.Change), fmt.Sprintf("slipway abort %d", r.Change)))
		},
	})
}

func (s *session) resume() *cobra.Command {
	return s.asks(asking{
		verb: "resume", short: "Let a paused change go on",
		done: func(l look, r delivery.Rollout) string {
			return fmt.Sprintf("  %s %s %s goes on in %s\n%s", l.sign(signRuns), r.Service, r.Version, r.Env, next(fmt.Sprintf("slipway watch %d", r.Change)))
		},
	})
}

func (s *session) asks(a asking) *cobra.Command {
	var (
		q      control.Request
		detach bool
	)
	cmd := &cobra.Command{
		Use: a.verb + " CHANGE|SERVICE", Short: a.short, Long: a.long, Args: between(1, 1),
		Example:           fmt.Sprintf("  slipway %s 7\n  slipway %s payment --env prod --reason \"…\"", a.verb, a.verb),
		ValidArgsFunction: s.completeService,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := targetOf(args[0])
			if err != nil {
				return err
			}
			q.Change, q.Service = t.change, t.service
			if q.Env == "" {
				q.Env = t.env
			}
			api, err := s.api()
			if err != nil {
				return err
			}
			after, err := newestLine(cmd.Context(), api)
			if err != nil {
				return err
			}
			asked, err := api.Ask(cmd.Context(), a.verb, q)
			if err != nil {
				return err
			}
			if q.DryRun {
				return s.tried(asked, asked.Effect)
			}
			r := asked.Rollout
			if a.watch && !detach {
				s.talk(a.done(s.look, r))
				return s.follow(cmd.Context(), &follower{api: api, out: s.Stderr, id: r.Change, after: after, back: true, quiet: s.format != "table" && !s.look.live})
			}
			return s.show(r, func() string { return a.done(s.look, r) }, func() []string { return []string{string(r.ID)} })
		},
	}
	f := cmd.Flags()
	f.StringVar(&q.Env, "env", "", "environment (default: wherever it is under way)")
	f.StringVar(&q.Reason, "reason", "", "why, for the ledger")
	trialFlag(cmd, &q.DryRun)
	if a.watch {
		f.BoolVar(&detach, "detach", false, "do not wait until it is back")
	}
	s.completeFlag(cmd, "env", s.environmentNames)
	return cmd
}
