package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/control"
)

func (s *session) doctor() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "What is wrong or missing, and what mends it", Args: none,
		Long:    "Looks at slipway.yaml here, at both processes and at the services. Exits with 1 if\nsomething is broken; what could only be better is no failure.",
		Example: "  slipway doctor\n  slipway doctor -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all client.List[control.Finding]
			all.Items = append(all.Items, s.examine())
			api, err := s.api()
			if err == nil {
				var found client.List[control.Finding]
				if found, _, err = client.Read[client.List[control.Finding]](cmd.Context(), api, "/doctor"); err == nil {
					all.Items = append(all.Items, control.Finding{Name: "server", Outcome: "ok", What: "answers at " + api.Base})
					all.Items = append(all.Items, found.Items...)
				}
			}
			if errors.Is(err, client.ErrNoServer) {
				what := "does not run: " + err.Error()
				if s.onlyServerDown() {
					what = serverDown
				}
				all.Items = append(all.Items, control.Finding{Name: "server", Outcome: "bad", What: what, Next: "slipway up"})
				err = nil
			}
			if err != nil {
				return err
			}
			return s.findings(all)
		},
	}
}

// examine looks at the project file of this folder.
func (s *session) examine() control.Finding {
	f, err := s.findManifest("")
	if err != nil {
		return control.Finding{Name: manifestName, Outcome: "warn", What: err.Error(), Next: "slipway init"}
	}
	if _, _, err := f.parse(); err != nil {
		return control.Finding{Name: manifestName, Outcome: "bad", What: plural(len(mistakesIn(err)), "mistake") + " in " + f.path, Next: "slipway config validate"}
	}
	return control.Finding{Name: manifestName, Outcome: "ok", What: f.path}
}

func (s *session) findings(all client.List[control.Finding]) error {
	bad := 0
	for _, f := range all.Items {
		if f.Outcome == "bad" {
			bad++
		}
	}
	err := s.show(all, func() string {
		var b strings.Builder
		var rows [][]string
		for _, f := range all.Items {
			glyph := s.look.good("✔")
			switch f.Outcome {
			case "bad":
				glyph = s.look.bad("✖")
			case "warn":
				glyph = s.look.in(toneWarn, "?")
			}
			what := f.What
			if f.Next != "" {
				what += "   next  " + f.Next
			}
			rows = append(rows, []string{glyph + " " + f.Name, what})
		}
		b.WriteString(grid("  ", rows))
		if bad > 0 {
			fmt.Fprintf(&b, "  %s broken\n", plural(bad, "thing"))
		}
		return b.String()
	}, func() []string {
		var names []string
		for _, f := range all.Items {
			names = append(names, f.Name+" "+f.Outcome)
		}
		return names
	})
	if err == nil && bad > 0 {
		return ended(exitFailed)
	}
	return err
}
