package cli

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

func (s *session) diff() *cobra.Command {
	return &cobra.Command{
		Use: "diff SERVICE [FROM] [TO]", Short: "What differs between two releases of a service", Args: between(1, 3),
		Long: "FROM and TO are versions or environments. Without them: what each promotion would\n" +
			"change, from environment to environment. With one: what promoting into that\n" +
			"environment would change, or what that version would change in the last one.",
		Example:           "  slipway diff payment\n  slipway diff payment prod\n  slipway diff payment v1 v2\n  slipway diff payment prod staging -o json",
		ValidArgsFunction: s.completeService,
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := s.api()
			if err != nil {
				return err
			}
			return s.runDiff(cmd.Context(), api, args)
		},
	}
}

func (s *session) runDiff(ctx context.Context, api *client.Client, args []string) error {
	service := args[0]
	if len(args) == 3 {
		return s.showDiff(ctx, api, service, args[1], args[2])
	}
	p, _, err := api.Project(ctx)
	if err != nil {
		return err
	}
	if _, ok := p.Service(service); !ok {
		return delivery.Unknown(delivery.CodeUnknownService, "service", service, p.ServiceNames(), "slipway status")
	}
	if len(args) == 2 {
		from, to := p.Environments[len(p.Environments)-1].Name, args[1]
		if _, env := p.Environment(to); env {
			from, to = to, p.Before(to)
		}
		if to == "" {
			return usageError{err: fmt.Errorf("%s is the first environment, so nothing is promoted into it", from), next: "slipway diff " + service + " VERSION " + from}
		}
		return s.showDiff(ctx, api, service, from, to)
	}
	return s.neighbours(ctx, api, p, service)
}

func diffPath(service, from, to string) string {
	return "/services/" + url.PathEscape(service) + "/diff?" + url.Values{"from": {from}, "to": {to}}.Encode()
}

func (s *session) showDiff(ctx context.Context, api *client.Client, service, from, to string) error {
	d, raw, err := client.Read[control.Diff](ctx, api, diffPath(service, from, to))
	if err != nil {
		return err
	}
	return s.show(raw, func() string { return s.difference(d, from, to) }, func() []string { return []string{string(d.From.ID), string(d.To.ID)} })
}

// neighbours shows what each promotion would change.
func (s *session) neighbours(ctx context.Context, api *client.Client, p delivery.Project, service string) error {
	board, err := api.Board(ctx)
	if err != nil {
		return err
	}
	all := client.List[control.Diff]{Items: []control.Diff{}}
	var text strings.Builder
	for _, env := range p.EnvironmentNames() {
		before := p.Before(env)
		if before == "" {
			continue
		}
		there, here := cellOf(board, service, env), cellOf(board, service, before)
		if there.Release == "" || here.Release == "" {
			fmt.Fprintf(&text, "  %s → %s   %s\n", before, env, emptySide(there, here))
			continue
		}
		d, _, err := client.Read[control.Diff](ctx, api, diffPath(service, env, before))
		if err != nil {
			return err
		}
		all.Items = append(all.Items, d)
		text.WriteString(s.difference(d, env, before))
	}
	return s.show(all, text.String, func() []string { return nil })
}

func emptySide(there, here delivery.Cell) string {
	if here.Release == "" {
		return "nothing is stable in " + here.Env
	}
	return here.Version + " would be the first release in " + there.Env
}

func cellOf(b delivery.Board, service, env string) delivery.Cell {
	for _, row := range b.Services {
		for _, c := range row.Cells {
			if row.Service == service && c.Env == env {
				return c
			}
		}
	}
	return delivery.Cell{Env: env}
}

// difference lays out what changes from one release to another.
func (s *session) difference(d control.Diff, from, to string) string {
	l := s.look
	var b strings.Builder
	fmt.Fprintf(&b, "  %s   %s → %s\n", l.strong(d.Service), side(d.From, from), side(d.To, to))
	if d.From.ID == d.To.ID && len(d.Config) == 0 {
		fmt.Fprintf(&b, "  %s the same release, to the byte\n", l.good("✔"))
		return b.String()
	}
	var kinds []string
	for _, k := range d.Kinds {
		kinds = append(kinds, string(k))
	}
	if len(kinds) > 0 {
		fmt.Fprintf(&b, "  kinds    %s\n", strings.Join(kinds, ", "))
	}
	for _, c := range d.Config {
		fmt.Fprintf(&b, "  config   %s  %s\n", c.Key, fromTo(c))
	}
	for _, r := range d.Run {
		fmt.Fprintf(&b, "  run      %s  %s\n", r.Key, fromTo(r))
	}
	const most = 20
	for i, f := range d.Files {
		if i == most {
			fmt.Fprintf(&b, "  files    and %s more\n", grouped(int64(len(d.Files)-most)))
			break
		}
		glyph := map[string]string{"added": l.good("+"), "removed": l.bad("−"), "changed": l.in(toneWarn, "~")}[f.Change]
		fmt.Fprintf(&b, "  files    %s %s %s\n", glyph, f.Change, printable(f.Path))
	}
	return b.String()
}

// side names one side of a diff: "v1 (prod)".
func side(r delivery.Release, name string) string {
	if r.Version == name {
		return name
	}
	return r.Version + " (" + name + ")"
}

// fromTo lays out a value that differs. Two hidden ones read alike, so it is said that
// they are not.
func fromTo(d control.Delta) string {
	text := orUnset(d.From) + " → " + orUnset(d.To)
	if d.Hidden && d.From == d.To {
		text += " (another one)"
	}
	return text
}

func orUnset(v string) string {
	if v == "" {
		return "(unset)"
	}
	return printable(v)
}
