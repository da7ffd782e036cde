package manifest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// parse parses a file that must be good.
func parse(t *testing.T, src string) (delivery.Project, Origins) {
	t.Helper()
	p, origins, err := Parse("slipway.yaml", []byte(src), "/srv")
	if err != nil {
		t.Fatalf("Parse:\n%v\nof:\n%s", err, src)
	}
	return p, origins
}

// Every default has its documented value, and says that it is one.
func TestDefaults(t *testing.T) {
	const early = " before the last environment"
	p, origins := parse(t, "project: shop\nservices: {cart: {run: x}}\nenvironments: [dev, staging, prod]")
	want := map[string][2]string{
		"services.cart.dir":                              {"/srv", "default"},
		"services.cart.needs":                            {"none", "default"},
		"services.cart.health.tcp":                       {"true", "default: no health is named, so the port must accept a connection"},
		"services.cart.health.interval":                  {"1s", "default"},
		"services.cart.health.timeout":                   {"1s", "default"},
		"services.cart.health.rise":                      {"2", "default"},
		"services.cart.health.fall":                      {"3", "default"},
		"services.cart.public.hosts":                     {"none", "default"},
		"services.cart.public.paths":                     {"none", "default"},
		"services.cart.stop.drain":                       {"10s", "default"},
		"services.cart.stop.grace":                       {"5s", "default"},
		"services.cart.limits.memory":                    {"unbounded", "default"},
		"services.cart.in.dev.replicas":                  {"1", "default"},
		"services.cart.in.dev.rollout.strategy":          {"canary", "default"},
		"services.cart.in.dev.rollout.steps[0].weight":   {"100 %", "strategy canary default" + early},
		"services.cart.in.dev.rollout.steps[0].hold":     {"5s", "strategy canary default" + early},
		"services.cart.in.dev.rollout.steps[0].proven":   {"false", "strategy canary default" + early},
		"services.cart.in.staging.rollout.soak":          {"0s", "default" + early},
		"services.cart.in.staging.rollout.window":        {"1m", "default" + early},
		"services.cart.in.prod.replicas":                 {"1", "default"},
		"services.cart.in.prod.rollout.steps[0].weight":  {"5 %", "strategy canary default"},
		"services.cart.in.prod.rollout.steps[1].weight":  {"25 %", "strategy canary default"},
		"services.cart.in.prod.rollout.steps[2].weight":  {"50 %", "strategy canary default"},
		"services.cart.in.prod.rollout.steps[3].weight":  {"100 %", "strategy canary default"},
		"services.cart.in.prod.rollout.steps[0].hold":    {"10s", "strategy canary default"},
		"services.cart.in.prod.rollout.steps[0].max":     {"10m", "strategy canary default"},
		"services.cart.in.prod.rollout.steps[0].proven":  {"true", "strategy canary default"},
		"services.cart.in.prod.rollout.steps[0].approve": {"false", "strategy canary default"},
		"services.cart.in.prod.rollout.deadline":         {"2m", "default"},
		"services.cart.in.prod.rollout.soak":             {"30s", "default"},
		"services.cart.in.prod.rollout.window":           {"10m", "default"},
		"services.cart.in.prod.rollout.on_silence":       {"wait", "default"},
		"services.cart.in.prod.rollout.supersede":        {"replace", "default"},
		"services.cart.in.prod.rollout.judge.off":        {"false", "default"},
		"services.cart.in.prod.rollout.judge.alpha":      {"the judge's own", "default"},
		"services.cart.protocol":                         {"http", "default"},
		"services.cart.traffic.match":                    {"every request", "default"},
		"services.cart.traffic.timeout":                  {"1m", "default"},
		"services.cart.traffic.per_try":                  {"1m", "default"},
		"services.cart.traffic.retries.attempts":         {"3", "default"},
		"services.cart.traffic.retries.budget":           {"20 %", "default"},
		"services.cart.traffic.sticky":                   {"cookie", "default"},
		"services.cart.traffic.limits.in_flight":         {"unbounded", "default"},
		"services.cart.traffic.limits.queue":             {"none", "default"},
		"services.cart.traffic.limits.wait":              {"1s", "default"},
		"services.cart.traffic.rates":                    {"unbounded", "default"},
		"services.cart.traffic.ejection.after":           {"5", "default"},
		"services.cart.traffic.ejection.first":           {"1s", "default"},
		"services.cart.traffic.ejection.longest":         {"30s", "default"},
		"services.cart.traffic.ejection.most":            {"50 %", "default"},
		"services.cart.traffic.slow_start":               {"0s", "default"},
		"services.cart.traffic.hold.for":                 {"none; 10s while a recreate is under way", "default"},
		"services.cart.traffic.hold.max":                 {"1000", "default"},
		"services.cart.traffic.stream_idle":              {"10m", "default"},
		"services.cart.traffic.error_field":              {"none", "default"},
		"services.cart.traffic.targets":                  {"none", "default"},
		"services.cart.traffic.mirror":                   {"none", "default"},
		"environments.prod.tls":                          {"none", "default"},
		"data_plane.access_log":                          {"off", "default"},
		"data_plane.log_share":                           {"1 %", "default"},
		"data_plane.otlp":                                {"none", "default"},
		"data_plane.otlp_share":                          {"1 %", "default"},
		"data_plane.trusted":                             {"none", "default"},
		"data_plane.raw":                                 {"true", "default"},
		"data_plane.limits.connections":                  {"20000, or what the open-files limit leaves", "default"},
		"data_plane.limits.in_flight":                    {"10000", "default"},
		"data_plane.limits.head_bytes":                   {"64KiB", "default"},
		"data_plane.limits.head_time":                    {"10s", "default"},
		"data_plane.limits.idle":                         {"2m", "default"},
		"data_plane.limits.streams":                      {"10s", "default"},
		"environments.dev.listen":                        {"127.0.0.1:7582", "default"},
		"environments.staging.listen":                    {"127.0.0.1:7581", "default"},
		"environments.prod.listen":                       {"127.0.0.1:7580", "default"},
		"environments.dev.promote":                       {"auto", "default"},
		"environments.prod.promote":                      {"auto", "default"},
	}
	for _, l := range origins.Explain(p, "") {
		if w, ok := want[l.Field]; ok && (l.Value != w[0] || origins[l.Field] != w[1]) {
			t.Errorf("%s = %s (%s), want %s (%s)", l.Field, l.Value, origins[l.Field], w[0], w[1])
		}
		delete(want, l.Field)
	}
	for field := range want {
		t.Errorf("%s is not explained", field)
	}
	for kind, field := range map[string][2]string{"blue-green": {"test_timeout", "1m"}, "rolling": {"max_surge", "1"}} {
		p, origins := parse(t, "project: shop\nservices: {cart: {run: x}}\nrollout: "+kind)
		lines := origins.Explain(p, "services.cart.in.prod.rollout."+field[0])
		if len(lines) != 1 || lines[0].Value != field[1] || lines[0].Origin != "strategy "+kind+" default" {
			t.Errorf("%s of %s is %v, want %s", field[0], kind, lines, field[1])
		}
	}
}

