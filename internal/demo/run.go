package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/cli"
	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// House is what the demo needs of the roof: both processes, up and down.
type House struct {
	Up   func(ctx context.Context, o cli.UpOptions) (cli.UpReport, error)
	Down func(ctx context.Context, o cli.DownOptions) (cli.DownReport, error)
}

// stage is a demo that runs: the project, the server it talks to, the shoppers.
type stage struct {
	house   House
	o       cli.DemoOptions
	say     io.Writer // for people
	dir     string
	state   string
	api     *client.Client
	places  []Place
	crowds  map[string]*Shoppers // environment -> its shoppers
	options Options
}

// Run runs the demo: until ctx ends, or with Tour until the story is told. It
// returns the exit code. Whatever it started it stops.
func Run(ctx context.Context, house House, o cli.DemoOptions) (code int, err error) {
	s, err := newStage(ctx, house, o)
	if err != nil {
		return 1, err
	}
	// What was begun is taken down even when ctx has ended.
	defer func() {
		clean, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer stop()
		if downErr := s.down(clean); downErr != nil {
			err = errors.Join(err, downErr)
		}
	}()
	if err := s.up(ctx); err != nil {
		return 1, err
	}
	shopping, close := context.WithCancel(ctx)
	var crowds sync.WaitGroup
	defer crowds.Wait()
	defer close()
	for _, c := range s.crowds {
		crowds.Go(func() {
			if err := c.Run(shopping); err != nil {
				s.sayf("  shoppers stopped: %v\n", err)
			}
		})
	}
	switch {
	case o.Tour:
		return s.tour(ctx)
	case o.Trials > 0:
		return s.trials(ctx, o.Trials)
	}
	s.welcome()
	<-ctx.Done()
	s.sayf("\n  closing the demo\n")
	return 0, nil
}

func newStage(ctx context.Context, house House, o cli.DemoOptions) (*stage, error) {
	s := &stage{house: house, o: o, say: o.Stderr, crowds: map[string]*Shoppers{}}
	if !o.JSON {
		s.say = o.Stdout
	}
	var err error
	if s.dir = o.Dir; s.dir == "" {
		s.dir, err = os.MkdirTemp("", "slipway-demo-")
	} else {
		s.dir, err = filepath.Abs(s.dir)
	}
	if err != nil {
		return nil, fmt.Errorf("demo: folder: %w", err)
	}
	s.state = filepath.Join(s.dir, ".slipway")
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	s.options = Options{Self: self, Have: Look(ctx), Fast: o.Fast, Port: o.Port}
	s.places = s.options.Places()
	if err := portsFree(s.options.api(), s.places); err != nil {
		return nil, err
	}
	return s, Write(s.dir, s.options)
}

// up starts both processes and brings the first version of every service into
// every environment.
func (s *stage) up(ctx context.Context) error {
	begun := time.Now()
	s.sayf("  Slipway demo \"harbor\": 5 services in %d languages, %d environments, real traffic, all on this machine\n  %s\n", s.languages(), len(s.places), s.interpreters())
	report, err := s.house.Up(ctx, cli.UpOptions{State: s.state, Addr: s.options.api()})
	if err != nil {
		return err
	}
	if s.api, err = client.Find(s.state, "demo"); err != nil {
		return err
	}
	src, err := os.ReadFile(filepath.Join(s.dir, ProjectFile))
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	p, _, err := s.api.PutProject(ctx, ProjectFile, s.dir, src)
	if err != nil {
		return err
	}
	var ids []delivery.ChangeID
	for _, svc := range p.Services {
		done, err := s.deploy(ctx, control.Submission{Service: svc.Name, Version: Versions(svc.Name)[0].Version, Reason: "the demo begins"})
		if no := (*client.Problem)(nil); errors.As(err, &no) && no.Code == string(delivery.CodeNothingToDo) {
			continue // the folder was used before
		}
		if err != nil {
			return err
		}
		ids = append(ids, done.Change.ID)
	}
	for _, id := range ids {
		if _, err := s.settled(ctx, id, p.EnvironmentNames()); err != nil {
			return err
		}
	}
	for _, place := range s.places {
		s.crowds[place.Env] = &Shoppers{URL: place.URL(), Rate: place.Rate}
	}
	s.sayf("  %d instances in %s\n", len(p.Services)*len(p.Environments), human(time.Since(begun)))
	s.sayf("  Page   %s      slipway open --state %s   signs you in\n", report.URL, s.state)
	return nil
}

func (s *stage) down(ctx context.Context) error {
	_, err := s.house.Down(ctx, cli.DownOptions{State: s.state})
	if s.o.Dir == "" && err == nil {
		err = removeAll(s.dir)
	}
	return err
}

// removeAll removes a folder whose files may be read-only.
func removeAll(dir string) error {
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return err
	})
	return errors.Join(err, os.RemoveAll(dir))
}

// deploy uploads a version's files, unless only configuration is set, and submits it.
func (s *stage) deploy(ctx context.Context, sub control.Submission) (control.Submitted, error) {
	if sub.Version != "" {
		d, err := s.api.Upload(ctx, filepath.Join(s.dir, sub.Service, sub.Version))
		if err != nil {
			return control.Submitted{}, err
		}
		sub.Bundle = d
	}
	return s.api.Submit(ctx, sub)
}

func (s *stage) welcome() {
	prod := s.places[len(s.places)-1]
	s.sayf("  Shop   %s      %s, %.0f requests/s of synthetic shoppers\n", prod.URL(), prod.Env, prod.Rate)
	s.sayf("  In another terminal:\n")
	home := "--state " + s.state
	s.sayf("    slipway status %s\n", home)
	s.sayf("    slipway deploy payment v2 %s          a good version\n", home)
	s.sayf("    slipway deploy payment v3-bad %s      watch it be caught\n", home)
	s.sayf("  Ctrl-C ends the demo and everything it started.\n")
}

func (s *stage) languages() int {
	seen := map[string]bool{}
	for _, p := range []string{"shop", "cart", "catalog", "pricing", "payment"} {
		seen[s.options.Have.Language(p)] = true
	}
	return len(seen)
}

func (s *stage) interpreters() string {
	var parts []string
	for _, p := range []string{"shop", "cart", "catalog", "pricing", "payment"} {
		parts = append(parts, "✔ "+p+" ("+s.options.Have.Language(p)+")")
	}
	return strings.Join(parts, "  ")
}

func (s *stage) sayf(format string, args ...any) { fmt.Fprintf(s.say, format, args...) }

// human prints a duration as people say it: "1.9 s", "1 m 52 s".
func human(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%d m %d s", int(d.Minutes()), int(d.Seconds())%60)
}
