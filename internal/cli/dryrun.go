package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/control"
)

// trialFlag lets a command be tried.
func trialFlag(cmd *cobra.Command, dry *bool) {
	cmd.Flags().BoolVar(dry, "dry-run", false, "say what would happen, and change nothing")
}

// tried says what a command would do that was tried only.
func (s *session) tried(data any, e control.Effect) error {
	return s.show(data, func() string { return s.promise(e) + "  " + s.look.sign(signWaits) + " nothing was changed\n" }, func() []string { return nil })
}

// promise says the effect of an action before it is done.
func (s *session) promise(e control.Effect) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  would    %s\n", printable(e.Text))
	for _, d := range e.Config {
		fmt.Fprintf(&b, "  config   %s  %s\n", d.Key, fromTo(d))
	}
	for _, note := range e.Notes {
		fmt.Fprintf(&b, "  note     %s\n", printable(note))
	}
	return b.String()
}
