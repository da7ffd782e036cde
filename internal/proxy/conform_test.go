package proxy_test

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestConform is the judge of the data plane's HTTP/1.1. Every case is played,
// byte for byte, to both paths of ours, which must do what the case wants, and
// to two peers. Where a peer does otherwise testdata/conform/differences.txt
// says so, and why; defects.txt is the same for ours, and ought to be empty.
//
//	go test ./internal/proxy -run 'TestConform$/^chunks$'      # one group
//	go test ./internal/proxy -run 'TestConform$' -conform.update  # write the tables anew
func TestConform(t *testing.T) {
	t.Parallel()
	groups := []struct {
		name  string
		cases []conformCase
	}{
		{"lengths", lengthCases()},
		{"codings", codingCases()},
		{"chunks", chunkCases()},
		{"lines", lineCases()},
		{"fields", fieldCases()},
		{"targets", targetCases()},
		{"heads", headCases()},
		{"flow", flowCases()},
		{"answers", answerCases()},
		{"uploads", uploadCases()},
		{"upgrades", upgradeCases()},
		{"deaths", deathCases()},
	}
	fronts := conformFronts(t)
	tables := loadDifferences(t)
	tally := newTally()
	known := map[string]bool{}
	for _, g := range groups {
		for i := range g.cases {
			c := &g.cases[i]
			c.name = g.name + "/" + c.name
			if known[c.name] {
				t.Errorf("two cases are named %s", c.name)
			}
			known[c.name] = true
		}
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			for i := range g.cases {
				c := &g.cases[i]
				t.Run(strings.TrimPrefix(c.name, g.name+"/"), func(t *testing.T) {
					t.Parallel()
					c.judge(t, fronts, tables, tally)
				})
			}
		})
	}
	tables.close(t, known, tally)
	t.Log(tally.summary(len(known), fronts))
}

// judge plays the case to every front.
func (c *conformCase) judge(t *testing.T, fronts []*conformFront, tables *differences, tally *tally) {
	for _, f := range fronts {
		want := c.want
		if !f.ours {
			want = asPeer(want)
		}
		listed, differs := tables.row(f.name, c.name)
		expect := want
		if differs {
			expect = listed.outcome
		}
		began := time.Now()
		r := f.run(t, c, expect)
		if took := time.Since(began); took > time.Second {
			t.Logf("%s took %s", f.name, took.Round(time.Millisecond))
		}
		got := r.outcome(!f.ours)
		agrees := matches(want, got)
		tally.add(f, c.name, got, agrees)
		switch {
		case *updateConform:
		case matches(expect, got):
		case agrees:
			t.Errorf("%s now does what is wanted: run this test with -conform.update", f.name)
		case differs:
			t.Errorf("%s: outcome\n  %s\nwant\n  %s\nor, as listed,\n  %s\n%.2000q", f.name, got, want, expect, c.sends)
		default:
			t.Errorf("%s: outcome\n  %s\nwant\n  %s\n%.2000q", f.name, got, want, c.sends)
		}
		if f.ours && c.ours != nil && agrees {
			c.ours(t, r)
		}
	}
}

// difference is a listed outcome that is not the one wanted.
type difference struct{ front, name, outcome, reason string }

// otherwise stands between outcomes of which chance decides.
const otherwise = " or "

// matches says whether an outcome is one of those listed.
func matches(listed, outcome string) bool {
	return slices.Contains(strings.Split(listed, otherwise), outcome)
}

// differences are the tables below testdata/conform: lines of front, case and
// outcome with tabs between them, below a line that begins with # and gives the
// reason of all that follow it.
type differences struct{ rows map[[2]string]difference }

func conformTable(front string) string {
	name := "differences.txt"
	if front == "full" || front == "raw" {
		name = "defects.txt"
	}
	return filepath.Join("testdata", "conform", name)
}

func loadDifferences(t *testing.T) *differences {
	t.Helper()
	d := &differences{rows: map[[2]string]difference{}}
	for _, path := range []string{conformTable("haproxy"), conformTable("full")} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		reason := ""
		for line := range strings.Lines(string(b)) {
			line = strings.TrimSuffix(line, "\n")
			if why, ok := strings.CutPrefix(line, "# "); ok {
				reason = why
				continue
			}
			part := strings.Split(line, "\t")
			if line == "" {
				continue
			}
			if len(part) != 3 || conformTable(part[0]) != path {
				t.Fatalf("%s: %q is not front, case and outcome", path, line)
			}
			if (reason == "" || reason == noReason) && !*updateConform {
				t.Errorf("%s: %s %s has no reason", path, part[0], part[1])
			}
			d.rows[[2]string{part[0], part[1]}] = difference{part[0], part[1], part[2], reason}
		}
	}
	return d
}

// noReason stands above new lines until a person has written one.
const noReason = "?"

func (d *differences) row(front, name string) (difference, bool) {
	r, ok := d.rows[[2]string{front, name}]
	return r, ok
}

// close refuses lines about cases that are no more, or writes the tables anew.
func (d *differences) close(t *testing.T, known map[string]bool, tally *tally) {
	t.Helper()
	if !*updateConform {
		for _, r := range d.rows {
			if !known[r.name] {
				t.Errorf("%s: there is no case %s", conformTable(r.front), r.name)
			}
		}
		return
	}
	files := map[string][]difference{conformTable("haproxy"): nil, conformTable("full"): nil}
	rows := map[[2]string]difference{}
	for key, old := range d.rows {
		if known[old.name] && strings.Contains(old.outcome, otherwise) {
			rows[key] = old
		}
	}
	for key, outcome := range tally.differ {
		row := difference{key[0], key[1], outcome, noReason}
		if old, ok := d.rows[key]; ok {
			row.reason = old.reason
			if matches(old.outcome, outcome) {
				row.outcome = old.outcome
			}
		}
		rows[key] = row
	}
	for key, row := range rows {
		files[conformTable(key[0])] = append(files[conformTable(key[0])], row)
	}
	for path, rows := range files {
		slices.SortFunc(rows, func(a, b difference) int {
			return cmp.Or(cmp.Compare(a.reason, b.reason), cmp.Compare(a.front, b.front), cmp.Compare(a.name, b.name))
		})
		var b strings.Builder
		reason := ""
		for _, r := range rows {
			if r.reason != reason {
				reason = r.reason
				fmt.Fprintf(&b, "\n# %s\n", reason)
			}
			fmt.Fprintf(&b, "%s\t%s\t%s\n", r.front, r.name, r.outcome)
		}
		if err := os.WriteFile(path, []byte(strings.TrimPrefix(b.String(), "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// tally counts who agrees.
type tally struct {
	mu     sync.Mutex
	agree  map[string]int       // guarded by mu: by front
	differ map[[2]string]string // guarded by mu: by front and case
}

func newTally() *tally {
	return &tally{agree: map[string]int{}, differ: map[[2]string]string{}}
}

func (a *tally) add(f *conformFront, name, outcome string, agrees bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if agrees {
		a.agree[f.name]++
		return
	}
	a.differ[[2]string{f.name, name}] = outcome
}

func (a *tally) summary(cases int, fronts []*conformFront) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	differ := map[string]int{}
	for key := range maps.Keys(a.differ) {
		differ[key[0]]++
	}
	s := fmt.Sprintf("%d cases", cases)
	for _, f := range fronts {
		s += fmt.Sprintf("\n%-9s %4d as wanted, %3d otherwise", f.name, a.agree[f.name], differ[f.name])
	}
	return s
}
