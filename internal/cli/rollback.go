package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/control"
)

func (s *session) rollback() *cobra.Command {
	var (
		q      control.RollbackRequest
		detach bool
	)
	cmd := &cobra.Command{
		Use: "rollback SERVICE", Short: "Go back to the release before, code and configuration", Args: between(1, 1),
		Long: "What is under way is taken back; otherwise the release before takes over again. The\n" +
			"release that is left goes on hold until a person releases it.",
		Example:           "  slipway rollback payment\n  slipway rollback payment --env prod --reason \"customers are charged twice\"\n  slipway rollback payment --to v1",
		ValidArgsFunction: s.completeService,
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Service = args[0]
			api, err := s.api()
			if err != nil {
				return err
			}
			after, err := newestLine(cmd.Context(), api)
			if err != nil {
				return err
			}
			done, err := api.Rollback(cmd.Context(), q)
			if err != nil {
				return err
			}
			if q.DryRun {
				return s.tried(done, done.Effect)
			}
			return s.goingBack(cmd.Context(), api, after, done, detach)
		},
	}
	f := cmd.Flags()
	f.StringVar(&q.Env, "env", "", "environment (default: where something is under way, else the last one)")
	f.StringVar(&q.To, "to", "", "version to go back to (default: the release before)")
	f.StringVar(&q.Reason, "reason", "", "why, for the ledger")
	f.BoolVar(&detach, "detach", false, "do not watch")
	trialFlag(cmd, &q.DryRun)
	s.completeFlag(cmd, "env", s.environmentNames)
	return cmd
}

// goingBack says what a rollback began, and watches it unless it is detached.
// after is the last line of the ledger before it.
func (s *session) goingBack(ctx context.Context, api *client.Client, after int64, done control.RolledBack, detach bool) error {
	r := done.Rollout
	if done.Aborted {
		s.talk(fmt.Sprintf("  %s %s %s is taken back in %s\n", s.look.sign(signBack), r.Service, r.Version, r.Env))
	} else {
		s.talk(fmt.Sprintf("  %s change #%d  %s %s → %s in %s\n  plan     %s\n", s.look.sign(signBack), r.Change, r.Service, r.Was, r.Version, r.Env, r.Plan.Reason))
		if len(r.Plan.Steps) > 0 {
			s.talk(fmt.Sprintf("  hurry    slipway promote %d --env %s --finish     skips the analysis\n", r.Change, r.Env))
		}
	}
	if detach {
		return s.show(done, func() string { return next(fmt.Sprintf("slipway watch %d", r.Change)) }, func() []string { return []string{fmt.Sprint(r.Change)} })
	}
	return s.follow(ctx, &follower{api: api, out: s.Stderr, id: r.Change, after: after, back: true, quiet: s.format != "table" && !s.look.live})
}
