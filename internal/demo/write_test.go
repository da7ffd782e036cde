package demo

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/manifest"
)

// tree lists the files under dir, with what is in them.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		files[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// everything is what Look returns on a machine that has it all.
var everything = Interpreters{Node: Interpreter{Path: "/usr/bin/node", Version: "20.20.2"}, Python: Interpreter{Path: "/usr/bin/python3", Version: "3.11.7"}}

func TestWrite(t *testing.T) {
	for name, have := range map[string]Interpreters{"with interpreters": everything, "with Go only": {}} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "harbor")
			o := Options{Self: "/opt/slip way/bin/slipway", Have: have}
			if err := Write(dir, o); err != nil {
				t.Fatal(err)
			}
			first := tree(t, dir)
			bundles := 0
			for _, service := range []string{"shop", "cart", "catalog", "pricing", "payment"} {
				for _, how := range Versions(service) {
					bundles++
					var there Behaviour
					if err := json.Unmarshal([]byte(first[filepath.Join(service, how.Version, "version.json")]), &there); err != nil || there != how {
						t.Errorf("%s %s = %+v (%v), want %+v", service, how.Version, there, err, how)
					}
					if _, err := readBehaviour(filepath.Join(dir, service, how.Version)); err != nil {
						t.Errorf("%s %s cannot be read back: %v", service, how.Version, err)
					}
				}
			}
			if bundles != 13 {
				t.Errorf("%d bundles, want 13", bundles)
			}
			for file, language := range map[string]string{"catalog/v2/server.js": "node", "pricing/v2/main.py": "python"} {
				service, _, _ := strings.Cut(file, "/")
				if _, there := first[file]; there != (have.Language(service) == language) {
					t.Errorf("%s is there: %v; %s runs as %s", file, there, service, have.Language(service))
				}
			}
			if err := Write(dir, o); err != nil {
				t.Fatalf("written over itself: %v", err)
			}
			if second := tree(t, dir); len(second) != len(first) {
				t.Errorf("%d files the second time, %d the first", len(second), len(first))
			}
		})
	}
}

