package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/delivery"
)

func (s *session) token() *cobra.Command {
	cmd := &cobra.Command{
		Use: "token", Short: "Say who may do what", Args: none, RunE: groupOnly,
		Long: "A reader sees everything that is no secret; a deployer also takes changes through the\n" +
			"environments and back; an admin also says what the project is and who may do what.\n" +
			"The owner's token, in the state folder, is an admin's.",
		Example: "  slipway token create ci --role deployer --ends 90d\n  slipway token list\n  slipway token revoke ci",
	}
	cmd.AddCommand(s.tokenCreate(), s.tokenList(), s.tokenRevoke(), s.tokenWhoami())
	return cmd
}

func (s *session) tokenCreate() *cobra.Command {
	var role, ends string
	cmd := &cobra.Command{
		Use: "create NAME --role reader|deployer|admin", Short: "Make a named token, and print it this once", Args: between(1, 1),
		Long:    "The token is printed on stdout and kept by nobody: Slipway has its hash. The ledger names\nwho uses it by NAME.",
		Example: "  slipway token create ci --role deployer --ends 90d\n  SLIPWAY_URL=https://slipway.example:7500 SLIPWAY_TOKEN=slw_… slipway status",
		RunE: func(cmd *cobra.Command, args []string) error {
			if role == "" {
				return usageError{err: fmt.Errorf("slipway token create needs --role: %s", strings.Join(roles(), ", ")), next: "slipway token create " + shellWord(args[0]) + " --role reader"}
			}
			until, err := endOf(ends, time.Now())
			if err != nil {
				return err
			}
			api, err := s.api()
			if err != nil {
				return err
			}
			made, err := api.CreateToken(cmd.Context(), args[0], delivery.Access(role), until)
			if err != nil {
				return err
			}
			s.talk(fmt.Sprintf("  %s %s is %s%s; what opens it is printed this once\n", s.look.good("✔"), made.Token.Name, made.Token.Access.Words(), untilText(made.Token)))
			return s.show(made, func() string { return made.Secret + "\n" }, func() []string { return []string{made.Secret} })
		},
	}
	cmd.Flags().StringVar(&role, "role", "", "what it opens: reader, deployer or admin")
	cmd.Flags().StringVar(&ends, "ends", "", "when it ends: 12h, 90d, or a day such as 2027-01-31 (default never)")
	s.completeFlag(cmd, "role", fixed(roles()...))
	return cmd
}

func roles() []string {
	var out []string
	for _, a := range delivery.Accesses() {
		out = append(out, string(a))
	}
	return out
}

// endOf reads when a token ends: a time from now, or a day at whose end it is over.
func endOf(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if day, err := time.ParseInLocation(time.DateOnly, text, now.Location()); err == nil {
		return day.AddDate(0, 0, 1), nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 && n < 100_000 {
			return now.AddDate(0, 0, n), nil
		}
	} else if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(d), nil
	}
	return time.Time{}, usageError{err: fmt.Errorf("--ends: %q is neither a time from now nor a day", text), next: "slipway token create NAME --role reader --ends 90d"}
}

// untilText says when a token ends, after a comma.
func untilText(t delivery.Token) string {
	if t.Ends == nil {
		return ""
	}
	return ", until " + t.Ends.Local().Format("2006-01-02 15:04 MST")
}

func (s *session) tokenList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "Named tokens, who made them and when they were used", Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := s.api()
			if err != nil {
				return err
			}
			list, raw, err := client.Read[client.List[delivery.Token]](cmd.Context(), api, "/tokens")
			if err != nil {
				return err
			}
			now := time.Now()
			return s.show(raw, func() string { return s.tokenTable(list.Items, now) }, func() []string {
				var names []string
				for _, t := range list.Items {
					if t.InForce(now) {
						names = append(names, t.Name)
					}
				}
				return names
			})
		},
	}
}

