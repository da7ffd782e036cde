package sim

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
)

// Truth is what is right to say about the new release of a scenario.
type Truth string

// The truths.
const (
	Fit      Truth = "fit"      // as good as stable: may be promoted, must not be rolled back
	Margin   Truth = "margin"   // worse, within what the policy tolerates: must not be rolled back
	Between  Truth = "between"  // worse than tolerated and not yet unacceptable: nothing is wrong
	Bound    Truth = "bound"    // just unacceptable: must not be promoted
	Unfit    Truth = "unfit"    // unacceptable: must not be promoted, shall be found
	Unlike   Truth = "unlike"   // the arms cannot be compared: neither, and it must be said
	Unknowns Truth = "unknowns" // the arms differ in a way that no count shows; printed, never gated
)

// Scenario is one world in which a release is rolled out, as data. Its traffic
// depends on it, the repetition and the weights alone.
type Scenario struct {
	Name    string `json:"name"`
	Table   string `json:"table"` // in which it is printed
	About   string `json:"about,omitempty"`
	Truth   Truth  `json:"truth"`
	Horizon int    `json:"horizon"` // seconds; who has not decided by then holds
	Reps    int    `json:"reps"`    // of the full run
	Quick   int    `json:"quick"`   // of make test

	Median float64 `json:"median,omitempty"` // seconds in which a right decision is wanted; 0 wants none
	Goal   float64 `json:"goal,omitempty"`   // in which it was wanted, where that is less than is kept
	Strict float64 `json:"strict,omitempty"` // likewise without margins
	Says   string  `json:"says,omitempty"`   // what the judge's sentence has to hold in the end

	RPS    Curve    `json:"rps"`
	Steps  []Step   `json:"steps,omitempty"` // of the weight; without any, each contestant follows its own
	Before int      `json:"before,omitempty"`
	Errors Curve    `json:"errors"`          // stable's share
	Noise  float64  `json:"noise,omitempty"` // sigma by which each second multiplies the errors of both
	Effect Effect   `json:"effect,omitzero"`
	Times  *Latency `json:"latency,omitempty"` // nil counts errors only
	Pace   *Curve   `json:"pace,omitempty"`    // multiplies the times of both
	Slow   Slow     `json:"slow,omitzero"`

	Keys    *Keys     `json:"keys,omitempty"` // sticky callers; nil is independent requests
	Pods    *Pods     `json:"pods,omitempty"`
	Cold    *Cold     `json:"cold,omitempty"`
	Router  Router    `json:"router,omitzero"`
	Sensor  Sensor    `json:"telemetry,omitzero"`
	Metrics []Metrics `json:"metrics,omitempty"`

	Contestants []string `json:"contestants,omitempty"` // instead of the table's
}

// Step is one weight of the new release.
type Step struct {
	Weight float64 `json:"weight"`           // from 0 to 1
	Hold   int     `json:"hold"`             // least seconds
	Proven bool    `json:"proven,omitempty"` // left only when the contestant says Promote
}

// Effect is what a new release does to the share of errors: p becomes
// p*Ratio + Add, within the seconds From to Until and for Share of the requests.
type Effect struct {
	Ratio float64 `json:"ratio,omitempty"`
	Add   float64 `json:"add,omitempty"`
	From  int     `json:"from,omitempty"`
	Until int     `json:"until,omitempty"` // 0 is the end
	Share float64 `json:"share,omitempty"` // one route of several; 0 is all
	Every int     `json:"every,omitempty"` // only in the first For seconds of every Every
	For   int     `json:"for,omitempty"`
	Load  float64 `json:"load,omitempty"` // only while its weight is at least this
}

// on returns the new release's share of errors.
func (e Effect) on(p float64, second int, weight float64) float64 {
	off := weight < e.Load || second < e.From || e.Until > 0 && second >= e.Until || e.Every > 0 && (second-e.From)%e.Every >= e.For
	if off {
		return p
	}
	worse := p
	if e.Ratio > 0 {
		worse *= e.Ratio
	}
	worse = min(worse+e.Add, 1)
	if e.Share > 0 {
		return p + e.Share*(worse-p)
	}
	return worse
}

// Keys is a population of callers, each of which stays with one release.
type Keys struct {
	Count  int     `json:"count"`
	Skew   float64 `json:"skew,omitempty"`   // shape of the Pareto distribution of how busy they are; 0 is all alike
	New    float64 `json:"new,omitempty"`    // share of requests from callers seen for the first time, for whom a key is made
	Differ float64 `json:"differ,omitempty"` // sigma of their own error rates, lognormal around the scenario's
	Slow   float64 `json:"slow,omitempty"`   // sigma of their own pace, lognormal around 1
	More   float64 `json:"more,omitempty"`   // mean number of further failures after one: a retry a second
	Bots   []Bot   `json:"bots,omitempty"`
	Sticky bool    `json:"-"`
}

