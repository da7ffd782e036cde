package cli

import "github.com/spf13/cobra"

func (s *session) proxyDump(o *planeOptions) *cobra.Command {
	return &cobra.Command{
		Use: "dump", Short: "Print all that the data plane knows of itself, for a bug report", Args: none,
		Long:    "One JSON document: the table without its keys, the state, the counts of the last minute,\nfailed requests with their heads redacted, and what the process uses.",
		Example: "  slipway proxy dump > plane.json\n  slipway proxy dump | jq .process",
		RunE: func(cmd *cobra.Command, _ []string) error {
			plane, err := s.plane(o)
			if err != nil {
				return err
			}
			d, err := plane.Dump(cmd.Context())
			if err != nil {
				return absence(err)
			}
			doc, err := document(d)
			if err != nil {
				return err
			}
			return s.print(string(doc) + "\n")
		},
	}
}
