package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (s *session) down() *cobra.Command {
	var o DownOptions
	cmd := &cobra.Command{
		Use: "down", Short: "Stop Slipway and everything it runs", Args: none,
		Example: "  slipway down\n  slipway down --keep-instances     stop only the control plane; traffic goes on",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.State, err = s.folder(); err != nil {
				return err
			}
			report, err := s.Roof.Down(cmd.Context(), o)
			if err != nil {
				return err
			}
			return s.show(report, func() string { return s.downTable(o, report) }, func() []string { return nil })
		},
	}
	cmd.Flags().BoolVar(&o.KeepInstances, "keep-instances", false, "stop the control plane only; the proxy and the instances go on")
	return cmd
}

func (s *session) downTable(o DownOptions, r DownReport) string {
	switch {
	case !r.Server && !r.Proxy && r.Instances == 0:
		return "– nothing ran in " + o.State + "\n"
	case o.KeepInstances:
		return s.look.good("✔") + " the control plane is stopped; the proxy and the instances go on\n"
	}
	return fmt.Sprintf("%s everything is stopped, %s\n", s.look.good("✔"), plural(r.Instances, "instance"))
}
