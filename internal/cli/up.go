package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/artifact"
	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/delivery"
)

type upOptions struct {
	UpOptions
	file    string
	detach  bool
	timeout time.Duration
}

func (s *session) up() *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use: "up", Short: "Start Slipway in the background, and your project with it", Args: none,
		Long: "Starts both processes unless they run, puts the slipway.yaml of this folder (or of one\n" +
			"above) in force, deploys each service that has never been deployed, and waits until they run.",
		Example: "  slipway up\n  slipway up --detach\n  slipway up --addr 127.0.0.1:7600 --state ./.slipway",
		RunE:    func(cmd *cobra.Command, _ []string) error { return s.runUp(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.Addr, "addr", "", "host:port of the API (default 127.0.0.1:7500)")
	f.BoolVar(&o.AnonymousRead, "anonymous-read", false, anonymousRead)
	f.StringVar(&o.file, "file", "", "project file (default slipway.yaml, here or above)")
	f.BoolVar(&o.detach, "detach", false, "do not wait until the services run")
	f.DurationVar(&o.timeout, "timeout", 10*time.Minute, "stop waiting after this time and exit with 5")
	return cmd
}

// upView is what "slipway up -o json" prints.
type upView struct {
	UpReport
	Project  string                    `json:"project,omitempty"`
	URLs     map[string]string         `json:"environments,omitempty"` // environment -> URL
	Deployed map[string]delivery.State `json:"deployed,omitempty"`     // service -> state of its first rollout that is not done, or done
}

func (s *session) runUp(ctx context.Context, o upOptions) (err error) {
	if o.State, err = s.folder(); err != nil {
		return err
	}
	file, fileErr := s.findManifest(o.file)
	if fileErr != nil && o.file != "" {
		return fileErr
	}
	if fileErr == nil {
		p, _, err := file.parse()
		if mistakes := mistakesIn(err); len(mistakes) > 0 {
			return s.mistaken(mistakes) // before anything is started
		}
		if err := s.portsFree(ctx, o.State, p); err != nil {
			return err
		}
	}
	report, err := s.Roof.Up(ctx, o.UpOptions)
	if err != nil {
		return err
	}
	running := "runs already"
	if report.Started {
		running = "runs"
	}
	s.talk(fmt.Sprintf("  %s Slipway %s at %s   %s\n", s.look.good("✔"), running, report.URL, s.look.faint("its page; slipway open signs you in")))
	if o.AnonymousRead && !report.ServerStarted {
		s.talk("  " + s.look.sign(signWaits) + " --anonymous-read begins when the server is started anew\n" + next("slipway down --keep-instances", "slipway up --anonymous-read"))
	}
	if report.UpgradedFrom != "" {
		s.talk(fmt.Sprintf("  %s the data plane is upgraded from %s to %s\n", s.look.good("✔"), report.UpgradedFrom, s.Roof.Version))
	}
	view := upView{UpReport: report}
	if fileErr != nil {
		s.talk(fmt.Sprintf("  %s there is no %s in %s or above it\n", s.look.sign(signWaits), manifestName, s.Dir))
		return s.show(view, func() string { return next("slipway init", "slipway demo") }, func() []string { return []string{report.URL} })
	}
	api, err := client.Find(report.State, s.person())
	if err != nil {
		return err
	}
	api.Patience = patience
	return s.bringUp(ctx, api, file, o, view)
}

// bringUp puts the project in force and its services into their environments.
func (s *session) bringUp(ctx context.Context, api *client.Client, file manifestFile, o upOptions, view upView) error {
	in, err := putInForce(ctx, api, file)
	if err != nil {
		return err
	}
	p := in.Project
	s.talk(s.forceText(in, file))
	ids, err := s.firstDeploys(ctx, api, p)
	if err != nil {
		return err
	}
	view.Project, view.URLs, view.Deployed = p.Name, urls(p), map[string]delivery.State{}
	code := exitDone
	if !o.detach {
		waiting, stop := context.WithTimeout(ctx, o.timeout)
		defer stop()
		code, err = s.arrivals(waiting, api, p, ids, view.Deployed)
		if err == nil {
			code, err = s.healthy(waiting, api, healthTime, code)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, context.DeadlineExceeded):
			s.talk("  " + span(o.timeout) + " are over; what is under way goes on\n" + next("slipway status"))
			return ended(exitTimeout)
		case err != nil:
			return err
		}
	}
	err = s.show(view, func() string { return s.doors(p) + next("slipway status", "slipway deploy SERVICE VERSION") }, func() []string { return []string{view.URL} })
	if err != nil {
		return err
	}
	return ended(code)
}