// The place closest to the service in the environment wins, field by field.
func TestPrecedence(t *testing.T) {
	layers := []string{"project", "service", "environment", "in"}
	values := map[string]string{"project": "1m", "service": "2m", "environment": "3m", "in": "4m"}
	for mask := range 16 {
		said := func(layer string) string {
			if mask&(1<<slices.Index(layers, layer)) == 0 {
				return ""
			}
			return "rollout: {soak: " + values[layer] + "}"
		}
		src := "project: shop\nservices:\n  cart:\n    run: x\n    " + said("service") +
			"\n    in: {prod: {" + said("in") + "}}\nenvironments: [{name: prod, " + said("environment") + "}]\n" + said("project") + "\n"
		src = strings.ReplaceAll(src, "prod, }", "prod}")
		p, origins := parse(t, src)
		want := "30s"
		for i, layer := range layers {
			if mask&(1<<i) != 0 {
				want = values[layer]
			}
		}
		line := origins.Explain(p, "services.cart.in.prod.rollout.soak")
		if len(line) != 1 || line[0].Value != want {
			t.Errorf("soak is %v, want %s, of:\n%s", line, want, src)
		}
		if (mask == 0) != (line[0].Origin == "default") {
			t.Errorf("soak comes from %s in:\n%s", line[0].Origin, src)
		}
	}
}

