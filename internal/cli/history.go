package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// ledgerOptions pick lines of the ledger.
type ledgerOptions struct {
	service, env string
	change       int64
	limit        int
	all          bool // the machine's own lines too
}

func (o *ledgerOptions) flags(s *session, cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.env, "env", "", "this environment alone")
	f.Int64Var(&o.change, "change", 0, "this change alone")
	f.IntVarP(&o.limit, "limit", "n", 40, "how many lines, from 1 to 500")
	s.completeFlag(cmd, "env", s.environmentNames)
}

func (s *session) history() *cobra.Command {
	var o ledgerOptions
	cmd := &cobra.Command{
		Use: "history [SERVICE]", Short: "What happened, when, and who asked", Args: between(0, 1),
		Example:           "  slipway history\n  slipway history payment --env prod -n 100\n  slipway history --change 8 --all",
		ValidArgsFunction: s.completeService,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.service = args[0]
			}
			return s.showLedger(cmd.Context(), o, func(lines []delivery.Event) string { return s.timeline(lines, o.all) })
		},
	}
	o.flags(s, cmd)
	cmd.Flags().BoolVar(&o.all, "all", false, "every line, also what was only intended or seen")
	return cmd
}

// showLedger prints the newest lines that o picks, oldest first.
func (s *session) showLedger(ctx context.Context, o ledgerOptions, table func([]delivery.Event) string) error {
	if o.limit < 1 || o.limit > 500 || o.change < 0 {
		return usageError{err: fmt.Errorf("--limit is from 1 to 500, --change the number of a change"), next: "slipway history --limit 100"}
	}
	api, err := s.api()
	if err != nil {
		return err
	}
	lines, raw, err := readLedger(ctx, api, o)
	if err != nil {
		return err
	}
	return s.show(client.List[json.RawMessage]{Items: raw}, func() string { return table(lines) }, func() []string {
		var names []string
		for _, e := range lines {
			names = append(names, strconv.FormatInt(e.Seq, 10))
		}
		return names
	})
}

// readLedger turns the pages back until there are enough lines.
func readLedger(ctx context.Context, api *client.Client, o ledgerOptions) ([]delivery.Event, []json.RawMessage, error) {
	q := url.Values{"newest": {"true"}, "limit": {"200"}}
	if o.service != "" {
		q.Set("service", o.service)
	}
	if o.env != "" {
		q.Set("env", o.env)
	}
	if o.change > 0 {
		q.Set("change", strconv.FormatInt(o.change, 10))
	}
	lines, raw := []delivery.Event{}, []json.RawMessage{}
	for {
		page, _, err := client.Read[client.List[json.RawMessage]](ctx, api, "/ledger?"+q.Encode())
		if err != nil {
			return nil, nil, err
		}
		for _, doc := range page.Items {
			var e delivery.Event
			if err := json.Unmarshal(doc, &e); err != nil {
				return nil, nil, fmt.Errorf("cli: ledger: %w", err)
			}
			if (o.all || taleOf(e).worth) && len(lines) < o.limit {
				lines, raw = append(lines, e), append(raw, doc)
			}
		}
		if page.Next == "" || len(lines) >= o.limit {
			break
		}
		q.Set("before", page.Next)
	}
	slices.Reverse(lines)
	slices.Reverse(raw)
	return lines, raw, nil
}

// timeline lays out lines for people, with a title for each new day. raw keeps
// the words of the ledger.
func (s *session) timeline(lines []delivery.Event, raw bool) string {
	if len(lines) == 0 {
		return "  nothing happened yet\n" + next("slipway deploy SERVICE VERSION")
	}
	var rows [][]string
	day := ""
	for _, e := range lines {
		at := e.At.Local()
		if d := at.Format(time.DateOnly); d != day {
			day = d
			rows = append(rows, []string{s.look.strong(d)})
		}
		change := ""
		if e.Change != 0 {
			change = fmt.Sprintf("#%d", e.Change)
		}
		t := taleOf(e)
		if raw {
			t.version, t.text = "", printable(e.Text)
		}
		text := s.look.sign(t.sign) + " " + t.text
		if t.version != "" {
			text = s.look.sign(t.sign) + " " + t.version + "  " + t.text
		}
		rows = append(rows, []string{s.look.faint(at.Format(time.TimeOnly)), change, e.Service, e.Env, text})
	}
	return grid("  ", rows)
}
