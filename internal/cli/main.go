package cli

import (
	"context"
	"errors"
	"io"
	"os/user"
	"time"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/spf13/cobra"
)

// Env is the world of one run of the program: all that a command reads or
// writes beside the HTTP API and the files it is told of.
type Env struct {
	Args           []string // without the program's name
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Vars           func(string) string              // of the environment
	Dir            string                           // working folder, absolute
	Terminal       func() (width int, present bool) // of Stdout and Stderr; width in columns
	Roof           Roof
}

// Main runs one command and returns the exit code of the program. When ctx ends
// it stops what it does; what the server does goes on.
func Main(ctx context.Context, e Env) int {
	s := &session{Env: e}
	s.look = lookOf(e)
	root := s.root() //nolint:contextcheck // cobra hands ctx to each command, by ExecuteContext
	root.SetArgs(e.Args)
	err := root.ExecuteContext(ctx)
	if err != nil && !s.began {
		err = misused(err)
	}
	if err != nil {
		s.complain(err)
	}
	return int(exitOf(err))
}

// session is one run of one command.
type session struct {
	Env
	look   look
	state  string // --state
	socket string // --socket of the data plane's commands
	format string // --output
	began  bool   // the arguments were understood
	name   string // of the command that runs: "slipway config explain"
}

func (s *session) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "slipway",
		Short: "Deliver changes safely, and take them back by themselves",
		Long: "Slipway carries a change of a service through its environments, step by step, judged\n" +
			"by the traffic it gets, and takes it back by itself when it is worse than what ran.",
		Example: "  slipway demo                    a sample system with real traffic on this machine\n" +
			"  slipway init && slipway up      your own project\n" +
			"  slipway deploy payment v2       carry a version through every environment",
		Version:           s.Roof.Version,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: s.begin,
	}
	root.SetIn(s.Stdin)
	root.SetOut(s.Stdout)
	root.SetErr(s.Stderr)
	root.SetVersionTemplate("slipway {{.Version}}\n")
	root.CompletionOptions.DisableDefaultCmd = true
	root.PersistentFlags().StringVar(&s.state, "state", "", "folder that holds the state (default $SLIPWAY_HOME, else ~/.local/state/slipway)")
	root.PersistentFlags().StringVarP(&s.format, "output", "o", "table", "what to print: table, json, yaml or name")
	root.AddGroup(&cobra.Group{ID: "begin", Title: "Begin"}, &cobra.Group{ID: "deliver", Title: "Deliver"}, &cobra.Group{ID: "look", Title: "Look"}, &cobra.Group{ID: "tools", Title: "Tools"})
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("begin", s.initialise(), s.up(), s.down(), s.open(), s.demo())
	add("deliver", s.deploy(), s.promote(), s.switchOver(), s.rollback(), s.abort(), s.pause(), s.resume(), s.hold(), s.release(), s.preview())
	add("look", s.status(), s.watch(), s.why(), s.analysis(), s.diff(), s.drift(), s.metrics(), s.logs(), s.history(), s.changes(), s.trace(), s.audit())
	add("tools", s.config(), s.doctor(), s.rawAPI(), s.schema(), s.capabilities(), s.completion(), s.token(), s.proxy())
	root.AddCommand(s.server(), s.shim(), s.exitCodes())
	root.SetHelpCommand(s.help())
	root.SetHelpCommandGroupID("tools")
	return root
}

// begin runs before every command, once its arguments are understood.
func (s *session) begin(cmd *cobra.Command, _ []string) error {
	if err := s.formatKnown(); err != nil {
		return err
	}
	s.began, s.name = true, cmd.CommandPath()
	return nil
}

// folder returns the state folder that this run means.
func (s *session) folder() (string, error) { return client.StateFolder(s.state, s.Vars) }

// patience is how long a command that only reads waits for a server that is
// being started anew.
const patience = 3 * time.Second

// api returns a client of the server that runs here, or of the one that
// $SLIPWAY_URL names, with the token in $SLIPWAY_TOKEN.
func (s *session) api() (*client.Client, error) {
	if url := s.Vars("SLIPWAY_URL"); url != "" {
		c := client.New(url, s.Vars("SLIPWAY_TOKEN"), s.person())
		c.Patience = patience
		return c, nil
	}
	folder, err := s.folder()
	if err != nil {
		return nil, err
	}
	c, err := client.Find(folder, s.person())
	if err != nil {
		return nil, err
	}
	c.Patience = patience
	return c, nil
}

// person is the name that the ledger keeps.
func (s *session) person() string {
	for _, name := range []string{"SLIPWAY_USER", "USER", "LOGNAME"} {
		if v := s.Vars(name); v != "" {
			return v
		}
	}
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "unknown"
}

// interrupted says that a person pressed Ctrl-C or the like.
func interrupted(err error) bool { return errors.Is(err, context.Canceled) }
