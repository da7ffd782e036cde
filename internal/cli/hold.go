package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

func (s *session) hold() *cobra.Command {
	var h control.HoldRequest
	cmd := &cobra.Command{
		Use: "hold SERVICE [VERSION]", Short: "Let nothing new into an environment, or a version into none", Args: between(1, 2),
		Example:           "  slipway hold payment --env prod --why \"month-end closing\"\n  slipway hold payment v3 --why \"charges twice\"",
		ValidArgsFunction: s.completeService,
		RunE: func(cmd *cobra.Command, args []string) error {
			h.Service = args[0]
			if len(args) > 1 {
				h.Version = args[1]
			}
			switch {
			case (h.Env == "") == (h.Version == ""):
				return usageError{err: errors.New("a hold needs --env or a version, and not both"), next: "slipway hold " + h.Service + " --env prod --why \"…\""}
			case h.Why == "":
				return usageError{err: errors.New("a hold needs a reason: whoever meets it wants to know"), next: "slipway hold " + h.Service + " … --why \"…\""}
			}
			api, err := s.api()
			if err != nil {
				return err
			}
			done, err := api.PutHold(cmd.Context(), h)
			if err != nil {
				return err
			}
			if h.DryRun {
				return s.tried(done, done.Effect)
			}
			return s.show(done, func() string {
				return fmt.Sprintf("  %s %s is on hold: %s\n%s", s.look.sign(signBlocked), held(done.Hold), done.Why, next(done.Lift()))
			}, func() []string { return []string{fmt.Sprint(done.ID)} })
		},
	}
	cmd.Flags().StringVar(&h.Env, "env", "", "let nothing new into this environment")
	cmd.Flags().StringVar(&h.Why, "why", "", "why, for whoever meets the hold")
	trialFlag(cmd, &h.DryRun)
	s.completeFlag(cmd, "env", s.environmentNames)
	return cmd
}

// held names what a hold stops.
func held(h delivery.Hold) string {
	if h.Kind == delivery.Pinned {
		return h.Service + " in " + h.Env
	}
	return h.Service + " " + h.Version
}
