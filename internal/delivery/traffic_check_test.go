package delivery_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// wrong is a value with one thing wrong with it, and what is said of it.
type wrong[T any] struct {
	name  string
	value T
	field string // below "x"
	why   string // part of it
}

func checkAll[T interface{ Check(string) error }](t *testing.T, all []wrong[T]) {
	t.Helper()
	for _, c := range all {
		err := c.value.Check("x")
		if c.field == "" && c.why == "" {
			if err != nil {
				t.Errorf("%s: Check() = %v, want nil", c.name, err)
			}
			continue
		}
		f, ok := errors.AsType[*delivery.FieldError](err)
		if !ok || f.Field != "x"+c.field || !strings.Contains(f.Why, c.why) || f.Next == "" {
			t.Errorf("%s: Check() = %v, want x%s: …%s…", c.name, err, c.field, c.why)
		}
	}
}

func TestTrafficCheck(t *testing.T) {
	rate := func(r delivery.Rate) delivery.Traffic {
		return delivery.Traffic{Rates: []delivery.Rate{{Per: "ip", Rate: 1}, r}}
	}
	on := func(c delivery.Condition) delivery.Traffic { return delivery.Traffic{Match: []delivery.Condition{c}} }
	checkAll(t, []wrong[delivery.Traffic]{
		{name: "zero"},
		{name: "all of it", value: delivery.Traffic{
			Match: []delivery.Condition{
				{On: "method", Is: []string{"GET", "M-SEARCH"}},
				{On: "header", Name: "X-Tenant", Pattern: "a|b"},
				{On: "cookie", Name: "plan", Prefix: "pro"},
				{On: "query", Name: "ä ö"},
				{On: "baggage", Name: "tenant", Not: true},
			},
			Timeout: time.Minute, PerTry: time.Minute, Retries: delivery.Retries{Attempts: 10, Budget: delivery.Full},
			Sticky: delivery.Sticky{By: "header", Name: "X-User"}, Limits: delivery.TrafficLimits{InFlight: 1, Queue: 1, Wait: time.Second},
			Rates:    []delivery.Rate{{Per: "route", Rate: 0.001}, {Per: "key", Rate: 1e6, Burst: 1e6}, {Per: "header", Name: "Authorization", Rate: 2.5}},
			Ejection: delivery.Ejection{After: -1, First: time.Second, Longest: time.Second, Most: delivery.Full}, SlowStart: time.Minute,
			Hold: delivery.Holding{For: time.Second, Max: 1}, Idle: time.Hour,
		}},
		{"condition on nothing", on(delivery.Condition{Name: "a"}), ".match[0].on", "is missing"},
		{"condition on a thing unknown", on(delivery.Condition{On: "host", Name: "a"}), ".match[0].on", `"host" is not known`},
		{"method with a name", on(delivery.Condition{On: "method", Name: "GET"}), ".match[0].name", "takes no name"},
		{"method without a value", on(delivery.Condition{On: "method"}), ".match[0]", "asks for no method"},
		{"method in lower case", on(delivery.Condition{On: "method", Is: []string{"GET", "post"}}), ".match[0].is[1]", "upper case"},
		{"header without a name", on(delivery.Condition{On: "header"}), ".match[0].name", "is missing"},
		{"header with a colon", on(delivery.Condition{On: "header", Name: "a:"}), ".match[0].name", "not a name"},
		{"cookie with a space", on(delivery.Condition{On: "cookie", Name: "a b"}), ".match[0].name", "not a name"},
		{"query without a name", on(delivery.Condition{On: "query"}), ".match[0].name", "no query parameter"},
		{"two values", on(delivery.Condition{On: "header", Name: "a", Prefix: "b", Pattern: "c"}), ".match[0]", "more than one"},
		{"three values", on(delivery.Condition{On: "header", Name: "a", Is: []string{"x"}, Prefix: "b", Pattern: "c"}), ".match[0]", "more than one"},
		{"pattern that does not compile", on(delivery.Condition{On: "header", Name: "a", Pattern: "(?=a)"}), ".match[0].pattern", "invalid or unsupported"},
		{"pattern without end", on(delivery.Condition{On: "header", Name: "a", Pattern: strings.Repeat("a", 1001)}), ".match[0].pattern", "longer than"},
		{"too many conditions", delivery.Traffic{Match: make([]delivery.Condition, 33)}, ".match", "from 0 to 32"},
		{"timeout below zero", delivery.Traffic{Timeout: -1}, ".timeout", "must be from 1ms to 24h0m0s, is -1ns"},
		{"timeout without end", delivery.Traffic{Timeout: 25 * time.Hour}, ".timeout", "must be from"},
		{"per try below zero", delivery.Traffic{PerTry: -time.Second}, ".per_try", "must be from"},
		{"per try above the timeout", delivery.Traffic{Timeout: time.Second, PerTry: 2 * time.Second}, ".per_try", "longer than the 1s"},
		{"per try above the default timeout", delivery.Traffic{PerTry: 2 * time.Minute}, ".per_try", "longer than the 1m0s"},
		{"attempts", delivery.Traffic{Retries: delivery.Retries{Attempts: 11}}, ".retries.attempts", "from 0 to 10, is 11"},
		{"budget", delivery.Traffic{Retries: delivery.Retries{Budget: delivery.Full + 1}}, ".retries.budget", "from 0 % to 100 %"},
		{"sticky by a thing unknown", delivery.Traffic{Sticky: delivery.Sticky{By: "user"}}, ".sticky.by", `"user" is not known`},
		{"sticky by header without a name", delivery.Traffic{Sticky: delivery.Sticky{By: "header"}}, ".sticky.name", "is missing"},
		{"sticky by cookie with a bad name", delivery.Traffic{Sticky: delivery.Sticky{By: "cookie", Name: "a;b"}}, ".sticky.name", "not a name"},
		{"sticky by address with a name", delivery.Traffic{Sticky: delivery.Sticky{By: "ip", Name: "a"}}, ".sticky.name", "takes no name"},
		{"sticky name alone", delivery.Traffic{Sticky: delivery.Sticky{Name: "a"}}, ".sticky.by", "is missing"},
		{"in flight below zero", delivery.Traffic{Limits: delivery.TrafficLimits{InFlight: -1}}, ".limits.in_flight", "from 0"},
		{"queue too long", delivery.Traffic{Limits: delivery.TrafficLimits{InFlight: 1, Queue: 100_001}}, ".limits.queue", "from 0 to 100000"},
		{"queue without a bound", delivery.Traffic{Limits: delivery.TrafficLimits{Queue: 1}}, ".limits.queue", "without in_flight"},
		{"wait without a queue", delivery.Traffic{Limits: delivery.TrafficLimits{InFlight: 1, Wait: time.Second}}, ".limits.wait", "without queue"},
		{"wait without end", delivery.Traffic{Limits: delivery.TrafficLimits{InFlight: 1, Queue: 1, Wait: time.Hour}}, ".limits.wait", "must be from"},
		{"rate per nothing", rate(delivery.Rate{Rate: 1}), ".rates[1].per", "is missing"},
		{"rate per a thing unknown", rate(delivery.Rate{Per: "user", Rate: 1}), ".rates[1].per", "not known"},
		{"rate per header without a name", rate(delivery.Rate{Per: "header", Rate: 1}), ".rates[1].name", "is missing"},
		{"rate per route with a name", rate(delivery.Rate{Per: "route", Name: "a", Rate: 1}), ".rates[1].name", "takes no name"},
		{"rate of nothing", rate(delivery.Rate{Per: "ip"}), ".rates[1].rate", "must be from 0.001 to 1000000"},
		{"rate below zero", rate(delivery.Rate{Per: "ip", Rate: -1}), ".rates[1].rate", "must be from"},
		{"rate that is no number", rate(delivery.Rate{Per: "ip", Rate: math.NaN()}), ".rates[1].rate", "must be from"},
		{"rate without end", rate(delivery.Rate{Per: "ip", Rate: math.Inf(1)}), ".rates[1].rate", "must be from"},
		{"burst below zero", rate(delivery.Rate{Per: "ip", Rate: 1, Burst: -1}), ".rates[1].burst", "from 0"},
		{"too many rates", delivery.Traffic{Rates: make([]delivery.Rate, 17)}, ".rates", "from 0 to 16"},
		{"ejection after", delivery.Traffic{Ejection: delivery.Ejection{After: -2}}, ".ejection.after", "from -1 to 1000"},
		{"ejection first", delivery.Traffic{Ejection: delivery.Ejection{First: -1}}, ".ejection.first", "must be from"},
		{"ejection longest below first", delivery.Traffic{Ejection: delivery.Ejection{First: 2, Longest: 1}}, ".ejection.first", "must be from"},
		{"ejection first above longest", delivery.Traffic{Ejection: delivery.Ejection{First: time.Minute, Longest: time.Second}}, ".ejection.first", "longer than the longest"},
		{"ejection most", delivery.Traffic{Ejection: delivery.Ejection{Most: -1}}, ".ejection.most", "from 0 %"},
		{"slow start", delivery.Traffic{SlowStart: 2 * time.Hour}, ".slow_start", "must be from"},
		{"hold for", delivery.Traffic{Hold: delivery.Holding{For: time.Hour}}, ".hold.for", "must be from"},
		{"hold below zero", delivery.Traffic{Hold: delivery.Holding{For: time.Second, Max: -1}}, ".hold.max", "from 0"},
		{"hold max alone", delivery.Traffic{Hold: delivery.Holding{Max: 1}}, ".hold.max", "without for"},
		{"error field with an end", delivery.Traffic{ErrorField: "status."}, ".error_field", "no letters"},
		{"error field too long", delivery.Traffic{ErrorField: strings.Repeat("x", 201)}, ".error_field", "longer than"},
		{"error field too deep", delivery.Traffic{ErrorField: "a.b.c.d.e.f.g.h.i"}, ".error_field", "longer than"},
		{"error field of bytes", delivery.Traffic{ErrorField: "a\xff"}, ".error_field", "no UTF-8"},
		{"idle", delivery.Traffic{Idle: -time.Hour}, ".stream_idle", "must be from"},
	})
}

