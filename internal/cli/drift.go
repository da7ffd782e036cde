package cli

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/control"
)

func (s *session) drift() *cobra.Command {
	return &cobra.Command{
		Use: "drift FROM TO", Short: "What differs between two environments", Args: between(2, 2),
		Long: "Each service that stands with another release in TO than in FROM, and each value of\n" +
			"configuration that differs. What slipway.yaml says for one environment alone is marked.",
		Example: "  slipway drift staging prod\n  slipway drift staging prod -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := s.api()
			if err != nil {
				return err
			}
			path := "/drift?" + url.Values{"from": {args[0]}, "to": {args[1]}}.Encode()
			d, raw, err := client.Read[control.Drift](cmd.Context(), api, path)
			if err != nil {
				return err
			}
			return s.show(raw, func() string { return s.drifted(d) }, func() []string {
				var names []string
				for _, one := range d.Services {
					names = append(names, one.Service)
				}
				return names
			})
		},
	}
}

// drifted lays out what differs, service by service.
func (s *session) drifted(d control.Drift) string {
	l := s.look
	var b strings.Builder
	for _, one := range d.Services {
		fmt.Fprintf(&b, "  %s   %s → %s\n", l.strong(one.Service), standing(one.From), standing(one.To))
		for _, k := range one.Kinds {
			fmt.Fprintf(&b, "  kind     %s\n", k)
		}
		for _, c := range one.Config {
			meant := ""
			if c.Meant {
				meant = l.faint("  as slipway.yaml says")
			}
			fmt.Fprintf(&b, "  config   %s  %s%s\n", c.Key, fromTo(c.Delta), meant)
		}
		for _, r := range one.Run {
			fmt.Fprintf(&b, "  run      %s  %s\n", r.Key, fromTo(r))
		}
	}
	fmt.Fprintf(&b, "  %s %s equal in %s and %s\n", l.good("✔"), plural(d.Same, "service"), d.From, d.To)
	if d.Meant > 0 {
		fmt.Fprintf(&b, "    %s of the same release whose configuration differs as slipway.yaml says\n", plural(d.Meant, "service"))
	}
	return b.String()
}

// standing names a release with what its code is known by.
func standing(in *control.StandsIn) string {
	if in == nil {
		return "nothing"
	}
	return in.Version + " (" + in.Digest.Short() + ")"
}
