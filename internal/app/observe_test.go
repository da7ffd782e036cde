package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric/prometheus/prometheustest"
)

// dashboard is as much of Grafana's dashboard JSON as ours must have right.
type dashboard struct {
	UID, Title    string
	SchemaVersion int
	Templating    struct {
		List []struct {
			Name, Type, Definition string
		}
	}
	Annotations struct{ List []struct{ Expr string } }
	Panels      []struct {
		ID                       int
		Type, Title, Description string
		GridPos                  struct{ X, Y, W, H int }
		Datasource               struct{ UID string }
		Targets                  []struct{ RefID, Expr, LegendFormat string }
	}
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	b, err := os.ReadFile("../../deploy/grafana/slipway.json")
	if err == nil {
		err = json.Unmarshal(b, &d)
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// The dashboard is whole: panels have a place of their own, a text, and variables
// that are there.
func TestDashboardIsWhole(t *testing.T) {
	d := readDashboard(t)
	if d.UID != "slipway" || d.Title == "" || d.SchemaVersion < 36 || len(d.Panels) < 20 {
		t.Errorf("dashboard %q %q, schema %d, has %d panels", d.UID, d.Title, d.SchemaVersion, len(d.Panels))
	}
	known := map[string]bool{"__rate_interval": true}
	for _, v := range d.Templating.List {
		known[v.Name] = true
	}
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("%s has the ID %d of another panel", p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					t.Fatalf("%s lies upon %s", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%s leaves the page", p.Title)
		}
		if p.Type == "row" {
			continue
		}
		if p.Description == "" || len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
			t.Errorf("%s lacks a description, a query or the datasource: %+v", p.Title, p)
		}
		for _, q := range p.Targets {
			for _, m := range regexp.MustCompile(`\$(\w+)`).FindAllStringSubmatch(q.Expr, -1) {
				if !known[m[1]] {
					t.Errorf("%s asks for $%s, which is no variable", p.Title, m[1])
				}
			}
		}
	}
}

// The real Prometheus scrapes a house that has taken a release back, holds it and
// judges another: every query of the dashboard finds something, and the alerts
// are loaded. Without the token there are no metrics.
func TestDashboardShowsAHouse(t *testing.T) {
	h := build(t, "{strategy: canary, steps: [{weight: 50, hold: 2s}, {weight: 100, hold: 100ms}], soak: 200ms, window: 1m, deadline: 2m}", "prod")
	rules, err := filepath.Abs("../../deploy/prometheus/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	server := prometheustest.Start(t, fmt.Sprintf(`rule_files: [%q]
scrape_configs:
- job_name: slipway
  authorization: {credentials_file: %q}
  static_configs: [{targets: [%q]}]
- job_name: slipway-proxy
  metrics_path: /metrics/proxy
  authorization: {credentials_file: %q}
  static_configs: [{targets: [%q]}]
`, rules, filepath.Join(h.state, "token"), h.addr, filepath.Join(h.state, "token"), h.addr))

	for _, path := range []string{"/metrics", "/metrics/proxy"} {
		res, err := http.Get("http://" + h.addr + path)
		if err != nil {
			t.Fatal(err)
		}
		if res.Body.Close(); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("without the token GET %s = %s, want 401", path, res.Status)
		}
	}
	if r := h.ended(h.id(h.deploy("api", manners{Version: "v1"}, nil), "prod")); r.State != delivery.Done {
		t.Fatal(r.Reason)
	}
	l := h.load("prod", 4)
	if r := h.ended(h.id(h.deploy("api", manners{Version: "v2", Fail: 0.8}, nil), "prod")); r.State != delivery.Reverted {
		t.Errorf("v2 = %s: %s", r.State, r.Reason)
	}
	h.deploy("api", manners{Version: "v3"}, func(s *control.Submission) {
		s.Strategy = &delivery.Override{Kind: delivery.Canary, Steps: []delivery.StepSpec{{Weight: 5000, Hold: 10 * time.Minute}, {Weight: delivery.Full}}}
	})
	d := readDashboard(t)
	server.Until("the evidence against v3 is known", func() bool { return len(ask(t, server.URL, `slipway_rollout_evidence{version="v3"}`)) > 0 })
	if code, _ := h.get("prod", "", "/", "Slipway-Preview", "unsigned"); code != http.StatusForbidden {
		t.Errorf("a preview that is not signed = %d, want it refused, and counted", code)
	}
	fill := strings.NewReplacer("$__rate_interval", "20s", "$env", ".*", "$service", ".*")
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			expr := fill.Replace(q.Expr)
			server.Until(p.Title+" shows "+expr, func() bool { return len(ask(t, server.URL, expr)) > 0 })
		}
	}
	ask(t, server.URL, d.Annotations.List[0].Expr) // which may find nothing, and must be understood
	for _, v := range d.Templating.List {
		if m := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(v.Definition); v.Type == "query" && (m == nil || len(ask(t, server.URL, "group by ("+m[2]+") ("+m[1]+")")) == 0) {
			t.Errorf("the variable %s = %s has no values", v.Name, v.Definition)
		}
	}
	l.end()
	for _, alert := range ask(t, server.URL, `ALERTS{alertstate="firing",severity="critical"}`) {
		t.Errorf("a house that is well has the alert %v", alert)
	}
}

// ask evaluates a query now and returns the series it finds.
func ask(t *testing.T, base, expr string) []map[string]string {
	t.Helper()
	res, err := http.PostForm(base+"/api/v1/query", url.Values{"query": {expr}})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var got struct {
		Status, Error string
		Data          struct {
			Result []struct{ Metric map[string]string }
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil || got.Status != "success" {
		t.Fatalf("%s: %s %s %v", expr, got.Status, got.Error, err)
	}
	var out []map[string]string
	for _, r := range got.Data.Result {
		out = append(out, r.Metric)
	}
	return out
}

// promtool finds the alert rules good, each fires when it shall and not when it
// shall not, and none is without such a test.
func TestAlerts(t *testing.T) {
	const dir = "../../deploy/prometheus/"
	for _, args := range [][]string{{"check", "rules", dir + "alerts.yaml"}, {"test", "rules", dir + "alerts_test.yaml"}, {"check", "config", "--syntax-only", dir + "prometheus.yaml"}} {
		cmd := exec.CommandContext(t.Context(), "promtool", args...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert       string
				Labels      map[string]string
				Annotations map[string]string
			}
		}
	}
	var tests struct {
		Tests []struct {
			Cases []struct {
				Name string `yaml:"alertname"`
				Want []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	for name, into := range map[string]any{"alerts.yaml": &rules, "alerts_test.yaml": &tests} {
		b, err := os.ReadFile(dir + name)
		if err == nil {
			err = yaml.Unmarshal(b, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, x := range tests.Tests {
		for _, c := range x.Cases {
			if len(c.Want) > 0 {
				fires[c.Name] = true
			} else {
				quiet[c.Name] = true
			}
		}
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if !fires[r.Alert] || !quiet[r.Alert] {
				t.Errorf("%s has no test in which it fires, or none in which it does not", r.Alert)
			}
			if r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%s lacks a severity, a summary or what to do", r.Alert)
			}
		}
	}
	if len(fires) < 10 {
		t.Errorf("only %d alerts are tested", len(fires))
	}
}
