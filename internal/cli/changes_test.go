package cli

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// The flags are the filters of the API and the page, under the names that a command
// line has for them.
func TestChangesAsks(t *testing.T) {
	var asked url.Values
	list := client.List[control.Listed]{Next: "7", Items: []control.Listed{
		{
			Change: delivery.Change{ID: 9, Kinds: []delivery.Kind{delivery.Code, delivery.Config}, Members: []delivery.Member{{Service: "payment", Version: "v3"}}, By: "ann", Submitted: born, Reason: "faster\x1b[2J"},
			Stands: []control.Standing{{Env: "dev", Version: "v3", Was: "v2", State: delivery.Done}, {Env: "prod", Version: "v3", Was: "v2", State: delivery.Reverted}},
		},
		{Change: delivery.Change{ID: 8, Origin: delivery.OriginRollback, Members: []delivery.Member{{Service: "cart", Version: "v1"}}, By: "ben", Submitted: born}},
	}}
	state := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Query()
		answer(w, http.StatusOK, list)
	}))
	before := time.Now()
	r := slipway(t.Context(), t, state, "changes", "payment", "--env", "prod", "--kind", "code", "--outcome", "rolled-back", "--by", "ann", "--since", "24h", "--until", "2026-11-23", "-n", "2")
	from, err := time.Parse(time.RFC3339, asked.Get("from"))
	if ago := before.Sub(from); r.code != 0 || err != nil || ago < 24*time.Hour-time.Minute || ago > 24*time.Hour+time.Minute {
		t.Errorf("slipway changes = %d %s, from %q", r.code, r.stderr, asked.Get("from"))
	}
	asked.Del("from")
	want := url.Values{"service": {"payment"}, "env": {"prod"}, "kind": {"code"}, "outcome": {"rolled-back"}, "by": {"ann"}, "to": {"2026-11-23"}, "limit": {"2"}}
	if asked.Encode() != want.Encode() {
		t.Errorf("asked %s, want %s", asked.Encode(), want.Encode())
	}
	for _, line := range []string{"#9 payment v2 → v3 code+config ✔ dev ↩ prod ann", "#8 cart v1 rollback ben", "next slipway changes --limit 4"} {
		if !strings.Contains(squeeze(r.stdout), line) {
			t.Errorf("%q is not in\n%s", line, r.stdout)
		}
	}
	if strings.Contains(r.stdout, "\x1b[2J") {
		t.Errorf("a reason steers the terminal: %q", r.stdout)
	}
	r = slipway(t.Context(), t, state, "changes", "-o", "name")
	if got := strings.Fields(r.stdout); !slices.Equal(got, []string{"9", "8"}) || asked.Encode() != "limit=40" {
		t.Errorf("-o name = %q, asked %s", r.stdout, asked.Encode())
	}
	if r = slipway(t.Context(), t, state, "changes", "-o", "json"); !strings.Contains(r.stdout, `"stands": [`) || !strings.Contains(r.stdout, `"next": "7"`) {
		t.Errorf("-o json = %s", r.stdout)
	}
	list = client.List[control.Listed]{}
	if r = slipway(t.Context(), t, state, "changes", "--by", "kim"); !strings.Contains(r.stdout, "no change is like that") {
		t.Errorf("none = %q", r.stdout)
	}
}

// A filter that makes no sense is refused before anybody is asked, with what there is.
func TestChangesRefuses(t *testing.T) {
	for flag, says := range map[string]string{
		"--outcome=lost":   "--outcome: is one of under-way, done, rolled-back, superseded, cancelled",
		"--kind=colour":    "--kind: is one of code, config, flag, experiment, schema, secret",
		"--since=tomorrow": "--since: is a length of time as 24h or 7d, a day as 2026-11-23",
		"--until=-3h":      "--until: is a length of time as 24h or 7d, a day as 2026-11-23",
		"--limit=0":        "--limit is from 1 to 500",
	} {
		r := slipway(t.Context(), t, t.TempDir(), "changes", flag)
		if r.code != int(exitUsage) || !strings.Contains(r.stderr, says) || !strings.Contains(r.stderr, "next") {
			t.Errorf("slipway changes %s = %d %q, want that it says %q", flag, r.code, r.stderr, says)
		}
	}
}
