package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

func (s *session) release() *cobra.Command {
	var q control.Lift
	cmd := &cobra.Command{
		Use: "release SERVICE [VERSION]", Short: "Lift a hold", Args: between(1, 2),
		Long:              "Lifts the hold on a version, or on a service in an environment. A hold on a version is\nlifted by its name only.",
		Example:           "  slipway release payment v3-bad\n  slipway release payment --env prod --reason \"closing is done\"",
		ValidArgsFunction: s.completeService,
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Service = args[0]
			if len(args) > 1 {
				q.Version = args[1]
			}
			api, err := s.api()
			if err != nil {
				return err
			}
			lifted, err := api.Lift(cmd.Context(), q)
			if err != nil {
				return err
			}
			if q.DryRun {
				return s.tried(lifted, lifted.Effect)
			}
			return s.show(lifted, func() string {
				var b strings.Builder
				for _, h := range lifted.Holds {
					fmt.Fprintf(&b, "  %s %s is no longer on hold\n", s.look.good("✔"), held(h))
				}
				return b.String() + next(afterRelease(lifted.Holds))
			}, func() []string {
				var ids []string
				for _, h := range lifted.Holds {
					ids = append(ids, fmt.Sprint(h.ID))
				}
				return ids
			})
		},
	}
	cmd.Flags().StringVar(&q.Env, "env", "", "lift the hold on this environment")
	cmd.Flags().StringVar(&q.Reason, "reason", "", "why, for the ledger")
	trialFlag(cmd, &q.DryRun)
	s.completeFlag(cmd, "env", s.environmentNames)
	return cmd
}

// afterRelease is the command that most often follows.
func afterRelease(lifted []delivery.Hold) string {
	switch {
	case len(lifted) == 0:
		return ""
	case lifted[0].Kind == delivery.Quarantine:
		return "slipway deploy " + lifted[0].Service + " " + shell(lifted[0].Version)
	}
	return "slipway why " + lifted[0].Service + " --env " + lifted[0].Env
}
