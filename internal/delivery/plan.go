package delivery

import (
	"fmt"
	"strings"
	"time"
)

// Do is what a step does.
type Do string

// The things a step can do. Expand, match, mirror and contract have their
// place here so that schema changes and experiments need no second mechanism.
const (
	DoStart    Do = "start"    // bring up instances that get no public traffic
	DoExpand   Do = "expand"   // schema: add the new shape
	DoWeight   Do = "weight"   // give the new release a share of the traffic
	DoMatch    Do = "match"    // give it the requests that match
	DoMirror   Do = "mirror"   // copy a share of the requests to it
	DoHold     Do = "hold"     // let time pass
	DoAnalyse  Do = "analyse"  // wait for a verdict
	DoTest     Do = "test"     // run a command against the preview route
	DoApprove  Do = "approve"  // wait for a person
	DoPromote  Do = "promote"  // make it the stable release
	DoContract Do = "contract" // schema: remove the old shape
)

// Step is one stop of a plan: do something, see it acknowledged, then stay
// until it may be left. While a step is carried out its rollout is shifting,
// then judging, then perhaps waiting.
type Step struct {
	Do      Do            `json:"do"`
	Weight  Weight        `json:"weight"`            // share of the new release at and after this step
	New     int           `json:"new"`               // instances of the new release this step needs
	Old     int           `json:"old"`               // instances of the old release kept once the weight is acknowledged; -1 keeps all
	During  int           `json:"during"`            // instances of the old release kept while New comes up; -1 keeps all
	Dark    bool          `json:"dark,omitempty"`    // nobody is served while New comes up
	Preview bool          `json:"preview,omitempty"` // new release answers on the preview route
	Hold    time.Duration `json:"hold,omitempty"`    // least time here
	Proven  bool          `json:"proven,omitempty"`  // leave only on a pass
	Max     time.Duration `json:"max,omitempty"`     // longest time of judging; then a person decides. 0: no limit
	Approve bool          `json:"approve,omitempty"` // a person must approve before it is left
	Test    []string      `json:"test,omitempty"`
	Timeout time.Duration `json:"timeout,omitempty"` // of Test
}

// Plan is the whole way of one rollout, computed and shown before it runs.
type Plan struct {
	Strategy  StrategyKind  `json:"strategy"`
	Steps     []Step        `json:"steps"`
	Replicas  int           `json:"replicas"`        // instances of the new release when done
	Old       int           `json:"old,omitempty"`   // instances of the stable release before it began, and again after a revert; 0: Replicas
	Spare     int           `json:"spare,omitempty"` // instances that may be missing while the others carry everything
	Deadline  time.Duration `json:"deadline"`
	Soak      time.Duration `json:"soak"`
	Window    time.Duration `json:"window"`
	OnSilence Silence       `json:"on_silence"`
	Supersede Supersede     `json:"supersede"`
	Twin      bool          `json:"twin,omitempty"` // at each step below 100 %, as many fresh instances of the stable release run as of the new one, beside Old
	Judge     JudgePolicy   `json:"judge"`          // with all metrics that it is judged by, the built-in ones included
	Reason    string        `json:"reason"`         // why this plan and not another
}

// String says a step as people read it.
func (s Step) String() string {
	var b strings.Builder
	switch s.Do {
	case DoWeight:
		b.WriteString(s.Weight.String())
	case DoStart:
		fmt.Fprintf(&b, "start %d", s.New)
	case DoExpand, DoMatch, DoMirror, DoHold, DoAnalyse, DoTest, DoApprove, DoPromote, DoContract:
		b.WriteString(string(s.Do))
	}
	if s.Preview {
		b.WriteString(" on the preview route")
	}
	switch {
	case s.Proven && s.Hold > 0:
		fmt.Fprintf(&b, " for %s and until proven", Lasting(s.Hold))
	case s.Proven:
		b.WriteString(" until proven")
	case s.Hold > 0:
		fmt.Fprintf(&b, " for %s", Lasting(s.Hold))
	}
	if len(s.Test) > 0 && s.Do != DoTest {
		b.WriteString(", then test")
	}
	if s.Approve && s.Do != DoApprove {
		b.WriteString(", then approval")
	}
	return b.String()
}

// String says a plan in one line: "canary 5 % 25 % 50 % 100 %".
func (p Plan) String() string {
	parts := []string{string(p.Strategy)}
	for _, s := range p.Steps {
		if s.Do == DoWeight {
			parts = append(parts, s.Weight.String())
		} else {
			parts = append(parts, string(s.Do))
		}
	}
	return strings.Join(parts, " · ")
}
