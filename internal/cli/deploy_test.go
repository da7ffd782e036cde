package cli

import (
	"fmt"
	"strings"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/porttest"
)

// What a dry run names as next is the same command, for real.
func TestDryRunNamesTheSameCommand(t *testing.T) {
	state := open(t, always(t, at(rolling("dev", delivery.Done))))
	from := t.TempDir()
	for _, flags := range [][]string{
		{},
		{"v2"},
		{"v2", "--from", from, "--set", "FEE=2", "--set", "NOTE=a b", "--unset", "OLD", "--env", "dev", "--reason", "it's cheaper", "--commit", "abc", "--detach", "--timeout", "1m0s"},
		{"v2", "--strategy", "blue-green"},
		{"v2", "--canary", "10,50", "--hold", "30s"},
		{"v2", "--env", "prod", "--reason", "fire", "--break-glass"},
	} {
		want := "slipway deploy payment"
		for _, word := range flags {
			want += " " + shell(word)
		}
		r := slipway(t.Context(), t, state, append([]string{"deploy", "payment", "--dry-run"}, flags...)...)
		expect(t, r, exitDone, "next  "+want+"\n")
	}
}

// A change that does something to others says so, and one that breaks the glass
// says why.
func TestDeployNotesAndBreakGlass(t *testing.T) {
	h := always(t, at(rolling("dev", delivery.Done), rolling("prod", delivery.Done)))
	h.done.Notes = []string{"takes over from change #6 (v1.5), which is judging", "queued behind nobody"}
	state := open(t, h)
	r := slipway(t.Context(), t, state, "deploy", "payment", "v2", "--env", "prod", "--break-glass", "--reason", "fire", "--detach")
	expect(t, r, exitDone)
	for _, note := range h.done.Notes {
		if !strings.Contains(r.stderr, note+"\n") {
			t.Errorf("stderr lacks %q:\n%s", note, r.stderr)
		}
	}
	if !h.got.BreakGlass || h.got.Reason != "fire" {
		t.Errorf("submitted %+v, want the glass broken with a reason", h.got)
	}
	for _, bad := range [][]string{{"--break-glass"}, {"--break-glass", "--reason", " "}, {"--timeout", "-1s"}, {"--hold", "-1s"}} {
		h.got.Service = ""
		expect(t, slipway(t.Context(), t, state, append([]string{"deploy", "payment", "v2", "--env", "prod"}, bad...)...), exitUsage)
		if h.got.Service != "" {
			t.Errorf("%v was submitted", bad)
		}
	}
}

func TestLogsFailedNone(t *testing.T) {
	r := slipway(t.Context(), t, open(t, always(t, at())), "logs", "payment", "--failed")
	expect(t, r, exitDone)
	if r.stdout != "" || r.stderr != "  no failed requests are kept for this (they are kept in memory for 15 minutes)\n" {
		t.Errorf("stdout %q, stderr %q; want that none are kept", r.stdout, r.stderr)
	}
}

// The control plane alone is gone, or the data plane as well: two things to say.
func TestServerDown(t *testing.T) {
	state := announce(t, t.TempDir(), "http://"+porttest.Free(t))
	const sentence = "the server does not answer; the data plane and the instances go on as they are"
	for _, alive := range []bool{true, false} {
		for _, command := range []string{"status", "doctor"} {
			t.Run(fmt.Sprint(command, alive), func(t *testing.T) {
				t.Parallel() // each waits as long as it has patience
				roof := Roof{Version: "test", ProxyRuns: func(folder string) bool { return alive && folder == state }}
				r := under(t.Context(), t, roof, t.TempDir(), state, command)
				expect(t, r, exitFailed)
				if all := r.stdout + r.stderr; strings.Contains(all, sentence) != alive || !strings.Contains(all, "next  slipway up") {
					t.Errorf("data plane %v:\n%s", alive, all)
				}
			})
		}
	}
}