func TestTargetAndMirrorCheck(t *testing.T) {
	when := []delivery.Condition{{On: "cookie", Name: "tester"}}
	checkAll(t, []wrong[delivery.Target]{
		{name: "fine", value: delivery.Target{Name: "testers", When: when, To: "candidate"}},
		{"without a name", delivery.Target{When: when, To: "v2"}, ".name", "is missing"},
		{"name that would end its own bracket", delivery.Target{Name: "a)", When: when, To: "v2"}, ".name", "not a name"},
		{"without an aim", delivery.Target{Name: "a", When: when}, ".to", "names no release"},
		{"without a condition", delivery.Target{Name: "a", To: "v2"}, ".when", "every request"},
		{"bad condition", delivery.Target{Name: "a", To: "v2", When: []delivery.Condition{{On: "header"}}}, ".when[0].name", "is missing"},
	})
	two := []delivery.Target{{Name: "a", When: when, To: "v2"}, {Name: "a", When: when, To: "v3"}}
	if err := delivery.CheckTargets("x", two); err == nil || !strings.HasPrefix(err.Error(), "x[1].name: ") {
		t.Errorf("CheckTargets(two of one name) = %v", err)
	}
	if err := delivery.CheckTargets("x", two[:1]); err != nil {
		t.Errorf("CheckTargets() = %v", err)
	}
	checkAll(t, []wrong[delivery.Mirror]{
		{name: "fine", value: delivery.Mirror{To: "candidate", Share: 1, MaxBody: 1 << 20}},
		{"without an aim", delivery.Mirror{Share: 1}, ".to", "names no release"},
		{"of nothing", delivery.Mirror{To: "v2"}, ".share", "from 0.01 % to 100 %"},
		{"of more than all", delivery.Mirror{To: "v2", Share: delivery.Full + 1}, ".share", "from 0.01 % to 100 %"},
		{"body below zero", delivery.Mirror{To: "v2", Share: 1, MaxBody: -1}, ".max_body", "must be from"},
		{"body without end", delivery.Mirror{To: "v2", Share: 1, MaxBody: 1 << 40}, ".max_body", "must be from"},
	})
}

