package cli

import (
	"net/http"
	"strings"
	"testing"

	"github.com/slipway-cd/slipway/internal/client"
)

func TestMetricsQuery(t *testing.T) {
	var path string
	state := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path = r.URL.Path + "?" + r.URL.RawQuery
		switch expr := r.URL.Query().Get("query"); {
		case expr == "sum(":
			answer(w, http.StatusUnprocessableEntity, client.Problem{Status: 422, Detail: "query: 1:5: parse error", Code: "invalid", Hint: "read on"})
		case expr == "none":
			answer(w, http.StatusOK, map[string]any{"lines": []any{}})
		case strings.HasSuffix(r.URL.Path, "/range"):
			answer(w, http.StatusOK, map[string]any{"from": 1000, "to": 1600, "more": 3, "warnings": []string{"slow"}, "lines": []any{
				map[string]any{"labels": map[string]string{"__name__": "orders_total", "shop": "a"}, "points": []any{map[string]any{"at": 1000, "value": 1}, map[string]any{"at": 1600, "value": 8}}},
				map[string]any{"labels": map[string]string{}, "points": []any{}},
			}})
		default:
			answer(w, http.StatusOK, map[string]any{"from": 1600, "to": 1600, "lines": []any{map[string]any{"labels": map[string]string{"shop": "a\x1b[2J"}, "points": []any{map[string]any{"at": 1600, "value": 8}}}}})
		}
	}))
	r := slipway(t.Context(), t, state, "metrics", "query", "orders_total", "--last", "1h", "--step", "30s")
	for _, line := range []string{`orders_total{shop="a"} `, "█ 8 8", "value no numbers", "and 3 more lines", "the server warns: slow"} {
		if !strings.Contains(squeeze(r.stdout), line) {
			t.Errorf("%q is not in\n%s", line, r.stdout)
		}
	}
	if !strings.HasPrefix(path, "/api/v1/metrics/promql/range?from=") || !strings.Contains(path, "query=orders_total&step=30&to=") {
		t.Errorf("asked %s", path)
	}
	r = slipway(t.Context(), t, state, "metrics", "query", "up", "--now")
	if path != "/api/v1/metrics/promql?query=up" || !strings.Contains(r.stdout, `{shop="a\x1b[2J"}`) && !strings.Contains(r.stdout, "  8") || strings.Contains(r.stdout, "\x1b[2J") {
		t.Errorf("asked %s, printed %q", path, r.stdout)
	}
	if r = slipway(t.Context(), t, state, "metrics", "query", "none"); !strings.Contains(r.stdout, "no series for this") || !strings.Contains(r.stdout, "next") {
		t.Errorf("none = %q", r.stdout)
	}
	if r = slipway(t.Context(), t, state, "metrics", "query", "sum(", "-o", "json"); r.code != int(exitUsage) || !strings.Contains(r.stderr, `"error":"query: 1:5: parse error"`) {
		t.Errorf("refused = %d %q", r.code, r.stderr)
	}
	for _, args := range [][]string{{"--last", "1ms"}, {"--step", "1500ms"}, {"--now", "--last", "1h"}, {}} {
		if r = slipway(t.Context(), t, state, append([]string{"metrics", "query"}, append(args, map[bool][]string{true: {"up"}}[len(args) > 0]...)...)...); r.code != int(exitUsage) {
			t.Errorf("metrics query %v = %d %q", args, r.code, r.stderr)
		}
	}
}
