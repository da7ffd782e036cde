package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/traffic"
)

// upgradePatience bounds an upgrade, the wait for the last requests of a data
// plane before the running one included.
const upgradePatience = 3 * time.Minute

func (s *session) proxyUpgrade(o *planeOptions) *cobra.Command {
	var binary string
	cmd := &cobra.Command{
		Use: "upgrade", Short: "Replace the running data plane by a new process, without a lost request", Args: none,
		Long: "Starts the new process, hands the open listeners over to it, and lets the old one finish its\n" +
			"requests. If the new one does not serve within 20 s the old one goes on as if nothing had\n" +
			"happened. WebSockets and streams of the old one are cut after data_plane.limits.streams.\n" +
			"The process that serves afterwards is another one: what started the first as a foreground\n" +
			"process sees it end.",
		Example: "  slipway proxy upgrade                          the same file, as it is on disk now\n  slipway proxy upgrade --binary ./bin/slipway",
		RunE: func(cmd *cobra.Command, _ []string) error {
			plane, err := s.plane(o)
			if err != nil {
				return err
			}
			ctx, stop := context.WithTimeout(cmd.Context(), upgradePatience)
			defer stop()
			seen, err := plane.State(ctx)
			if err != nil {
				return absence(err)
			}
			if seen.Predecessor != 0 {
				s.talk(fmt.Sprintf("  %s waiting for pid %d, which served before, to finish its requests\n", s.look.sign(signWaits), seen.Predecessor))
			}
			done, err := plane.Upgrade(ctx, o.path(s.Dir, binary))
			if err != nil {
				return absence(err)
			}
			return s.show(done, func() string { return s.upgraded(done) }, func() []string { return []string{fmt.Sprint(done.PID)} })
		},
	}
	cmd.Flags().StringVar(&binary, "binary", "", "file to run (default the one that the running process was started from)")
	return cmd
}

func (s *session) upgraded(u traffic.Upgrade) string {
	return fmt.Sprintf("%s the data plane is upgraded: %s, pid %d → %s, pid %d\n", s.look.good("✔"), u.OldVersion, u.OldPID, u.Version, u.PID) + next("slipway proxy routes")
}