// Bot is one caller that is unlike the others.
type Bot struct {
	RPS    float64 `json:"rps"`
	Fails  float64 `json:"fails"`           // share of its requests
	From   int     `json:"from,omitempty"`  // second at which it turns so
	Canary bool    `json:"canary"`          // it happens to be with the new release
	Slow   float64 `json:"slow,omitempty"`  // factor of its times
	Count  int     `json:"count,omitempty"` // of such; 0 is one
}

// Pods is instances that fail on their own, of either release alike.
type Pods struct {
	Stable int     `json:"stable"`
	Canary int     `json:"canary"`
	Every  float64 `json:"every"` // mean seconds between incidents of one
	For    float64 `json:"for"`   // mean seconds of an incident
	Errors float64 `json:"errors"`
}

// Cold is that instances of the new release are slow and fail more when they are new.
type Cold struct {
	For    int     `json:"for"`              // seconds after each step, when instances are added
	Once   bool    `json:"once,omitempty"`   // after the first step only
	Pace   float64 `json:"pace"`             // factor of times, falling to 1
	Add    float64 `json:"add,omitempty"`    // errors, falling to 0
	Hidden bool    `json:"hidden,omitempty"` // the judge is not told that an instance is new
}

// Router is what the one who splits the traffic does other than asked.
type Router struct {
	Lag   int     `json:"lag,omitempty"`   // seconds from a new weight being acknowledged to it being in force
	Skew  float64 `json:"skew,omitempty"`  // factor of the canary's part that nobody acknowledges
	Least float64 `json:"least,omitempty"` // how much an arm that fails faster than the other attracts, as least-request does
}

// Sensor is what becomes of the counts on their way.
type Sensor struct {
	Repeat     int     `json:"repeat,omitempty"`      // every so many seconds the last block comes again
	Step       int     `json:"step,omitempty"`        // seconds by which the clock jumps
	StepAt     int     `json:"step_at,omitempty"`     //
	StepBack   int     `json:"step_back,omitempty"`   // second at which it jumps back
	Shift      int     `json:"shift,omitempty"`       // seconds that stable's counts are dated late
	LoseStable float64 `json:"lose_stable,omitempty"` // share of requests that are not counted at all
	LoseCanary float64 `json:"lose_canary,omitempty"` //
	LoseBad    float64 `json:"lose_bad,omitempty"`    // share of the canary's failed requests that are not counted
	Vanish     float64 `json:"vanish,omitempty"`      // share of the canary's requests of which nothing is heard again
	Dark       [2]int  `json:"dark,omitzero"`         // seconds in which stable's counts do not come
}

// Metrics is a number of further metrics, of which the first Bad are worse.
type Metrics struct {
	Count  int     `json:"count"`
	Kind   string  `json:"kind"` // share, count or mean
	Base   float64 `json:"base"`
	Bad    int     `json:"bad,omitempty"`
	Ratio  float64 `json:"ratio,omitempty"`
	Burst  float64 `json:"burst,omitempty"` // mean number of events that come together, as counters of others count them
	Approx bool    `json:"approx,omitempty"`
}

//go:embed scenarios/*.json
var files embed.FS

// Scenarios returns all of them, in the order of their tables.
func Scenarios() ([]Scenario, error) {
	names, err := fs.Glob(files, "scenarios/*.json")
	if err != nil {
		return nil, fmt.Errorf("sim: list: %w", err)
	}
	var all []Scenario
	for _, name := range names {
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("sim: read: %w", err)
		}
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		var some []Scenario
		if err := d.Decode(&some); err != nil {
			return nil, fmt.Errorf("sim: %s: %w", name, err)
		}
		all = append(all, some...)
	}
	for i, s := range all {
		if why := s.unusable(); why != "" {
			return nil, fmt.Errorf("sim: scenario %q: %s", s.Name, why)
		}
		if slices.ContainsFunc(all[:i], func(o Scenario) bool { return o.Name == s.Name }) {
			return nil, fmt.Errorf("sim: two scenarios are called %q", s.Name)
		}
	}
	return all, nil
}

// unusable says what is wrong with a scenario; "" if nothing is.
func (s Scenario) unusable() string {
	switch {
	case s.Name == "" || s.Table == "":
		return "name and table must be set"
	case !slices.Contains([]Truth{Fit, Margin, Between, Bound, Unfit, Unlike, Unknowns}, s.Truth):
		return fmt.Sprintf("truth is %q", s.Truth)
	case s.Horizon <= 0 || s.Reps <= 0:
		return "horizon and reps must be above 0"
	case s.Keys != nil && s.Keys.Count <= 0 && s.Keys.New < 1:
		return "keys.count must be above 0"
	}
	return ""
}
