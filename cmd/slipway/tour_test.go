package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/slipway-cd/slipway/internal/demo"
	"github.com/slipway-cd/slipway/internal/porttest"
)

// runDemo runs the demo by the real binary to its end, reads its summary into
// sum and returns what it told people.
func runDemo(t *testing.T, sum any, args ...string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "slipway")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	dir, err := os.MkdirTemp("", "tour") // short, for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	var out, talk bytes.Buffer
	args = append([]string{"demo", "--fast", "-o", "json", "--dir", dir, "--port", strconv.Itoa(freeBase(t))}, args...)
	cmd := exec.CommandContext(t.Context(), bin, args...)
	cmd.Stdout, cmd.Stderr = &out, &talk
	runErr := cmd.Run()
	if err := json.Unmarshal(out.Bytes(), sum); err != nil || runErr != nil {
		t.Fatalf("%v: %v, summary: %v\n%s%s", args, runErr, err, out.Bytes(), talk.Bytes())
	}
	return talk.String()
}

// Good releases of real services never come back, and bad ones always do: by
// their errors, by their times, and by what happens to their callers alone.
// SLIPWAY_TRIALS says how often each; "make trials" does it ten times.
func TestTrials(t *testing.T) {
	n := cmp.Or(os.Getenv("SLIPWAY_TRIALS"), "1")
	var sum demo.Trials
	talk := runDemo(t, &sum, "--trials", n)
	t.Log(talk)
	if !sum.OK || len(sum.Rows) != 4 {
		t.Errorf("%d kinds of rollouts, ok %v; want four that ended as they must", len(sum.Rows), sum.OK)
	}
	for _, row := range sum.Rows {
		if row.N == 0 || row.OK+row.Held != row.N || len(row.Took) != row.OK {
			t.Errorf("%s: %d of %d %s, %d held: %q", row.Name, row.OK, row.N, row.Wanted, row.Held, row.Wrong)
		}
	}
}

// The whole story, told by the real binary to the end: what "make demo" shows
// a newcomer holds on every commit.
func TestTour(t *testing.T) {
	var sum demo.Summary
	talk := runDemo(t, &sum, "--tour")
	if !sum.OK || len(sum.Acts) != 5 {
		t.Errorf("summary: ok %v, %d acts; want five that ended as they must\n%s", sum.OK, len(sum.Acts), talk)
	}
	for _, act := range sum.Acts {
		t.Logf("%-60.60s  %5.1f s  %5d requests  %3d failed %v", act.Name, act.Seconds, act.Requests, act.Failed, act.By)
		if !act.OK || act.Lost > 0 || act.Requests == 0 {
			t.Errorf("%s: %s, %d lost of %d", act.Name, act.Outcome, act.Lost, act.Requests)
		}
	}
}

// freeBase finds a first port for the demo, whose others lie at fixed distances.
func freeBase(t *testing.T) int {
	t.Helper()
	return porttest.Base(t, 60, 70, 80)
}
