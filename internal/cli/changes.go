package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// changesOptions pick changes, as the page Changes does.
type changesOptions struct {
	control.ChangeFilter

	limit int
}

func (s *session) changes() *cobra.Command {
	var o changesOptions
	cmd := &cobra.Command{
		Use: "changes [SERVICE]", Short: "Changes, newest first, and how they stand", Args: between(0, 1),
		Long: "Picks changes by service, environment, kind, outcome, person and time; what is not said picks\n" +
			"all. With --env, --outcome is how a change stands there.",
		Example: "  slipway changes\n  slipway changes payment --env prod --outcome rolled-back --since 24h\n" +
			"  slipway changes --by ann --kind config --since 2026-11-01 --until 2026-11-23 -o json",
		ValidArgsFunction: s.completeService,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.Service = args[0]
			}
			return s.runChanges(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Env, "env", "", "queued for this environment")
	f.StringVar(&o.Kind, "kind", "", "code, config, flag, experiment, schema or secret")
	f.StringVar(&o.Outcome, "outcome", "", strings.Join(control.Outcomes(), ", "))
	f.StringVar(&o.By, "by", "", "who submitted it")
	f.StringVar(&o.From, "since", "", "submitted in the last 24h or 7d, or since a day or time: 2026-11-23, 2026-11-23T14:05:00Z")
	f.StringVar(&o.To, "until", "", "submitted before, said as for --since; a day counts as a whole")
	f.IntVarP(&o.limit, "limit", "n", 40, "how many changes, from 1 to 500")
	s.completeFlag(cmd, "env", s.environmentNames)
	s.completeFlag(cmd, "outcome", func(context.Context) []string { return control.Outcomes() })
	return cmd
}

func (s *session) runChanges(ctx context.Context, o changesOptions) error {
	if o.limit < 1 || o.limit > 500 {
		return usageError{err: fmt.Errorf("--limit is from 1 to 500"), next: "slipway changes --limit 100"}
	}
	now := time.Now()
	o.From, o.To = sinceTime(o.From, now), sinceTime(o.To, now)
	if _, err := o.Query(); err != nil { // refused here by the names of the flags
		return flagged(err)
	}
	api, err := s.api()
	if err != nil {
		return err
	}
	q := url.Values{"limit": {strconv.Itoa(o.limit)}}
	for name, value := range map[string]string{"service": o.Service, "env": o.Env, "kind": o.Kind, "outcome": o.Outcome, "by": o.By, "from": o.From, "to": o.To} {
		if value != "" {
			q.Set(name, value)
		}
	}
	page, _, err := client.Read[client.List[json.RawMessage]](ctx, api, "/changes?"+q.Encode())
	if err != nil {
		return err
	}
	list := make([]control.Listed, len(page.Items))
	for i, doc := range page.Items {
		if err := json.Unmarshal(doc, &list[i]); err != nil {
			return fmt.Errorf("cli: changes: %w", err)
		}
	}
	return s.show(page, func() string { return s.changesTable(list, page.Next != "", o) }, func() []string {
		var names []string
		for _, c := range list {
			names = append(names, strconv.FormatInt(int64(c.ID), 10))
		}
		return names
	})
}

// sinceTime turns a length of time until now, "24h" or "7d", into a time; what is none
// stays as it is.
func sinceTime(text string, now time.Time) string {
	days, isDays := strings.CutSuffix(text, "d")
	if n, err := strconv.Atoi(days); isDays && err == nil && n >= 0 && n <= 100_000 {
		return now.AddDate(0, 0, -n).UTC().Format(time.RFC3339)
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d).UTC().Format(time.RFC3339)
	}
	return text
}

// flagged names the flag instead of the field that is wrong.
func flagged(err error) error {
	bad, ok := err.(*delivery.FieldError) //nolint:errorlint // Query returns it as it is
	if !ok {
		return err
	}
	name, why := bad.Field, bad.Why
	switch name {
	case "from":
		name, why = "since", "is a length of time as 24h or 7d, "+strings.TrimPrefix(why, "is ")
	case "to":
		name, why = "until", "is a length of time as 24h or 7d, "+strings.TrimPrefix(why, "is ")
	}
	return delivery.InvalidNext("--"+name, why, bad.Next)
}

// changesTable lays out changes for people.
func (s *session) changesTable(list []control.Listed, more bool, o changesOptions) string {
	if len(list) == 0 {
		if o.ChangeFilter != (control.ChangeFilter{}) {
			return "  no change is like that\n" + next("slipway changes")
		}
		return "  nothing has been deployed yet\n" + next("slipway deploy SERVICE VERSION")
	}
	rows := [][]string{{"", "SERVICE", "VERSION", "KIND", "HOW IT STANDS", "BY", "SUBMITTED", "WHY"}}
	for _, c := range list {
		rows = append(rows, s.changeLine(c))
	}
	text := grid("  ", rows)
	if more {
		text += next(fmt.Sprintf("slipway changes --limit %d, or choose less", min(500, 2*o.limit)))
	}
	return text
}

func (s *session) changeLine(c control.Listed) []string {
	var services, kinds, stands []string
	version := ""
	for _, m := range c.Members {
		services, version = append(services, m.Service), m.Version
	}
	for _, k := range c.Kinds {
		kinds = append(kinds, string(k))
	}
	if c.Origin == delivery.OriginRollback {
		kinds = []string{"rollback"}
	}
	for i, st := range c.Stands {
		if i == 0 && st.Was != "" && st.Was != version {
			version = st.Was + " → " + version
		}
		stands = append(stands, s.look.sign(signAt(st.State, st.Waiting))+" "+st.Env)
	}
	reason := []rune(printable(c.Reason))
	if len(reason) > maxReason {
		reason = append(reason[:maxReason-1], '…')
	}
	return []string{
		fmt.Sprintf("#%d", c.ID), strings.Join(services, ", "), version, strings.Join(kinds, "+"), strings.Join(stands, "  "),
		c.By, c.Submitted.Local().Format("2006-01-02 15:04"), s.look.faint(string(reason)),
	}
}

// maxReason is how much of a reason a line of the list shows, in characters.
const maxReason = 60
