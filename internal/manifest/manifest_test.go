package manifest

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with the file of that name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what came out; if that is right, run go test with -update. Got:\n%s", name, got)
	}
}

// examples returns the files of a folder of testdata by name.
func examples(t *testing.T, folder string) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", folder, "*.yaml"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no examples in %s: %v", folder, err)
	}
	out := map[string][]byte{}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = b
	}
	return out
}

// Good files give a project and an origin for every value.
func TestGood(t *testing.T) {
	for name, src := range examples(t, "good") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			p, origins, err := Parse("slipway.yaml", src, "/home/me/shop")
			if err != nil {
				t.Fatalf("Parse:\n%v", err)
			}
			var b strings.Builder
			for _, l := range origins.Explain(p, "") {
				if origins[l.Field] == "" {
					t.Errorf("%s has no origin", l.Field)
				}
				fmt.Fprintf(&b, "%s = %s  (%s)\n", l.Field, l.Value, l.Origin)
			}
			golden(t, strings.TrimSuffix(name, ".yaml")+".explain", b.String())
			doc, err := json.MarshalIndent(p, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(name, ".yaml")+".json", string(doc)+"\n")
		})
	}
}

// Bad files give every mistake, with line, column, caret and cure.
func TestBad(t *testing.T) {
	for name, src := range examples(t, "bad") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			p, origins, err := Parse("slipway.yaml", src, "/home/me/shop")
			if err == nil {
				t.Fatal("Parse found no mistake")
			}
			if p.Name != "" || origins != nil {
				t.Errorf("Parse returned a project as well as an error")
			}
			golden(t, strings.TrimSuffix(name, ".yaml")+".txt", err.Error()+"\n")
		})
	}
}

// quoteJSON writes s as JSON text, which is YAML too.
func quoteJSON(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// The example in the documentation of the judge is a file that can be put in force.
func TestDocumentedExample(t *testing.T) {
	page, err := os.ReadFile("../../docs/analysis.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	example, _, _ := strings.Cut(rest, "```")
	if want := string(examples(t, "good")["testdata/good/analysis.yaml"]); example != want {
		t.Errorf("docs/analysis.md shows\n%s\nwhich is not testdata/good/analysis.yaml", example)
	}
}
