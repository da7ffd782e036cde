package cli

import "github.com/spf13/cobra"

func (s *session) demo() *cobra.Command {
	o := DemoOptions{Stdout: s.Stdout, Stderr: s.Stderr}
	cmd := &cobra.Command{
		Use: "demo", Short: "Run a sample system with real traffic on this machine", Args: none,
		Long: "Five small services in three languages, three environments and synthetic shoppers.\nEverything it starts ends with it. With --tour it tells its story by itself and ends.",
		Example: "  slipway demo                    then deploy from another terminal\n" +
			"  slipway demo --tour --fast      see a bad version be caught, in a minute or two\n" +
			"  slipway demo --trials 1 --fast  see the judge decide eight rollouts",
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.JSON = s.format == "json"
			code, err := s.Roof.Demo(cmd.Context(), o)
			if err != nil {
				return err
			}
			return ended(exit(code))
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.Tour, "tour", false, "tell the story by itself, then end")
	f.IntVar(&o.Trials, "trials", 0, "roll good and bad versions out this many times each, count how the judge ends them, then end")
	f.BoolVar(&o.Fast, "fast", false, "shorter holds")
	f.IntVar(&o.Port, "port", 0, "first port; the environments listen at 60, 70 and 80 above it (default 7500)")
	f.StringVar(&o.Dir, "dir", "", "folder for its files and its state (default a temporary one)")
	cmd.AddCommand(&cobra.Command{
		Use: "serve NAME", Short: "Run one built-in service of the demo", Hidden: true, Args: between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error { return s.Roof.DemoServe(cmd.Context(), args[0]) },
	})
	return cmd
}
