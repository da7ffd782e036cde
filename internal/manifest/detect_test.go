package manifest

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"
)

// Each archive of files gives the reasons and the starter beside it, and the
// starter is a file that Parse and the schema accept.
func TestDetect(t *testing.T) {
	names, err := filepath.Glob("testdata/detect/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files := map[string][]byte{}
			for _, f := range archive.Files {
				files[f.Name] = f.Data
			}
			d := Detect(files)
			var b strings.Builder
			for _, s := range d.Services {
				b.WriteString(strings.Join(s.Reasons, "\n") + "\n")
			}
			for _, note := range d.Notes {
				b.WriteString("note " + note + "\n")
			}
			base := strings.TrimSuffix(name, ".txtar")
			golden(t, base+".reasons", b.String())
			starter := Starter(d)
			golden(t, base+".starter", string(starter))
			checkStarter(t, d, starter)
			if err := validate(t, starter); err != nil {
				t.Errorf("the schema refuses the starter: %v", err)
			}
		})
	}
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// checkStarter holds that a starter says what was detected.
func checkStarter(t fataler, d Detection, starter []byte) {
	t.Helper()
	p, _, err := Parse("slipway.yaml", starter, "/srv")
	if err != nil {
		t.Fatalf("Parse(Starter(%+v)):\n%v\n%s", d, err, starter)
	}
	for _, found := range d.Services {
		s, ok := p.Service(found.Name)
		if !ok || !slices.Equal(s.Run.Command, found.Run) {
			t.Fatalf("service %s runs %q in the starter, want %q:\n%s", found.Name, s.Run.Command, found.Run, starter)
		}
		if found.Health == "none" && (s.Run.Health.TCP || s.Run.Health.HTTP != "") || strings.HasPrefix(found.Health, "/") && s.Run.Health.HTTP != found.Health {
			t.Fatalf("service %s has health %+v, want %q", found.Name, s.Run.Health, found.Health)
		}
		if len(s.Run.Needs) != len(found.Needs) {
			t.Fatalf("service %s needs %v, want %v", found.Name, s.Run.Needs, found.Needs)
		}
	}
	if len(d.Services) == 0 && len(p.Services) != 1 {
		t.Fatalf("a starter for nothing has %d services, want the example", len(p.Services))
	}
}

// Whatever lies in the files, Detect gives something that Starter can write.
func TestStarterAlwaysParses(t *testing.T) {
	word := rapid.OneOf(
		rapid.SampledFrom([]string{"web", "worker", "node server.js", "$PORT", "a && b", "it's", "-", "true", "null", "1.5", ".5", "..", "./x", "a: b", "a #b", "{", "[", "&x", "*x", "!t", "|", "", " ", "\t", "é", "\x00", "A=b run", "'", `"`, "%", "@", "~", "?", ",", "http://h/p'q", "CMD", "curl http://localhost:80/ok"}),
		rapid.String(),
	)
	quoted := rapid.Custom(func(t *rapid.T) string { return quoteJSON(word.Draw(t, "word")) })
	list := rapid.Custom(func(t *rapid.T) string {
		return "[" + strings.Join(rapid.SliceOfN(quoted, 0, 4).Draw(t, "list"), ", ") + "]"
	})
	rapid.Check(t, func(t *rapid.T) {
		files := map[string][]byte{}
		var compose strings.Builder
		compose.WriteString("name: " + quoted.Draw(t, "name") + "\nservices:\n")
		for range rapid.IntRange(0, 6).Draw(t, "services") {
			compose.WriteString("  " + quoted.Draw(t, "service") + ": {build: " + quoted.Draw(t, "build") +
				", command: " + rapid.OneOf(quoted, list).Draw(t, "command") + ", entrypoint: " + rapid.OneOf(quoted, list).Draw(t, "entrypoint") +
				", ports: " + list.Draw(t, "ports") + ", depends_on: " + list.Draw(t, "depends_on") +
				", healthcheck: {test: " + list.Draw(t, "test") + "}}\n")
		}
		contents := map[string]string{
			"compose.yaml":        compose.String(),
			"Procfile":            word.Draw(t, "name") + ": " + word.Draw(t, "line") + "\nweb: " + word.Draw(t, "line") + "\nweb: x\n",
			"go.mod":              "module " + word.Draw(t, "module"),
			"package.json":        `{"name":` + quoted.Draw(t, "name") + `,"main":` + quoted.Draw(t, "main") + `,"scripts":{"start":` + quoted.Draw(t, "start") + `}}`,
			"pyproject.toml":      "[project]\nname = " + quoted.Draw(t, "name") + "\n[project.scripts]\nx = " + quoted.Draw(t, "script"),
			"docker-compose.yml":  rapid.String().Draw(t, "noise"),
			"a b/pyproject.toml":  "[project]\nname='x'",
			"cart/pyproject.toml": rapid.String().Draw(t, "noise"),
		}
		for _, name := range slices.Sorted(maps.Keys(contents)) {
			if rapid.Bool().Draw(t, "has "+name) {
				files[name] = []byte(contents[name])
			}
		}
		d := Detect(files)
		checkStarter(t, d, Starter(d))
	})
}
