package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/control"
)

func (s *session) switchOver() *cobra.Command {
	var (
		q      control.SwitchRequest
		detach bool
	)
	cmd := &cobra.Command{
		Use: "switch SERVICE", Short: "Switch all traffic to what a blue-green rollout has made ready, or back", Args: between(1, 1),
		Long: "A blue-green rollout that waits for approval is switched by this. With --back all traffic\n" +
			"returns: what was stable is kept warm for a while, so it takes one write of the route.",
		Example:           "  slipway deploy shop v4 --strategy blue-green --approve\n  slipway switch shop\n  slipway switch shop --back --reason \"carts are empty\"",
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
			done, err := api.Switch(cmd.Context(), q)
			if err != nil {
				return err
			}
			r := done.Rollout
			switch {
			case q.DryRun:
				return s.tried(done, done.Effect)
			case q.Back:
				return s.goingBack(cmd.Context(), api, after, done, detach)
			}
			s.talk(fmt.Sprintf("  %s %s %s takes all traffic in %s\n", s.look.sign(signRuns), r.Service, r.Version, r.Env))
			if detach {
				return s.show(done, func() string {
					return next(fmt.Sprintf("slipway watch %d", r.Change), "slipway switch "+r.Service+" --back")
				}, func() []string { return []string{string(r.ID)} })
			}
			return s.follow(cmd.Context(), &follower{api: api, out: s.Stderr, id: r.Change, after: after, only: r.Env, quiet: s.format != "table" && !s.look.live})
		},
	}
	f := cmd.Flags()
	f.StringVar(&q.Env, "env", "", "environment (default: where a rollout waits to be switched; back: as for rollback)")
	f.BoolVar(&q.Back, "back", false, "back to what ran before")
	f.StringVar(&q.Reason, "reason", "", "why, for the ledger")
	f.BoolVar(&detach, "detach", false, "do not watch")
	trialFlag(cmd, &q.DryRun)
	s.completeFlag(cmd, "env", s.environmentNames)
	return cmd
}
