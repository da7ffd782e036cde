package manifest

import (
	"fmt"
	"regexp"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

var validMetric = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)

// maxMetrics bounds what one release is judged by: each is asked for and tested
// every second, and shares the chance of a false alarm with the others.
const maxMetrics = 100

// maxCold bounds how long a new instance may be slow: a cache that is not warm
// by then is a matter for the release.
const maxCold = time.Hour

// maxPatience bounds how long a broken promise is watched before it is an incident.
const maxPatience = 10 * time.Minute

// judge checks the bounds of what is tolerated.
func (d *decoder) judge(at string, j *judgeDoc) {
	if j == nil {
		return
	}
	d.share(at+".alpha", j.Alpha)
	d.share(at+".beta", j.Beta)
	d.oneOf(at+".only", j.Only, string(delivery.FamilyErrors), string(delivery.FamilyLatency))
	d.share(at+".error_add", j.ErrorAdd)
	d.share(at+".promote_error_add", j.PromoteErrorAdd)
	d.ratio(at+".error_ratio", j.ErrorRatio, 1, "1.2 tolerates a fifth more errors")
	d.ratio(at+".promote_error_ratio", j.PromoteErrorRatio, 1, "2 promotes below twice the errors")
	d.ratio(at+".latency_ratio", j.LatencyRatio, 0, "0.05 tolerates 5 % slower")
	d.ratio(at+".promote_latency", j.PromoteLatency, 0, "0.25 promotes below 25 % slower")
	d.ordered(at+".promote_error_ratio", j.ErrorRatio, j.PromoteErrorRatio)
	d.ordered(at+".promote_error_add", j.ErrorAdd, j.PromoteErrorAdd)
	d.ordered(at+".promote_latency", j.LatencyRatio, j.PromoteLatency)
	d.between(at+".at_least", j.AtLeast, 1, maxUnits)
	d.above(at+".cold", j.Cold, "say 1s to wait for no cache")
	if j.Cold != nil && time.Duration(*j.Cold) > maxCold {
		d.wrong(at+".cold", fmt.Sprintf("must be at most %s, is %s", delivery.Lasting(maxCold), delivery.Lasting(time.Duration(*j.Cold))), "say "+delivery.Lasting(maxCold))
	}
	d.slo(at+".slo", j.SLO)
	if n := len(j.Metrics.names); n > maxMetrics {
		d.wrong(at+".metrics", fmt.Sprintf("there are %d metrics; %d are allowed", n, maxMetrics), "keep those that a release would go back for")
		return
	}
	for _, name := range j.Metrics.names {
		d.metric(at+".metrics."+name, name, j.Metrics.of[name])
	}
}

// maxUnits bounds how much exposure may be asked for.
const maxUnits = 1_000_000_000

func (d *decoder) slo(at string, s *sloDoc) {
	if s == nil {
		return
	}
	d.share(at+".errors", s.Errors)
	d.share(at+".within", s.Within)
	d.above(at+".latency", s.Latency, "say 500ms, or remove it")
	if p := s.Patience; p != nil && (time.Duration(*p) < time.Second || time.Duration(*p) > maxPatience) {
		d.wrong(at+".patience", fmt.Sprintf("must be from 1s to %s, is %s", delivery.Lasting(maxPatience), delivery.Lasting(time.Duration(*p))), "say 10s")
	}
	if s.Errors == nil && s.Latency == nil && s.Patience == nil && s.Within == nil && !d.broken(at) {
		d.wrong(at, "promises nothing", "say errors: 0.01, latency: 500ms, or both")
	}
	if s.Within != nil && s.Latency == nil {
		d.wrong(at+".within", "is said without latency", "say latency: 500ms too, or remove it")
	}
}

// metric checks the words of one metric in one place; what they come to is
// known once the layers are merged.
func (d *decoder) metric(at, name string, m *metricDoc) {
	if why, next := metricName(name); why != "" {
		d.add(d.keys[at], at, why, next)
		d.bad[at] = true
		return
	}
	if d.bad[at] {
		return
	}
	d.oneOf(at+".kind", m.Kind, string(delivery.KindShare), string(delivery.KindCount), string(delivery.KindLatency), string(delivery.KindMean), string(delivery.KindLevel))
	d.oneOf(at+".from", m.From, string(delivery.FromService), string(delivery.FromPrometheus), string(delivery.FromWorkload), string(delivery.FromLogs), string(delivery.FromTraffic))
	d.oneOf(at+".better", m.Better, string(delivery.Lower), string(delivery.Higher))
	d.oneOf(at+".role", m.Role, string(delivery.Required), string(delivery.Guard), string(delivery.Watch))
	d.oneOf(at+".no_data", m.NoData, string(delivery.Wait), string(delivery.Refuse))
	d.ratio(at+".ratio", m.Ratio, 1, "1.2 tolerates a fifth more")
	d.ratio(at+".promote_ratio", m.PromoteRatio, 1, "2 is proven below twice as much")
	d.notNegative(at+".add", m.Add)
	d.notNegative(at+".promote_add", m.PromoteAdd)
	if m.Quantile != nil && (*m.Quantile <= 0 || *m.Quantile >= 1) {
		d.wrong(at+".quantile", fmt.Sprintf("must be between 0 and 1, is %v", *m.Quantile), "0.95 is what 95 of 100 stay within")
	}
	d.between(at+".at_least", m.AtLeast, 1, maxUnits)
	d.above(at+".every", m.Every, "say 15s")
	d.filled(at+".value", m.Value, "say which series, such as checkout_failures_total")
	d.filled(at+".per", m.Per, "say which series, such as checkouts_total")
}

func (d *decoder) notNegative(path string, f *float64) {
	if f != nil && *f < 0 {
		d.wrong(path, fmt.Sprintf("must not be below zero, is %v", *f), "say how much above stable is tolerated; for a metric that is good when high, better: higher")
	}
}
