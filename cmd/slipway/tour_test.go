package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/slipway-cd/slipway/internal/demo"
)

// The whole story, told by the real binary to the end: what "make demo" shows
// a newcomer holds on every commit.
func TestTour(t *testing.T) {
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
	cmd := exec.CommandContext(t.Context(), bin, "demo", "--tour", "--fast", "-o", "json", "--dir", dir, "--port", strconv.Itoa(freeBase(t)))
	cmd.Stdout, cmd.Stderr = &out, &talk
	runErr := cmd.Run()
	var sum demo.Summary
	if err := json.Unmarshal(out.Bytes(), &sum); err != nil || runErr != nil {
		t.Fatalf("demo --tour: %v, summary: %v\n%s%s", runErr, err, out.Bytes(), talk.Bytes())
	}
	if !sum.OK || len(sum.Acts) != 5 {
		t.Errorf("summary: ok %v, %d acts; want five that ended as they must\n%s", sum.OK, len(sum.Acts), talk.Bytes())
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
	for base := 8100; base < 9900; base += 100 {
		free := true
		for _, off := range []int{0, 60, 70, 80} {
			l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(base+off)))
			if err != nil {
				free = false
				break
			}
			l.Close()
		}
		if free {
			return base
		}
	}
	t.Fatal("no free ports for the demo from 8100 to 9900")
	return 0
}
