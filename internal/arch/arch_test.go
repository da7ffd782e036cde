package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/slipway-cd/slipway/"

// floors lists the house from the ground up; a name that ends in a slash stands
// for everything below it. A package may import only floors below its own, and
// the port it is a driver or a judge of.
var floors = [][]string{
	{"internal/delivery"},
	{"internal/rollout", "internal/promotion", "internal/analysis", "internal/manifest", "internal/discreet", "internal/web/layered"},
	{"internal/porttest", "internal/ports"},
	{"internal/store", "internal/workload", "internal/traffic", "internal/artifact", "internal/metric", "internal/workload/workloadtest", "internal/traffic/traffictest", "internal/metric/metrictest"},
	{"internal/web/browsertest", "internal/probe", "internal/metric/openmetrics", "internal/otlp", "internal/traces", "internal/logs", "internal/analysis/sim", "internal/proxy/wire", "internal/proxy/match"},
	{"internal/proxy/"},
	{"internal/workload/", "internal/traffic/", "internal/metric/", "internal/proxy"},
	{"internal/control"},
	{"internal/client", "internal/telemetry", "internal/access", "internal/control/controltest"},
	{"internal/server", "internal/cli", "internal/web"},
	{"internal/app", "internal/demo", "internal/demo/"},
	{"cmd/", "internal/analysis/sim/cmd"},
}

// pure is how many floors, from the ground, may not touch the world.
const pure = 2

// worldly packages wait, look, remember, call or roll dice.
var worldly = []string{"context", "os", "net", "net/http", "database/sql", "io/fs", "log/slog", "sync", "math/rand", "math/rand/v2", "os/exec", "path/filepath"}

// packages maps each package of the module to what it imports.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	cmd := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, module+"...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	imports := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		imports[strings.TrimPrefix(f[0], module)] = f[1:]
	}
	return imports
}

// floorOf returns the floor of a package by its longest matching entry, or -1.
func floorOf(pkg string) int {
	longest, at := -1, -1
	for i, names := range floors {
		for _, name := range names {
			match := pkg == name || strings.HasSuffix(name, "/") && strings.HasPrefix(pkg, name)
			if match && len(name) > longest {
				longest, at = len(name), i
			}
		}
	}
	return at
}

func TestFloors(t *testing.T) {
	for pkg, imports := range packages(t) {
		if pkg == "internal/arch" {
			continue
		}
		mine := floorOf(pkg)
		if mine < 0 {
			t.Errorf("%s is on no floor; give it one in arch_test.go", pkg)
		}
		for _, imp := range imports {
			to, ours := strings.CutPrefix(imp, module)
			if !ours {
				continue
			}
			if theirs := floorOf(to); theirs >= mine && !strings.HasPrefix(pkg, to+"/") {
				t.Errorf("%s (floor %d) may not import %s (floor %d)", pkg, mine, to, theirs)
			}
		}
	}
}

func TestPurity(t *testing.T) {
	for pkg, imports := range packages(t) {
		if f := floorOf(pkg); f < 0 || f >= pure {
			continue
		}
		for _, imp := range imports {
			if slices.Contains(worldly, imp) {
				t.Errorf("%s must stay pure but imports %s", pkg, imp)
			}
		}
	}
}

// The map names every room, and every room it names is there.
func TestMap(t *testing.T) {
	text, err := os.ReadFile("../../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\n"); n > 150 {
		t.Errorf("ARCHITECTURE.md has %d lines; 150 is what one person reads", n)
	}
	here := packages(t)
	there := map[string]bool{}
	for _, m := range regexp.MustCompile("`((?:internal|cmd)/[a-z0-9/]+)`").FindAllStringSubmatch(string(text), -1) {
		there[m[1]] = true
		if _, ok := here[m[1]]; !ok {
			t.Errorf("ARCHITECTURE.md names %s, which is not there", m[1])
		}
	}
	for pkg := range here {
		if !there[pkg] {
			t.Errorf("%s is not in ARCHITECTURE.md", pkg)
		}
	}
}

// A file or a function that passes its wall needs a room of its own, not a higher wall.
const (
	maxFile = 600 // lines
	maxFunc = 80  // lines
)

func TestWalls(t *testing.T) {
	fset := token.NewFileSet()
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil || ast.IsGenerated(f) {
			return err
		}
		if n := fset.File(f.Pos()).LineCount(); n > maxFile {
			t.Errorf("%s has %d lines; the wall is at %d", path, n, maxFile)
		}
		for _, decl := range f.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1; n > maxFunc {
				t.Errorf("%s: %s has %d lines; the wall is at %d", path, fn.Name, n, maxFunc)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