// A change of strategy drops what was said for another one, and keeps the rest.
func TestStrategyChangeResets(t *testing.T) {
	p, _ := parse(t, `project: shop
services:
  cart: {run: x}
  pay:  {run: x, rollout: blue-green}
  ship: {run: x, rollout: {strategy: rolling, max_surge: 3}, in: {prod: {rollout: canary}}}
environments: [dev, prod]
rollout: {strategy: canary, steps: [10, 100], hold: 30s, soak: 2m, judge: {alpha: 0.05}}
`)
	at := func(service, env string) delivery.Strategy {
		s, ok := p.Service(service)
		if !ok {
			t.Fatalf("no service %s", service)
		}
		return s.In[env].Strategy
	}
	if s := at("cart", "prod"); len(s.Steps) != 2 || s.Steps[0] != (delivery.StepSpec{Weight: 1000, Hold: 30 * time.Second, Proven: true, Max: 10 * time.Minute}) {
		t.Errorf("cart in prod has steps %+v", s.Steps)
	}
	if s := at("cart", "dev"); len(s.Steps) != 1 || s.Steps[0] != (delivery.StepSpec{Weight: delivery.Full, Hold: 5 * time.Second}) || s.Soak != 2*time.Minute {
		t.Errorf("cart in dev has %+v, want one quick step and the project's soak", s)
	}
	if s := at("pay", "prod"); s.Kind != delivery.BlueGreen || s.Steps != nil || s.Soak != 2*time.Minute || s.Judge.Alpha != 0.05 {
		t.Errorf("pay in prod has %+v, want blue-green with the project's soak and judge", s)
	}
	if s := at("ship", "dev"); s.Kind != delivery.Rolling || s.MaxSurge != 3 {
		t.Errorf("ship in dev has %+v, want rolling by 3", s)
	}
	if s := at("ship", "prod"); s.Kind != delivery.Canary || s.MaxSurge != 0 || len(s.Steps) != 4 {
		t.Errorf("ship in prod has %+v, want canary with the default steps: rolling lies between it and the project's", s)
	}
}

// Weights, durations and sizes are read in every form that is documented.
func TestForms(t *testing.T) {
	p, _ := parse(t, "project: shop\nservices:\n  cart:\n    run: a 'b c' \"d\\\"e\" f\\ g \"\"\n    limits: {memory: 1.5GiB}\n    stop: {drain: 1d12h, grace: 500ms}\n    rollout: {steps: [0.25, \"1%\", 5 %, 7.5, 100]}\n    needs: [pay>=v1.2]\n    public: {hosts: [a.example]}\n  pay: {run: [sleep, 10, true]}\n")
	cart, _ := p.Service("cart")
	if want := []string{"a", "b c", `d"e`, "f g", ""}; !slices.Equal(cart.Run.Command, want) {
		t.Errorf("run is %q, want %q", cart.Run.Command, want)
	}
	if cart.Run.Limits.MemoryBytes != 3<<29 || cart.Run.Stop.Drain != 36*time.Hour || cart.Run.Stop.Grace != 500*time.Millisecond {
		t.Errorf("limits %+v, stop %+v", cart.Run.Limits, cart.Run.Stop)
	}
	var weights []delivery.Weight
	for _, s := range cart.In["prod"].Strategy.Steps {
		weights = append(weights, s.Weight)
	}
	if want := []delivery.Weight{25, 100, 500, 750, 10000}; !slices.Equal(weights, want) {
		t.Errorf("weights are %v, want %v", weights, want)
	}
	if !slices.Equal(cart.Run.Needs, []delivery.Need{{Service: "pay", AtLeast: "v1.2"}}) || !slices.Equal(cart.Public.Paths, []string{"/"}) {
		t.Errorf("needs %v, public %v", cart.Run.Needs, cart.Public)
	}
	pay, _ := p.Service("pay")
	if want := []string{"sleep", "10", "true"}; !slices.Equal(pay.Run.Command, want) {
		t.Errorf("run is %q, want %q", pay.Run.Command, want)
	}
}

