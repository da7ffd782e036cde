package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/manifest"
)

func (s *session) config() *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", Short: "slipway.yaml: check it, explain it, put it in force", Args: none, RunE: groupOnly,
		SuggestFor: []string{"validate", "explain", "apply"},
		Example:    "  slipway config validate\n  slipway config explain services.cart\n  slipway config apply",
	}
	cmd.AddCommand(s.configValidate(), s.configExplain(), s.configApply())
	return cmd
}

func (s *session) configValidate() *cobra.Command {
	return &cobra.Command{
		Use: "validate [FILE]", Short: "Say every mistake in slipway.yaml at once", Args: between(0, 1),
		Long:    "Needs no server. Each mistake comes with file, line, column and a caret. Exits with 2\nif there is one.",
		Example: "  slipway config validate\n  slipway config validate deploy/slipway.yaml -o json",
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := s.findManifest(first(args))
			if err != nil {
				return err
			}
			p, _, err := f.parse()
			if mistakes := mistakesIn(err); len(mistakes) > 0 {
				return s.mistaken(mistakes)
			}
			if err != nil {
				return err
			}
			if err := control.Readable(p); err != nil {
				return err
			}
			return s.show(client.List[manifest.Mistake]{Items: []manifest.Mistake{}}, func() string {
				return fmt.Sprintf("  %s %s is right: %s, %s\n", s.look.good("✔"), f.name, plural(len(p.Services), "service"), plural(len(p.Environments), "environment"))
			}, func() []string { return nil })
		},
	}
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// mistaken says every mistake: to people on stderr, to programs on stdout.
func (s *session) mistaken(all manifest.Mistakes) error {
	if s.format == "json" || s.format == "yaml" {
		if err := s.show(client.List[manifest.Mistake]{Items: all}, nil, nil); err != nil {
			return err
		}
		return ended(exitUsage)
	}
	s.talk(all.Error() + "\n")
	if s.Vars("GITHUB_ACTIONS") == "true" {
		for _, m := range all {
			s.talk(fmt.Sprintf("::error file=%s,line=%d,col=%d::%s\n", m.File, m.Line, m.Column, annotation(m.Field+": "+m.Why)))
		}
	}
	s.talk(fmt.Sprintf("%s %s in %s\n  next  mend them, then: slipway config validate\n", s.look.bad("✖"), plural(len(all), "mistake"), all[0].File))
	return ended(exitUsage)
}

// annotation escapes text for a line that GitHub reads.
func annotation(text string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(strings.TrimPrefix(text, ": "))
}

func (s *session) configExplain() *cobra.Command {
	return &cobra.Command{
		Use: "explain [PREFIX]", Short: "Every value of the project, and where it came from", Args: between(0, 1),
		Long:    "Explains what is in force. While no server runs, the slipway.yaml of this folder is explained.",
		Example: "  slipway config explain\n  slipway config explain services.cart.in.prod.rollout",
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.explain(cmd.Context(), first(args))
		},
	}
}

// setting is one value and its origin, as the API says it.
type setting struct {
	Path   string `json:"path"`
	Value  string `json:"value"`
	Origin string `json:"origin"`
}

func (s *session) explain(ctx context.Context, prefix string) error {
	api, err := s.api()
	if err == nil {
		var list []setting
		var raw rawJSON
		list, raw, err = client.Read[[]setting](ctx, api, "/project/explain?prefix="+url.QueryEscape(prefix))
		if err == nil {
			return s.showSettings(raw, list)
		}
	}
	if !errors.Is(err, client.ErrNoServer) {
		return err
	}
	f, findErr := s.findManifest("")
	if findErr != nil {
		return err
	}
	p, origins, err := f.parse()
	if mistakes := mistakesIn(err); len(mistakes) > 0 {
		return s.mistaken(mistakes)
	}
	if err != nil {
		return err
	}
	list := []setting{}
	for _, l := range origins.Explain(p, prefix) {
		list = append(list, setting{l.Field, l.Value, l.Origin})
	}
	if len(list) == 0 {
		return delivery.InvalidNext("prefix", "there is no field "+prefix, "slipway config explain")
	}
	s.talk("  no server runs; this is " + f.path + "\n")
	return s.showSettings(list, list)
}

func (s *session) showSettings(data any, list []setting) error {
	return s.show(data, func() string {
		var rows [][]string
		for _, l := range list {
			rows = append(rows, []string{l.Path, printable(l.Value), s.look.faint(l.Origin)})
		}
		return grid("", rows)
	}, func() []string {
		var names []string
		for _, l := range list {
			names = append(names, l.Path)
		}
		return names
	})
}

func (s *session) configApply() *cobra.Command {
	return &cobra.Command{
		Use: "apply [FILE]", Short: "Put a slipway.yaml in force", Args: between(0, 1),
		Long: "What runs keeps running as it is; the next deploy of a service takes what the file says.\n" +
			"How requests are carried (traffic, public, tls, data_plane) is as the file says at once.",
		Example: "  slipway config apply\n  slipway config apply deploy/slipway.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := s.findManifest(first(args))
			if err != nil {
				return err
			}
			if _, _, err := f.parse(); len(mistakesIn(err)) > 0 {
				return s.mistaken(mistakesIn(err))
			}
			api, err := s.api()
			if err != nil {
				return err
			}
			in, err := putInForce(cmd.Context(), api, f)
			if err != nil {
				return err
			}
			return s.show(in, func() string { return s.forceText(in, f) + next("slipway status") }, func() []string { return []string{in.Project.Name} })
		},
	}
}

// inForce is a project that was put in force.
type inForce struct {
	Project delivery.Project `json:"project"`
	Changed bool             `json:"changed"`
	AtOnce  []string         `json:"at_once,omitempty"`   // what differs for requests from now on
	Waits   []string         `json:"at_deploy,omitempty"` // what the next release of a service takes over, and what runs does not
}

func putInForce(ctx context.Context, api *client.Client, f manifestFile) (inForce, error) {
	was, _, err := api.Project(ctx)
	if no := (*client.Problem)(nil); errors.As(err, &no) && no.Code == string(delivery.CodeNoProject) {
		err = nil // the first one
	}
	if err != nil {
		return inForce{}, err
	}
	p, changed, err := api.PutProject(ctx, filepath.Base(f.path), f.dir(), f.src)
	if err != nil {
		return inForce{}, err
	}
	in := inForce{Project: p, Changed: changed}
	if changed && was.Name != "" {
		in.AtOnce, in.Waits = p.AtOnce(was), p.AtDeploy(was)
	}
	return in, nil
}

// forceText says that a file is in force, what it changes without a deploy, and what
// only a deploy changes.
func (s *session) forceText(in inForce, f manifestFile) string {
	p, word := in.Project, "is in force already"
	if in.Changed {
		word = "is in force"
	}
	text := fmt.Sprintf("  %s %s %s: %s, %s\n", s.look.good("✔"), f.path, word, plural(len(p.Services), "service"), plural(len(p.Environments), "environment"))
	if len(in.AtOnce) > 0 {
		text += "  at once  " + strings.Join(in.AtOnce, ", ") + "\n"
	}
	if len(in.Waits) > 0 {
		text += "  at the next deploy  " + strings.Join(in.Waits, ", ") + "; until then what runs stays as it is\n"
	}
	return text
}