func TestTLSCheck(t *testing.T) {
	acme := func(a delivery.ACME) delivery.TLS { return delivery.TLS{ACME: &a} }
	checkAll(t, []wrong[delivery.TLS]{
		{name: "files", value: delivery.TLS{Cert: "a", Key: "b"}},
		{name: "acme", value: acme(delivery.ACME{Domains: []string{"localhost", "a-1.example.org"}, Email: "a@example.org", Directory: "https://127.0.0.1:14000/dir"})},
		{"nothing", delivery.TLS{}, "", "neither"},
		{"both", delivery.TLS{Cert: "a", Key: "b", ACME: &delivery.ACME{Domains: []string{"a"}}}, "", "both"},
		{"no key", delivery.TLS{Cert: "a"}, ".key", "is missing"},
		{"no certificate", delivery.TLS{Key: "a"}, ".cert", "is missing"},
		{"no domain", acme(delivery.ACME{}), ".acme.domains", "names no domain"},
		{"wildcard", acme(delivery.ACME{Domains: []string{"a.org", "*.a.org"}}), ".acme.domains[1]", "wildcard"},
		{"upper case", acme(delivery.ACME{Domains: []string{"A.org"}}), ".acme.domains[0]", "lower-case"},
		{"with a port", acme(delivery.ACME{Domains: []string{"a.org:443"}}), ".acme.domains[0]", "lower-case"},
		{"empty domain", acme(delivery.ACME{Domains: []string{""}}), ".acme.domains[0]", "lower-case"},
		{"email", acme(delivery.ACME{Domains: []string{"a.org"}, Email: "me@"}), ".acme.email", "not an address"},
		{"directory without tls", acme(delivery.ACME{Domains: []string{"a.org"}, Directory: "http://a.org"}), ".acme.directory", "https://"},
	})
}