// Who says nothing of traffic has none of its words in the project, so that its
// releases and its routes are what they were before there were such words.
func TestNothingSaidOfTraffic(t *testing.T) {
	said := "traffic: {timeout: 5s, retries: 2, sticky: ip, hold: 5s, mirror: 5, targets: [{name: a, when: [{header: A}]}]}"
	quiet, _ := parse(t, service(""))
	loud, _ := parse(t, service(said)+"environments: [{name: prod, tls: {cert: a, key: b}}]\ndata_plane: {raw: false}\n")
	was, is := quiet.Services[0], loud.Services[0]
	if !delivery.Same(was.Traffic, delivery.Traffic{}) || was.Targets != nil || was.Mirror != nil || quiet.Environments[0].TLS != nil || !delivery.Same(quiet.DataPlane, delivery.DataPlane{}) {
		t.Errorf("a project that says nothing has %+v, %+v", was, quiet.DataPlane)
	}
	if !delivery.Same(was.Run, is.Run) || delivery.Same(was.Traffic, is.Traffic) {
		t.Errorf("traffic words make a release of %+v, without them it is %+v", is.Run, was.Run)
	}
	spoken, _ := parse(t, service("protocol: http"))
	if !delivery.Same(was.Run, spoken.Services[0].Run) {
		t.Errorf("the protocol said and the default differ: %+v, %+v", was.Run, spoken.Services[0].Run)
	}
}

// A prefix selects whole segments of a field's name.
func TestExplainPrefix(t *testing.T) {
	p, origins := parse(t, "project: shop\nservices:\n  cart: {run: x, config: {A: 1}}\n  cart-api: {run: x}")
	lines := origins.Explain(p, "services.cart")
	if len(lines) == 0 {
		t.Fatal("nothing is explained")
	}
	for _, l := range lines {
		if !strings.HasPrefix(l.Field, "services.cart.") {
			t.Errorf("%s is not below services.cart", l.Field)
		}
	}
	got := origins.Explain(p, "services.cart.config.A")
	if want := (Line{"services.cart.config.A", `"1"`, "slipway.yaml:3:30"}); len(got) != 1 || got[0] != want {
		t.Errorf("Explain = %v, want %v", got, want)
	}
	if got := origins.Explain(p, "services.nobody"); got != nil {
		t.Errorf("Explain of what is not there = %v", got)
	}
}

// Files made to exhaust the reader are refused, each with a mistake that says so.
func TestBounds(t *testing.T) {
	var laughs strings.Builder
	laughs.WriteString("a: &a [x, x, x, x, x, x, x, x, x]\n")
	for c := 'b'; c <= 'z'; c++ {
		fmt.Fprintf(&laughs, "%c: &%c [%s*%c]\n", c, c, strings.Repeat(fmt.Sprintf("*%c, ", c-1), 8), c-1)
	}
	var spread strings.Builder
	spread.WriteString("project: shop\nservices:\n  a: &a\n    run: x\n    config: &c {")
	for i := range 2000 {
		fmt.Fprintf(&spread, "K%d: v, ", i)
	}
	spread.WriteString("}\n")
	merged := strings.Builder{}
	merged.WriteString(spread.String())
	for i := range 300 {
		fmt.Fprintf(&spread, "  s%d: *a\n", i)
		fmt.Fprintf(&merged, "  s%d: {run: x, config: {<<: *c}}\n", i)
	}
	many := func(format string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	tests := []struct{ name, src, why string }{
		{"size", "# " + strings.Repeat("x", maxSource), "bytes"},
		{"tokens", many("k%d: v\n", maxTokens), "too long"},
		{"brackets", strings.Repeat("[", 100_000), "nested deeper"},
		{"braces", strings.Repeat("{a: ", 10_000), "nested deeper"},
		{"dashes", strings.Repeat("- ", 15_000), "nested deeper"},
		{"questions", strings.Repeat("? ", 15_000), "nested deeper"},
		{"laughs", laughs.String(), "no field"},
		{"laughs in config", "project: shop\nservices: {cart: {run: x, config: {" + strings.ReplaceAll(strings.ReplaceAll(laughs.String(), ": &", "A: &"), "\n", ", ") + "}}}", "must be text"},
		{"aliases spread", spread.String(), "unfolds to more than"},
		{"merges spread", merged.String(), "unfold to more than"},
		{"services", "project: shop\nservices:\n" + many("  s%d: {run: x}\n", maxServices+1), "501 services"},
		{"environments", wholeFile("environments: [" + many("e%d, ", maxEnvironments+1) + "]"), "21 environments"},
		{"mistakes", "project: shop\nservices:\n" + many("  S%d: {run: x}\n", 2*maxMistakes), "more than 100 mistakes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := mistakesIn(t, tt.src)
			if len(got) > maxMistakes+1 {
				t.Errorf("%d mistakes are reported", len(got))
			}
			if !slices.ContainsFunc(got, func(m Mistake) bool { return strings.Contains(m.Why, tt.why) }) {
				t.Errorf("no mistake says %q:\n%.2000s", tt.why, got.Error())
			}
		})
	}
}