// firstDeploys submits every service that has nothing stable and nothing under
// way in the first environment.
func (s *session) firstDeploys(ctx context.Context, api *client.Client, p delivery.Project) ([]delivery.ChangeID, error) {
	board, err := api.Board(ctx)
	if err != nil {
		return nil, err
	}
	var ids []delivery.ChangeID
	for _, svc := range p.Services {
		cell := cellOf(board, svc.Name, p.Environments[0].Name)
		if cell.Flight != nil {
			ids = append(ids, cell.Flight.Change)
		}
		if cell.Flight != nil || cell.Version != "" {
			continue
		}
		o := deployOptions{service: svc.Name, reason: "first deploy by slipway up"}
		if svc.Versions != "" {
			versions, err := artifact.Versions(svc.Versions)
			if err != nil || len(versions) == 0 {
				return ids, delivery.InvalidNext("services."+svc.Name+".versions", "there is no version in "+svc.Versions, "put one folder or file per version there, then: slipway up")
			}
			o.version = versions[0]
		}
		path, err := o.code(svc, s.Dir)
		if err != nil {
			return ids, err
		}
		sub, err := o.submission()
		if err != nil {
			return ids, err
		}
		if sub.Bundle, err = s.upload(ctx, api, path); err != nil {
			return ids, err
		}
		done, err := api.Submit(ctx, sub)
		if err != nil {
			return ids, err
		}
		s.talk(fmt.Sprintf("  %s change #%d  %s %s\n", s.look.sign(signRuns), done.Change.ID, svc.Name, done.Release.Version))
		ids = append(ids, done.Change.ID)
	}
	return ids, nil
}

// arrivals waits until every change is over or needs a person. The code is that
// of the worst; waiting for a person is no failure here.
func (s *session) arrivals(ctx context.Context, api *client.Client, p delivery.Project, ids []delivery.ChangeID, states map[string]delivery.State) (exit, error) {
	worst := exitDone
	for _, id := range ids {
		f := &follower{s: s, api: api, id: id, quiet: true, project: p}
		end, err := f.watch(ctx)
		if err != nil {
			return worst, err
		}
		m := f.member()
		states[m.Service] = end.rollout.State
		switch end.code {
		case exitDone:
			s.talk(fmt.Sprintf("  %s %s %s runs in %s   %s\n", s.look.good("✔"), m.Service, m.Version, strings.Join(f.path(), ", "), s.look.faint(span(f.took(end.rollout)))))
		case exitWaiting:
			s.talk(f.waits(end))
		case exitFailed, exitUsage, exitRolledBack, exitTimeout, exitBlocked, exitInterrupted:
			s.talk(fmt.Sprintf("  %s %s %s does not run in %s\n", s.look.bad("✖"), m.Service, m.Version, end.env) + f.epilogue(end))
			worst = end.code
		}
	}
	return worst, nil
}

// doors lists where each environment is reached.
func (s *session) doors(p delivery.Project) string {
	var rows [][]string
	for _, e := range p.Environments {
		var at []string
		for _, svc := range p.Services {
			if len(svc.Public.Paths) > 0 && len(svc.Public.Hosts) == 0 {
				at = append(at, svc.Public.Paths[0]+" "+svc.Name)
			}
		}
		if len(at) == 0 && len(p.Services) > 0 {
			at = []string{"host " + p.Services[0].Name + ".localhost"}
		}
		rows = append(rows, []string{e.Name, e.URL(), s.look.faint(strings.Join(at, "   "))})
	}
	return grid("  ", rows)
}

func urls(p delivery.Project) map[string]string {
	out := map[string]string{}
	for _, e := range p.Environments {
		out[e.Name] = e.URL()
	}
	return out
}
