package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// The commands that are the processes themselves. "slipway up" starts them;
// they are hidden because nobody has to.

func (s *session) server() *cobra.Command {
	o := ServerOptions{Log: s.Stderr}
	cmd := &cobra.Command{
		Use: "server", Short: "Run the control plane in the foreground", Hidden: true, Args: none,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if (o.TLSCert == "") != (o.TLSKey == "") {
				return usageError{err: errors.New("--tls-cert and --tls-key go together"), next: "slipway server --help"}
			}
			if o.State, err = s.folder(); err != nil {
				return err
			}
			return s.Roof.Server(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Addr, "addr", "", "host:port of the API (default 127.0.0.1:7500)")
	f.BoolVar(&o.AllowRemote, "allow-remote", false, "listen on an address that others reach, without TLS")
	f.BoolVar(&o.AnonymousRead, "anonymous-read", false, anonymousRead)
	f.StringVar(&o.TLSCert, "tls-cert", "", "certificate file")
	f.StringVar(&o.TLSKey, "tls-key", "", "key file of --tls-cert")
	return cmd
}

// anonymousRead describes the flag of that name.
const anonymousRead = "let everybody read who reaches the page or the API, without a token"

func (s *session) shim() *cobra.Command {
	return &cobra.Command{
		Use: "shim FOLDER", Short: "Keep one instance running", Hidden: true, DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return ended(exit(s.Roof.Shim(cmd.Context(), args)))
		},
	}
}

// Arguments, as people are told of them.

func none(cmd *cobra.Command, args []string) error { return between(0, 0)(cmd, args) }

// between accepts least to most arguments.
func between(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		next := cmd.CommandPath() + " --help"
		switch {
		case len(args) < least:
			return usageError{err: fmt.Errorf("%s needs more: %s", cmd.CommandPath(), cmd.UseLine()), next: next}
		case len(args) > most:
			return usageError{err: fmt.Errorf("%s: %q is too much: %s", cmd.CommandPath(), args[most], cmd.UseLine()), next: next}
		}
		return nil
	}
}