func TestDataPlaneCheck(t *testing.T) {
	limits := func(l delivery.PlaneLimits) delivery.DataPlane { return delivery.DataPlane{Limits: l} }
	checkAll(t, []wrong[delivery.DataPlane]{
		{name: "zero"},
		{name: "all of it", value: delivery.DataPlane{
			AccessLog: "sampled", LogShare: delivery.Full, OTLP: "http://127.0.0.1:4318", OTLPShare: delivery.Full,
			Trusted: []string{"10.0.0.0/8", "127.0.0.1/32", "fd00::/8"}, FullOnly: true,
			Limits: delivery.PlaneLimits{Connections: 1, InFlight: 1, HeadBytes: 1024, HeadTime: time.Second, Idle: time.Second, Streams: time.Second},
		}},
		{"log", delivery.DataPlane{AccessLog: "json"}, ".access_log", "not known"},
		{"log share", delivery.DataPlane{LogShare: -1}, ".log_share", "from 0 %"},
		{"otlp", delivery.DataPlane{OTLP: "127.0.0.1:4318"}, ".otlp", "http:// or https://"},
		{"otlp without a host", delivery.DataPlane{OTLP: "http://"}, ".otlp", "not a URL"},
		{"otlp share", delivery.DataPlane{OTLPShare: delivery.Full + 1}, ".otlp_share", "from 0 %"},
		{"not a range", delivery.DataPlane{Trusted: []string{"10.0.0.0/8", "10.0.0.0/33"}}, ".trusted[1]", "not an address range"},
		{"an address", delivery.DataPlane{Trusted: []string{"::1"}}, ".trusted[0]", "not a range"},
		{"bits beyond", delivery.DataPlane{Trusted: []string{"10.0.0.1/8"}}, ".trusted[0]", "bits set"},
		{"connections", limits(delivery.PlaneLimits{Connections: -1}), ".limits.connections", "from 0"},
		{"in flight", limits(delivery.PlaneLimits{InFlight: 2_000_000}), ".limits.in_flight", "from 0"},
		{"head too small", limits(delivery.PlaneLimits{HeadBytes: 100}), ".limits.head_bytes", "from 1024"},
		{"head time", limits(delivery.PlaneLimits{HeadTime: -1}), ".limits.head_time", "must be from"},
		{"idle", limits(delivery.PlaneLimits{Idle: -1}), ".limits.idle", "must be from"},
		{"streams", limits(delivery.PlaneLimits{Streams: 48 * time.Hour}), ".limits.streams", "must be from"},
	})
}

// Whatever the words are, what is refused is below the field asked about, and
// what is not refused lies within the bounds that the data plane's sums rely on.
func TestTrafficCheckBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := delivery.Traffic{Rates: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) delivery.Rate {
			return delivery.Rate{Per: delivery.PerIP, Rate: rapid.Float64().Draw(t, "rate"), Burst: rapid.Int().Draw(t, "burst")}
		}), 1, 2).Draw(t, "rates")}
		if rapid.Bool().Draw(t, "anything") {
			words = rapid.Make[delivery.Traffic]().Draw(t, "traffic")
		}
		if err := words.Check("services.a.traffic"); err != nil {
			f, ok := errors.AsType[*delivery.FieldError](err)
			if !ok || !strings.HasPrefix(f.Field, "services.a.traffic.") || f.Why == "" {
				t.Fatalf("Check() = %#v, want a field below and a reason", err)
			}
			return
		}
		for _, r := range words.Rates {
			if filled := float64(r.Burst) / r.Rate * 1e9; !(r.Rate > 0) || filled > math.MaxInt64/4 {
				t.Fatalf("%+v passed: it would take %g ns to fill", r, filled)
			}
		}
	})
}
