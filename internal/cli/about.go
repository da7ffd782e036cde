package cli

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/manifest"
)

// The commands that speak of slipway itself.

func (s *session) completion() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use: "completion " + strings.Join(shells, "|"), Short: "Print what makes a shell complete commands", Args: between(1, 1), ValidArgs: shells,
		Example: "  source <(slipway completion bash)\n  slipway completion zsh > \"${fpath[1]}/_slipway\"\n  slipway completion fish > ~/.config/fish/completions/slipway.fish",
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(s.Stdout, true)
			case "zsh":
				return root.GenZshCompletion(s.Stdout)
			case "fish":
				return root.GenFishCompletion(s.Stdout, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(s.Stdout)
			}
			return usageError{err: fmt.Errorf("there is no completion for %q; there is %s", args[0], strings.Join(shells, ", ")), next: "slipway completion bash"}
		},
	}
}

func (s *session) schema() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of slipway.yaml, for editors", Args: none,
		Example: "  slipway schema > slipway.schema.json",
		RunE:    func(*cobra.Command, []string) error { return s.print(string(manifest.Schema())) },
	}
}

func (s *session) rawAPI() *cobra.Command {
	var body string
	cmd := &cobra.Command{
		Use: "api METHOD PATH", Short: "Ask the HTTP API for anything, with the token of the server", Args: between(2, 2),
		Example: "  slipway api GET /status\n  slipway api POST /changes --data '{\"service\":\"cart\",\"version\":\"v2\"}'\n  echo '{\"reason\":\"enough\"}' | slipway api POST /changes/7/abort --data -",
		RunE: func(cmd *cobra.Command, args []string) error {
			method, path := strings.ToUpper(args[0]), "/"+strings.TrimPrefix(strings.TrimPrefix(args[1], "/api/v1"), "/")
			api, err := s.api()
			if err != nil {
				return err
			}
			r := client.Request{Method: method, Path: path, Accept: "application/json, application/x-ndjson, */*"}
			switch {
			case body == "-":
				r.Body, r.Type = s.Stdin, "application/json"
			case body != "":
				r.Body, r.Type = strings.NewReader(body), "application/json"
			case method == http.MethodPost:
				r.Body, r.Type = strings.NewReader("{}"), "application/json"
			}
			res, err := api.Open(cmd.Context(), r)
			if err != nil {
				return err
			}
			_, err = io.Copy(s.Stdout, res.Body)
			return errors.Join(err, res.Body.Close())
		},
	}
	cmd.Flags().StringVarP(&body, "data", "d", "", "JSON body, or - for the standard input")
	return cmd
}

// capability is one command, for programs that drive slipway.
type capability struct {
	Command string   `json:"command"`
	Short   string   `json:"short"`
	Flags   []string `json:"flags"`
}

func (s *session) capabilities() *cobra.Command {
	return &cobra.Command{
		Use: "capabilities", Short: "What this program can do, for programs that drive it", Args: none,
		Example: "  slipway capabilities -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			all := capabilitiesOf(cmd.Root())
			type about struct {
				Version  string       `json:"version"`
				Formats  []string     `json:"formats"`
				Exits    []meaning    `json:"exit_codes"`
				Commands []capability `json:"commands"`
			}
			return s.show(about{s.Roof.Version, formats(), exits(), all}, func() string {
				var rows [][]string
				for _, c := range all {
					rows = append(rows, []string{c.Command, c.Short})
				}
				return grid("  ", rows)
			}, func() []string {
				var names []string
				for _, c := range all {
					names = append(names, c.Command)
				}
				return names
			})
		},
	}
}

func capabilitiesOf(cmd *cobra.Command) []capability {
	var all []capability
	for _, c := range cmd.Commands() {
		if c.Hidden || !c.IsAvailableCommand() {
			continue
		}
		if c.HasAvailableSubCommands() {
			all = append(all, capabilitiesOf(c)...)
		}
		if !c.Runnable() || c.HasAvailableSubCommands() {
			continue
		}
		flags := strings.Fields(c.LocalFlags().FlagUsages())
		flags = slices.DeleteFunc(flags, func(f string) bool { return !strings.HasPrefix(f, "--") })
		all = append(all, capability{Command: c.CommandPath(), Short: c.Short, Flags: flags})
	}
	return all
}

// exitCodes is a help topic: slipway help exit-codes.
func (s *session) exitCodes() *cobra.Command {
	var rows [][]string
	for _, e := range exits() {
		rows = append(rows, []string{fmt.Sprintf("%3d", e.Code), e.Name, e.Meaning})
	}
	return &cobra.Command{Use: "exit-codes", Short: "What the program ends with", Long: "Exit codes\n\n" + strings.TrimRight(grid("  ", rows), "\n")}
}

// help finds a command or a topic, or says that there is none.
func (s *session) help() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Help about a command or a topic",
		RunE: func(cmd *cobra.Command, args []string) error {
			found, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usageError{err: fmt.Errorf("there is no help about %q", strings.Join(args, " ")), next: "slipway --help"}
			}
			if s.format == "json" && found.Name() == "exit-codes" {
				return s.show(exits(), nil, nil)
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
	}
}
