package server

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/metric/prometheus/prometheustest"
)

// What the page asks a Prometheus server, the API asks it too, within the same bounds,
// and says plainly what it does not get.
func TestPromQL(t *testing.T) {
	server := prometheustest.Start(t, "")
	h := build(t)
	put := func(at string) {
		h.call(ask{method: "PUT", path: "/project?dir=/srv/shop", contentType: "application/yaml", body: shopYAML + "prometheus: { url: " + at + " }\n"}).want(http.StatusOK)
	}
	put(server.URL)
	now := time.Now().Truncate(time.Second)
	var all []prometheustest.Series
	for _, shop := range []string{"a", "b"} {
		s := prometheustest.Series{Labels: map[string]string{"__name__": "orders_total", "shop": shop}}
		for second := range 60 {
			s.Times, s.Values = append(s.Times, now.Add(time.Duration(second-60)*time.Second)), append(s.Values, float64(second))
		}
		all = append(all, s)
	}
	server.Write(all)
	query := func(path string, q url.Values) *reply { return h.get(path + "?" + q.Encode()) }
	var got promQLAnswer
	query("/metrics/promql/range", url.Values{"query": {"orders_total"}, "from": {strconv.FormatInt(now.Unix()-50, 10)}, "to": {strconv.FormatInt(now.Unix()-10, 10)}, "step": {"10"}}).want(http.StatusOK).into(&got)
	if len(got.Lines) != 2 || got.Step != 10 || len(got.Lines[0].Points) != 5 || got.Lines[0].Labels["shop"] != "a" || got.Lines[0].Points[4].Value != 50 {
		t.Errorf("range = %+v", got)
	}
	query("/metrics/promql", url.Values{"query": {"sum(orders_total)"}, "at": {strconv.FormatInt(now.Unix()-10, 10)}}).want(http.StatusOK).into(&got)
	if len(got.Lines) != 1 || len(got.Lines[0].Points) != 1 || got.Lines[0].Points[0].Value != 100 || got.From != got.To {
		t.Errorf("instant = %+v", got)
	}
	query("/metrics/promql", url.Values{"query": {"nothing_total"}}).want(http.StatusOK).into(&got)
	if got.Lines == nil || len(got.Lines) != 0 {
		t.Errorf("nothing = %+v", got)
	}
	for where, says := range map[string]string{
		"/metrics/promql?query=sum(":                                "query",
		"/metrics/promql?query=":                                    "query",
		"/metrics/promql/range?query=up&from=1&to=90000&step=1":     "step",
		"/metrics/promql/range?query=up&from=20&to=10":              "from",
		"/metrics/promql?query=" + strings.Repeat("x", 8<<10) + "y": "query",
	} {
		p := h.get(where).problem(http.StatusUnprocessableEntity, codeInvalid)
		if len(p.Errors) != 1 || !strings.Contains(p.Errors[0].Location, says) {
			t.Errorf("GET %.80s = %+v, want that it names %s", where, p, says)
		}
	}
	put("http://127.0.0.1:1")
	if p := h.get("/metrics/promql?query=up").problem(http.StatusBadGateway, codeNoAnswer); !strings.Contains(p.Detail, "127.0.0.1:1") || p.Hint == "" {
		t.Errorf("nobody answers = %+v", p)
	}
	h.shop()
	if p := h.get("/metrics/promql?query=up").problem(http.StatusUnprocessableEntity, codeInvalid); !strings.Contains(p.Hint, "prometheus: {url:") {
		t.Errorf("no server is named = %+v", p)
	}
}
