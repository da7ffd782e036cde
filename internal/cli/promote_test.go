package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// At a terminal a promotion is asked for once; a no changes nothing. Where
// nobody can answer, or with --yes, nothing is asked.
func TestPromoteAsks(t *testing.T) {
	for name, c := range map[string]struct {
		tty    bool
		answer string
		args   []string
		code   exit
		asked  bool // the person
		posted int
	}{
		"no":          {true, "n\n", nil, exitFailed, true, 0},
		"silence":     {true, "", nil, exitFailed, true, 0},
		"yes":         {true, "y\n", nil, exitDone, true, 1},
		"--yes":       {true, "", []string{"--yes"}, exitDone, false, 1},
		"no terminal": {false, "", nil, exitDone, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			h := always(t, at(rolling("dev", delivery.Done)))
			h.board = delivery.Board{Services: []delivery.Row{{Service: "payment", Cells: []delivery.Cell{{Env: "dev", Release: submitted().Release.ID, Version: "v2"}, {Env: "prod"}}}}}
			state := open(t, h)
			var out, errs bytes.Buffer
			code := Main(t.Context(), Env{
				Args: append([]string{"promote", "payment", "--detach"}, c.args...), Stdin: strings.NewReader(c.answer), Stdout: &out, Stderr: &errs, Dir: t.TempDir(),
				Vars:     func(name string) string { return map[string]string{"SLIPWAY_HOME": state, "TERM": "xterm"}[name] },
				Terminal: func() (int, bool) { return 80, c.tty },
			})
			if code != int(c.code) || strings.Contains(errs.String(), "[y/N]") != c.asked || len(h.asked()) != c.posted {
				t.Errorf("exit %d, posted %v, want exit %d and %d posts\n%s%s", code, h.asked(), c.code, c.posted, out.String(), errs.String())
			}
		})
	}
}

// On a terminal the progress is one block, drawn again in its place.
func TestDeployRedraws(t *testing.T) {
	h := always(t, moment{})
	h.at = func(n int) moment {
		if n < 4 {
			m := at(rolling("dev", delivery.Done), rolling("prod", delivery.Judging))
			live := m.live["7/prod"]
			live.Points = story()[:40]
			live.Route = &delivery.Route{Split: []delivery.Share{{Release: submitted().Release.ID, Weight: delivery.Percent(25)}}}
			m.live["7/prod"] = live
			return m
		}
		return at(rolling("dev", delivery.Done), rolling("prod", delivery.Done))
	}
	state := open(t, h)
	var out, errs bytes.Buffer
	code := Main(t.Context(), Env{
		Args: []string{"deploy", "payment", "v2"}, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Dir: t.TempDir(),
		Vars:     func(name string) string { return map[string]string{"SLIPWAY_HOME": state, "NO_COLOR": "1"}[name] },
		Terminal: func() (int, bool) { return 80, true },
	})
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	for _, want := range []string{"▕███░░░░░░░▏ 25 %", "error rate %   ─ canary  · baseline", "\x1b[2K", "A\x1b[2K", "prod     ✔ done"} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("the progress lacks %q:\n%q", want, errs.String())
		}
	}
	if strings.Contains(errs.String(), "\x1b[3") || strings.Contains(out.String(), "\x1b") {
		t.Error("there is colour although NO_COLOR is set")
	}
}