// A mistake points into the file, whatever the file is.
func checkAny(t fataler, src []byte) {
	t.Helper()
	p, origins, err := Parse("slipway.yaml", src, "/srv")
	if err == nil {
		if p.Name == "" || len(p.Services) == 0 || len(p.Environments) == 0 {
			t.Fatalf("a project without name, service or environment came out of %q", src)
		}
		for _, l := range origins.Explain(p, "") {
			if origins[l.Field] == "" {
				t.Fatalf("%s has no origin in %q", l.Field, src)
			}
		}
		return
	}
	got, ok := errors.AsType[*Mistakes](err)
	if !ok || len(*got) == 0 {
		t.Fatalf("Parse(%q) gave %v, want *Mistakes", src, err)
	}
	lines := strings.Count(string(src), "\n") + strings.Count(string(src), "\r") + 1
	for i, m := range *got {
		if m.Line < 1 || m.Column < 1 || m.Line > lines || m.Why == "" || m.Next == "" {
			t.Fatalf("mistake %+v is incomplete, in %q", m, src)
		}
		if i > 0 && m.Line < (*got)[i-1].Line {
			t.Fatalf("mistakes are out of order in %q:\n%v", src, err)
		}
	}
}

func TestParseNeverPanics(t *testing.T) {
	var seeds []string
	for _, folder := range []string{"good", "bad"} {
		for _, src := range examples(t, folder) {
			seeds = append(seeds, string(src))
		}
	}
	slices.Sort(seeds)
	t.Run("bytes", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { checkAny(t, rapid.SliceOf(rapid.Byte()).Draw(t, "src")) })
	})
	t.Run("pieces", func(t *testing.T) {
		piece := rapid.SampledFrom([]string{"project", "services", "rollout", "environments", "traffic", "match", "header", "is", "rates", "sticky", "tls", "data_plane", "run", "steps", "in", "needs", ": ", ":\n", "\n", "\n  ", "\n    ", "- ", "[", "]", "{", "}", ", ", "&a ", "*a", "<<: ", "!!str ", "'", `"`, "|\n", ">-\n", "5", "5%", "1m", "true", "~", "# c\n", "---\n", "? ", "\t", "shop", "prod", "\r\n", "é", "%"})
		rapid.Check(t, func(t *rapid.T) {
			checkAny(t, []byte(strings.Join(rapid.SliceOfN(piece, 0, 60).Draw(t, "pieces"), "")))
		})
	})
	t.Run("damaged", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			src := []byte(rapid.SampledFrom(seeds).Draw(t, "seed"))
			for range rapid.IntRange(1, 4).Draw(t, "cuts") {
				from := rapid.IntRange(0, len(src)).Draw(t, "from")
				to := min(len(src), from+rapid.IntRange(0, 12).Draw(t, "length"))
				put := rapid.SampledFrom([]string{"", "x", "\n", ":", "[", "}", "&a", "*a", "5", "-", "'", " "}).Draw(t, "put")
				src = slices.Concat(src[:from], []byte(put), src[to:])
			}
			checkAny(t, src)
		})
	})
}

func FuzzParse(f *testing.F) {
	for _, src := range []string{"", "project: shop\nservices: {cart: {run: x}}", "a: &a {b: *a}", "? - - {\n", "services:\n  x: {<<: [*a], in: {prod: {rollout: {steps: [5%, 100]}}}}"} {
		f.Add([]byte(src))
	}
	f.Fuzz(func(t *testing.T, src []byte) { checkAny(t, src) })
}

// Words that are quoted and split come back as they were.
func TestQuoteAndSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(rapid.String(), 1, 6).Draw(t, "words")
		got, why, _ := split(quote(words))
		if assignment.MatchString(words[0]) {
			return
		}
		if why != "" || !slices.Equal(got, words) {
			t.Fatalf("split(%q) = %q, %q; want %q", quote(words), got, why, words)
		}
	})
}
