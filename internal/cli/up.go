package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (s *session) up() *cobra.Command {
	var o UpOptions
	cmd := &cobra.Command{
		Use: "up", Short: "Start Slipway in the background", Args: none,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.State, err = s.folder(); err != nil {
				return err
			}
			report, err := s.Roof.Up(cmd.Context(), o)
			if err != nil {
				return err
			}
			return s.show(report, func() string { return fmt.Sprintf("✔ Slipway runs at %s\n", report.URL) }, func() []string { return []string{report.URL} })
		},
	}
	cmd.Flags().StringVar(&o.Addr, "addr", "", "host:port of the API (default 127.0.0.1:7500)")
	return cmd
}
