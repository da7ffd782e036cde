package delivery

import "time"

// MetricKind says what a metric's numbers are, and so how they are judged.
type MetricKind string

// The kinds of metrics.
const (
	KindShare   MetricKind = "share"   // so many of so many, from 0 to 1: failed checkouts of all checkouts
	KindCount   MetricKind = "count"   // events by exposure: crashes an instance-second, error lines a request
	KindLatency MetricKind = "latency" // a distribution of times
	KindMean    MetricKind = "mean"    // one value a unit, of unknown variance: the worth of a basket
	KindLevel   MetricKind = "level"   // one value an instance at a time: memory. Judged beside a fresh twin only
)

// Better is the direction in which a metric is good.
type Better string

// The directions. Empty is Lower.
const (
	Lower  Better = "lower"
	Higher Better = "higher" // of a mean or a level; a share of successes is asked for as a share of failures
)

// Role is what a metric may do in a rollout.
type Role string

// The roles. Empty is Guard.
const (
	Required Role = "required" // may fail a rollout, and must be proven fit before it goes on
	Guard    Role = "guard"    // may fail a rollout, and is not waited for
	Watch    Role = "watch"    // shown beside the verdict, and decides nothing
)

// Absence is what a metric without data means. Nothing ever means a pass.
type Absence string

// The meanings of no data. Empty is Wait.
const (
	Wait   Absence = "wait"   // a required metric keeps the rollout where it is; a guard is told as missing
	Refuse Absence = "refuse" // the verdict is an error, and the rollout pauses, once there was none for a minute
)

// MetricSource names who has the numbers.
type MetricSource string

// The sources of numbers.
const (
	FromTraffic    MetricSource = "traffic"    // the data plane's own counts
	FromWorkload   MetricSource = "workload"   // what the runner of instances sees: restarts, cpu, memory
	FromService    MetricSource = "service"    // the service's own: scraped from its metrics path, or sent by OTLP
	FromLogs       MetricSource = "logs"       // lines that instances write
	FromPrometheus MetricSource = "prometheus" // a server that answers PromQL
)

// Metric is one number that a release is judged by, beside the errors and
// latency of its own requests. A canary is acceptable while it is at most Ratio
// times stable or at most Add above it, and proven fit once it is shown to be
// below PromoteRatio times stable plus PromoteAdd. Zero fields take the defaults
// of package analysis.
type Metric struct {
	Name   string       `json:"name"`
	Off    bool         `json:"off,omitempty"` // it is not judged by: switches a built-in one off
	Kind   MetricKind   `json:"kind"`
	From   MetricSource `json:"from"`
	Unit   string       `json:"unit,omitempty"`   // for people: "share", "s", "bytes", "1/s", "EUR"
	Better Better       `json:"better,omitempty"` // which way is good
	Role   Role         `json:"role,omitempty"`
	NoData Absence      `json:"no_data,omitempty"`

	// Value selects the numbers: a series with labels, as in
	// requests_total{code=~"5.."}, or for FromPrometheus a whole expression, in
	// which $service, $env, $release, $version and $step are replaced. Of a share
	// it is the bad ones, of a count the events, of a latency the histogram.
	Value string `json:"value,omitempty"`
	// Per selects what Value is measured by: of a share all events, of a count the
	// exposure, of a mean how many units there were. For a count "seconds" means
	// instance-seconds and "requests" what the data plane carried.
	Per string `json:"per,omitempty"`

	Ratio        float64 `json:"ratio,omitempty"`         // rollback margin, 1 or more
	Add          float64 `json:"add,omitempty"`           // in Unit
	PromoteRatio float64 `json:"promote_ratio,omitempty"` // promotion margin, above Ratio
	PromoteAdd   float64 `json:"promote_add,omitempty"`   // in Unit, above Add

	Quantile float64       `json:"quantile,omitempty"` // of a latency, that promotion asks for; above 0 and below 1; 0 is 0.95
	AtLeast  uint64        `json:"at_least,omitempty"` // units or events of the canary before it counts as proven
	Low      *float64      `json:"low,omitempty"`      // bounds of one value of a mean, if it has any: it is then judged without assumptions
	High     *float64      `json:"high,omitempty"`     //
	Every    time.Duration `json:"every,omitempty"`    // how often FromPrometheus is asked; 0 is 15 s
	Builtin  bool          `json:"builtin,omitempty"`  // judged though nobody asked for it
	Callers  []string      `json:"callers,omitempty"`  // of the built-in "callers" metrics: whose requests are counted
}

// SLO is what a service promises as a whole, whichever release answers. While
// it is broken by both releases alike, there is an incident, and no change is
// judged: its rollout stands still. Zero fields promise nothing.
type SLO struct {
	Errors   float64       `json:"errors,omitempty"`   // share of requests that may fail
	Latency  time.Duration `json:"latency,omitempty"`  // that the share Within takes at most
	Within   float64       `json:"within,omitempty"`   // 0 is 0.99
	Patience time.Duration `json:"patience,omitempty"` // how long it must be broken; 0 is 10 s
}