func (s *session) tokenTable(list []delivery.Token, now time.Time) string {
	if len(list) == 0 {
		return "  – there is no named token; the owner's, in the state folder, is an admin's\n" + next("slipway token create ci --role deployer")
	}
	rows := [][]string{{"TOKEN", "ACCESS", "MADE", "BY", "LAST USED", "ENDS"}}
	for _, t := range list {
		used, ends := "never", "never"
		if t.Used != nil {
			used = clock(*t.Used, now)
		}
		switch {
		case t.Revoked != nil:
			ends = s.look.faint("revoked " + clock(t.Revoked.At, now) + " by " + printable(t.Revoked.By))
		case t.Ends != nil && !t.InForce(now):
			ends = s.look.faint("ended " + clock(*t.Ends, now))
		case t.Ends != nil && t.Ends.Sub(now) < 48*time.Hour:
			ends = "in " + span(t.Ends.Sub(now))
		case t.Ends != nil:
			ends = t.Ends.Local().Format(time.DateOnly)
		}
		rows = append(rows, []string{printable(t.Name), string(t.Access), clock(t.Created, now), printable(t.By), used, ends})
	}
	return grid("  ", rows)
}

func (s *session) tokenRevoke() *cobra.Command {
	cmd := &cobra.Command{
		Use: "revoke NAME", Short: "Take a token back; what it opened is over at once", Args: between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := s.api()
			if err != nil {
				return err
			}
			tok, err := api.RevokeToken(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return s.show(tok, func() string {
				return fmt.Sprintf("  %s token %s opens nothing any more; browsers that it signed in are signed out\n", s.look.good("✔"), tok.Name)
			}, func() []string { return []string{tok.Name} })
		},
	}
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return s.tokenNames(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
	}
	return cmd
}

// tokenNames completes the names of tokens in force.
func (s *session) tokenNames(ctx context.Context) []string {
	ctx, stop := context.WithTimeout(ctx, completeTime)
	defer stop()
	api, err := s.api()
	if err != nil {
		return nil
	}
	api.Patience = 0
	list, _, err := client.Read[client.List[delivery.Token]](ctx, api, "/tokens")
	if err != nil {
		return nil
	}
	var names []string
	for _, t := range list.Items {
		if t.InForce(time.Now()) {
			names = append(names, t.Name)
		}
	}
	return names
}

func (s *session) tokenWhoami() *cobra.Command {
	return &cobra.Command{
		Use: "whoami", Short: "Who asks, and what they may do", Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := s.api()
			if err != nil {
				return err
			}
			me, raw, err := client.Read[client.Caller](cmd.Context(), api, "/whoami")
			if err != nil {
				return err
			}
			return s.show(raw, func() string {
				by := map[string]string{"owner": "by the owner's token", "token": "by the token of that name", "public": "for reading is open to all"}[me.Via]
				return fmt.Sprintf("  %s is %s, %s\n", printable(me.Name), me.Access.Words(), by)
			}, func() []string { return []string{printable(me.Name)} })
		},
	}
}

// open prints a link: where there is a person who can follow it, there is a browser.
func (s *session) open() *cobra.Command {
	return &cobra.Command{
		Use: "open", Short: "Print a link that signs your browser in to the page", Args: none,
		Long:    "The link works once, within two minutes. What you do on the page is in the ledger under\nyour name.",
		Example: "  slipway open\n  xdg-open \"$(slipway open)\"",
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := s.api()
			if err != nil {
				return err
			}
			link, err := api.SignInLink(cmd.Context())
			if err != nil {
				return err
			}
			at := api.Base + link.Path
			s.talk(fmt.Sprintf("  %s the link works once, within two minutes\n", s.look.good("✔")))
			return s.show(struct {
				URL  string    `json:"url"`
				Ends time.Time `json:"ends"`
			}{at, link.Ends}, func() string { return at + "\n" }, func() []string { return []string{at} })
		},
	}
}
