package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/delivery"
)

func (s *session) audit() *cobra.Command {
	cmd := &cobra.Command{
		Use: "audit", Short: "The ledger: who did what, and whether anyone changed it since", Args: none, RunE: groupOnly,
		Example: "  slipway audit verify\n  slipway audit list -n 200 -o json",
	}
	cmd.AddCommand(s.auditVerify(), s.auditList())
	return cmd
}

// groupOnly is the run of a command that only holds others.
func groupOnly(cmd *cobra.Command, _ []string) error {
	return usageError{err: fmt.Errorf("%s needs one of its commands", cmd.CommandPath()), next: cmd.CommandPath() + " --help"}
}

func (s *session) auditVerify() *cobra.Command {
	return &cobra.Command{
		Use: "verify", Short: "Compute every hash of the ledger again", Args: none,
		Long:    "Exits with 1 if a line was changed, removed or added behind Slipway's back. Keep the\nhead elsewhere to notice that even the whole ledger was replaced.",
		Example: "  slipway audit verify\n  slipway audit verify -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := s.api()
			if err != nil {
				return err
			}
			type report struct {
				OK       bool   `json:"ok"`
				Sentence string `json:"sentence"`
				Head     string `json:"head"`
			}
			r, raw, err := client.Read[report](cmd.Context(), api, "/audit/verify")
			if err != nil {
				return err
			}
			err = s.show(raw, func() string {
				if !r.OK {
					return fmt.Sprintf("  %s %s\n", s.look.bad("✖"), r.Sentence)
				}
				return fmt.Sprintf("  %s %s\n  head  %s\n", s.look.good("✔"), r.Sentence, r.Head)
			}, func() []string { return []string{r.Head} })
			if err == nil && !r.OK {
				return ended(exitFailed)
			}
			return err
		},
	}
}

func (s *session) auditList() *cobra.Command {
	o := ledgerOptions{all: true}
	cmd := &cobra.Command{
		Use: "list", Short: "The lines of the ledger as they are, with their hashes", Args: none,
		Example: "  slipway audit list\n  slipway audit list --service payment -n 500 -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.showLedger(cmd.Context(), o, func(lines []delivery.Event) string {
				rows := [][]string{{"LINE", "TIME", "KIND", "BY", "CHANGE", "HASH", "WHAT"}}
				for i := range rows[0] {
					rows[0][i] = s.look.faint(rows[0][i])
				}
				for _, e := range lines {
					change := ""
					if e.Change != 0 {
						change = fmt.Sprint(e.Change)
					}
					rows = append(rows, []string{fmt.Sprint(e.Seq), e.At.Local().Format(time.DateTime), string(e.Kind), e.By, change, short(e.Hash), printable(e.Text)})
				}
				return grid("  ", rows)
			})
		},
	}
	o.flags(s, cmd)
	cmd.Flags().StringVar(&o.service, "service", "", "this service alone")
	return cmd
}