// What Write writes is a project that Slipway reads, with the values the tour counts on.
func TestProjectIsRead(t *testing.T) {
	for _, fast := range []bool{false, true} {
		dir := t.TempDir()
		o := Options{Self: `/opt/slip "way"/slipway`, Have: everything, Port: 8100, Fast: fast}
		if err := Write(dir, o); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(dir, ProjectFile))
		if err != nil {
			t.Fatal(err)
		}
		p, _, err := manifest.Parse(ProjectFile, text, dir)
		if err != nil {
			t.Fatalf("%v\nin\n%s", err, text)
		}
		if p.Name != "harbor" || !slices.Equal(p.EnvironmentNames(), []string{"dev", "staging", "prod"}) {
			t.Errorf("project %s with %v", p.Name, p.EnvironmentNames())
		}
		for i, e := range p.Environments {
			if e.Listen != o.Places()[i].Addr || e.Name != o.Places()[i].Env || e.Promote != delivery.Auto {
				t.Errorf("environment %+v, want %+v and auto", e, o.Places()[i])
			}
		}
		commands := map[string][]string{
			"shop": {o.Self, "demo", "serve", "shop"}, "cart": {o.Self, "demo", "serve", "cart"}, "payment": {o.Self, "demo", "serve", "payment"},
			"catalog": {"/usr/bin/node", "server.js"}, "pricing": {"/usr/bin/python3", "main.py"},
		}
		if len(p.Services) != len(commands) {
			t.Errorf("services %v", p.ServiceNames())
		}
		for _, s := range p.Services {
			var needs []string
			for _, n := range s.Run.Needs {
				needs = append(needs, n.Service)
			}
			if d, err := define(s.Name); err != nil || !slices.Equal(needs, d.needs) {
				t.Errorf("%s needs %v, want %v (%v)", s.Name, needs, d.needs, err)
			}
			if !slices.Equal(s.Run.Command, commands[s.Name]) || s.Run.Health.HTTP != "/healthz" || s.Versions != filepath.Join(dir, s.Name) {
				t.Errorf("%s = %+v in %s", s.Name, s.Run, s.Versions)
			}
			if public := len(s.Public.Paths) > 0; public != (s.Name == "shop") {
				t.Errorf("%s is public at %v", s.Name, s.Public.Paths)
			}
			for env, in := range s.In {
				weights := []delivery.Weight{}
				for _, step := range in.Strategy.Steps {
					weights = append(weights, step.Weight)
				}
				want := []delivery.Weight{delivery.Full}
				if env == "prod" {
					want = []delivery.Weight{delivery.Percent(5), delivery.Percent(25), delivery.Percent(50), delivery.Full}
				}
				if in.Strategy.Kind != delivery.Canary || in.Replicas != 1 || !slices.Equal(weights, want) {
					t.Errorf("%s in %s: %d instances, %s %v, want %v", s.Name, env, in.Replicas, in.Strategy.Kind, weights, want)
				}
			}
		}
		payment, _ := p.Service("payment")
		catalog, _ := p.Service("catalog")
		if payment.Traffic.Timeout != 5*time.Second || payment.Traffic.Retries.Attempts != 2 || len(catalog.Targets) != 1 || catalog.Targets[0].When[0].On != delivery.OnBaggage {
			t.Errorf("payment is carried as %+v, and catalog has the targets %+v", payment.Traffic, catalog.Targets)
		}
		if payment.Config["BANK_TIMEOUT_MS"] != "800" {
			t.Errorf("payment's configuration: %v", payment.Config)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	dir := t.TempDir()
	mine := []byte("project: mine\n")
	if err := os.WriteFile(filepath.Join(dir, ProjectFile), mine, 0o600); err != nil {
		t.Fatal(err)
	}
	var field *delivery.FieldError
	if err := Write(dir, Options{Self: "/bin/slipway"}); !errors.As(err, &field) || field.Next == "" {
		t.Errorf("Write over another project = %v, want a refusal that says what to do", err)
	}
	if files := tree(t, dir); len(files) != 1 || files[ProjectFile] != string(mine) {
		t.Errorf("a refused Write left %v", files)
	}
	for _, o := range []Options{{}, {Self: "slipway"}, {Self: "/bin/slipway", Port: 65_001}, {Self: "/bin/slipway", Port: -1}} {
		if err := Write(t.TempDir(), o); !errors.Is(err, delivery.ErrInvalid) {
			t.Errorf("Write(%+v) = %v, want ErrInvalid", o, err)
		}
	}
}

func TestLook(t *testing.T) {
	have := Look(t.Context())
	for name, i := range map[string]Interpreter{"node": have.Node, "python3": have.Python} {
		if !filepath.IsAbs(i.Path) || i.Version == "" || i.Why != "" {
			t.Errorf("%s: %+v; make test installs it", name, i)
		}
	}
	bin := t.TempDir()
	script := func(name, says string) {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+says+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin)
	for _, c := range []struct{ says, version, why string }{
		{"echo v17.9.1", "17.9.1", "18.0 is the oldest"},
		{"echo nothing", "", "does not say"},
		{"exit 3", "", "exit status 3"},
	} {
		script("node", c.says)
		if i := Look(t.Context()).Node; i.Path != "" || i.Version != c.version || !strings.Contains(i.Why, c.why) {
			t.Errorf("a node that does %q: %+v", c.says, i)
		}
	}
	script("node", "echo v18.0.0")
	script("python3", "echo Python 3.9.2")
	have = Look(t.Context())
	if have.Language("catalog") != "node" || have.Language("pricing") != "python" || have.Language("shop") != "go" {
		t.Errorf("%+v", have)
	}
	if err := os.Remove(filepath.Join(bin, "python3")); err != nil {
		t.Fatal(err)
	}
	if have = Look(t.Context()); have.Language("pricing") != "go" || have.Python.Why == "" {
		t.Errorf("without python3: %+v", have)
	}
}

func TestVersions(t *testing.T) {
	var names []string
	for _, how := range Versions("payment") {
		names = append(names, how.Version)
		filled := how
		if filled.Status == 0 {
			filled.Status = 503
		}
		if err := filled.validate(); err != nil {
			t.Errorf("%s: %v", how.Version, err)
		}
	}
	if !slices.Equal(names, []string{"v1", "v2", "v3-bad", "v4-slow"}) {
		t.Errorf("payment has %v", names)
	}
	last := Versions("pricing")[2]
	last.Status = 503
	if err := last.validate(); err != nil || last.Version != "v3-empty" || last.Empty == 0 {
		t.Errorf("pricing ends with %+v: %v", last, err)
	}
}
