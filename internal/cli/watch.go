package cli

import (
	"time"

	"github.com/spf13/cobra"
)

func (s *session) watch() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "watch CHANGE|SERVICE", Short: "Watch a change until it is over or needs a person", Args: between(1, 1),
		Long:              "A service means what is under way for it, or the last change. Watching survives a\nserver that is killed and started again.",
		Example:           "  slipway watch 7\n  slipway watch payment\n  slipway watch 7 --timeout 5m; echo $?",
		ValidArgsFunction: s.completeService,
		RunE: func(cmd *cobra.Command, args []string) error {
			api, t, err := s.changeOf(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return s.follow(cmd.Context(), &follower{api: api, out: s.progressTo(), id: t.change, timeout: timeout, quiet: s.format != "table"})
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "stop watching after this time and exit with 5; the change goes on")
	return cmd
}
