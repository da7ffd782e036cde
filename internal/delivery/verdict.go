package delivery

import "time"

// Outcome is what a judge or a gate says. Five different things; only Pass promotes.
type Outcome string

// The outcomes.
const (
	Pass         Outcome = "pass"
	Fail         Outcome = "fail"
	Inconclusive Outcome = "inconclusive" // data, but not enough to tell
	Broken       Outcome = "error"        // the input cannot be judged
	NoData       Outcome = "no data"
)

// Verdict is the judge's word on a release, with its numbers.
type Verdict struct {
	Outcome  Outcome   `json:"outcome"`
	Sentence string    `json:"sentence"`
	Checks   []Check   `json:"checks"`
	Evidence float64   `json:"evidence"` // against the release; fail at or above Limit
	Limit    float64   `json:"limit"`    // 1/alpha
	Seconds  int       `json:"seconds"`  // blocks judged
	LeftOut  int       `json:"left_out"` // blocks not judged (propagation, no pair)
	Why      string    `json:"why_left_out,omitempty"`
	At       time.Time `json:"at"`

	Incident string `json:"incident,omitempty"` // the service as a whole is in trouble, whichever release answers; nothing moves on
	Invalid  string `json:"invalid,omitempty"`  // why the two releases cannot be compared
}

// Check is one metric's part of a verdict. Stable and Canary are shares from 0
// to 1 for rates and seconds for latencies.
type Check struct {
	Name      string  `json:"name"`   // "errors", "p95"
	Metric    string  `json:"metric"` // "error rate", "latency"
	Unit      string  `json:"unit"`   // "share", "s"
	Outcome   Outcome `json:"outcome"`
	Stable    float64 `json:"stable"`
	Canary    float64 `json:"canary"`
	Low       float64 `json:"low"`  // interval of canary minus stable, always valid
	High      float64 `json:"high"` //
	NStable   uint64  `json:"n_stable"`
	NCanary   uint64  `json:"n_canary"`
	Bad       uint64  `json:"bad_canary"` // units of the canary that failed or exceeded
	BadStable uint64  `json:"bad_stable"`
	Against   float64 `json:"evidence_against"` // e-value of the rollback test
	For       float64 `json:"evidence_for"`     // e-value of the promotion test
	FailAt    float64 `json:"fail_at"`
	PassAt    float64 `json:"pass_at"`
	PValue    float64 `json:"p_value"` // always valid, 1/max(Against)
	Sentence  string  `json:"sentence"`

	Words *CheckWords `json:"words,omitempty" doc:"the sentence in parts, where two values are compared"`

	Kind    MetricKind `json:"kind,omitempty"`
	Role    Role       `json:"role,omitempty"`
	Missing string     `json:"missing,omitempty"` // why it has no data, or which of it were left out
	Culprit bool       `json:"culprit,omitempty"` // named at the level alpha, however many checks there are (e-Holm)
	Approx  bool       `json:"approx,omitempty"`  // from sums that others made: evidence is tempered, not exact
}

// ApartUnknown is what CheckWords.Apart says while the judge cannot tell how far apart
// two values are.
const ApartUnknown = "difference not known yet"

// CheckWords is what a check's sentence says of two values, in parts.
type CheckWords struct {
	Canary  string `json:"canary"`            // "6.1 %"
	Stable  string `json:"stable"`            // "0.4 %"
	Apart   string `json:"apart,omitempty"`   // "worse by 4.9 to 6.4 points (99 %)"; "" where no interval is kept
	Counts  string `json:"counts"`            // what they are taken from: "41 of 673 against 8 of 2,000"
	Allowed string `json:"allowed,omitempty"` // the rollback margin: "20 % more"
}
