package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/control"
)

func (s *session) preview() *cobra.Command {
	var q control.PreviewRequest
	cmd := &cobra.Command{
		Use: "preview SERVICE [VERSION]", Short: "Look at a release under way, whatever its share of the traffic", Args: between(1, 2),
		Long: "Prints a signed header. Requests that carry it are answered by the release under way;\n" +
			"they are counted apart and are no evidence for the judge. Who has the header needs\n" +
			"nothing else, so it is good for a limited time; the ledger keeps who asked for it.",
		Example:           "  slipway preview payment\n  slipway preview payment v2 --env prod --for 15m\n  curl -H \"$(slipway preview payment -o name)\" -H 'Host: payment.localhost' http://127.0.0.1:7580/",
		ValidArgsFunction: s.completeService,
		RunE: func(cmd *cobra.Command, args []string) error {
			if q.Service = args[0]; len(args) > 1 {
				q.Version = args[1]
			}
			api, err := s.api()
			if err != nil {
				return err
			}
			p, err := api.Preview(cmd.Context(), q)
			if err != nil {
				return err
			}
			return s.show(p, func() string { return s.previewText(p) }, func() []string { return []string{p.Header + ": " + p.Value} })
		},
	}
	f := cmd.Flags()
	f.StringVar(&q.Env, "env", "", "environment (default: where something is under way)")
	f.DurationVar(&q.For, "for", 0, "how long the header is good for, at most 168h (default 1h)")
	s.completeFlag(cmd, "env", s.environmentNames)
	return cmd
}

// previewText is the header, and a command that uses it.
func (s *session) previewText(p control.Preview) string {
	var b strings.Builder
	sign, state := signGood, "answers"
	if !p.Answers {
		sign, state = signWaits, "has no instance that answers yet"
	}
	fmt.Fprintf(&b, "  %s %s %s %s in %s   until %s\n", s.look.sign(sign), p.Service, p.Version, state, p.Env, p.Until.Local().Format("15:04:05 on 2 Jan"))
	fmt.Fprintf(&b, "  %s: %s\n\n  %s\n", p.Header, p.Value, p.Command())
	if !p.Answers {
		b.WriteString(next(fmt.Sprintf("slipway watch %d", p.Change)))
	}
	return b.String()
}
