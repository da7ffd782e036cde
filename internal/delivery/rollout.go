package delivery

import (
	"slices"
	"time"
)

// ChangeID counts changes from 1.
type ChangeID int64

// RolloutID names one rollout for ever: "7/prod", and "7/prod.2" for a retry.
type RolloutID string

// Change is what a person or a machine submits: releases that go out as one
// unit, why, and by whom. It becomes one rollout per environment.
type Change struct {
	ID        ChangeID  `json:"id"`
	Kind      Kind      `json:"kind"`
	Kinds     []Kind    `json:"kinds"` // all that differs from what ran before; Kind is the leading one
	Members   []Member  `json:"members"`
	Origin    Origin    `json:"origin"`
	Only      string    `json:"only,omitempty"` // one environment alone; "": the whole order of promotion
	Reason    string    `json:"reason,omitempty"`
	By        string    `json:"by"`
	Commit    string    `json:"commit,omitempty"`
	Submitted time.Time `json:"submitted"`
	Override  *Override `json:"override,omitempty"` // another way to roll out, for this change alone
}

// Override is another way to roll out than slipway.yaml says, for one change.
type Override struct {
	Kind  StrategyKind `json:"kind,omitempty"`
	Steps []StepSpec   `json:"steps,omitempty"` // of a canary
	Twin  bool         `json:"twin,omitempty"`  // a twin too, whatever slipway.yaml says

	Approve bool `json:"approve,omitempty"` // a person lets each step of a canary be left, and switches what is blue-green
}

// Member is one service's part of a change.
type Member struct {
	Service string    `json:"service"`
	From    ReleaseID `json:"from,omitempty"` // stable in the first environment when submitted
	To      ReleaseID `json:"to"`
	Version string    `json:"version"`
}

// Origin says what asked for a change.
type Origin string

// Origins.
const (
	OriginPerson     Origin = "person"
	OriginAutomation Origin = "automation"
	OriginRollback   Origin = "rollback"
	OriginInitial    Origin = "initial"
)

// Rollout is one change executing one plan in one environment. It is one row,
// moved by compare-and-swap on Gen.
type Rollout struct {
	ID       RolloutID `json:"id"`
	Change   ChangeID  `json:"change"`
	Kind     Kind      `json:"kind"`
	Origin   Origin    `json:"origin"`
	Only     bool      `json:"only,omitempty"` // its change is for this environment alone
	Service  string    `json:"service"`
	Env      string    `json:"env"`
	From     ReleaseID `json:"from,omitempty"` // stable when it started; "" for a first release
	To       ReleaseID `json:"to"`
	Version  string    `json:"version"`                // of To
	Was      string    `json:"from_version,omitempty"` // version of From
	Plan     Plan      `json:"plan"`
	Override *Override `json:"override,omitempty"` // of its change
	State    State     `json:"state"`
	Step     int       `json:"step"`
	Gen      int64     `json:"generation"`
	Reason   string    `json:"reason"`            // why it is where it is, in one sentence
	Waiting  *Blocker  `json:"waiting_on"`        // exactly one blocker, or null
	Asked    *Ask      `json:"asked,omitempty"`   // what a person asked and has not been done yet
	Approved int       `json:"approved"`          // steps approved so far: step i may be left when Approved > i
	Paused   *Pause    `json:"paused,omitempty"`  // set while paused by a person
	Despite  bool      `json:"despite,omitempty"` // a person goes on in spite of the incident there is
	Idle     Idle      `json:"idle"`              // time that does not count against deadlines
	Progress Progress  `json:"progress"`          // best seen so far
	Verdict  *Verdict  `json:"verdict"`           // the judge's last word
	Cause    Cause     `json:"cause,omitzero"`    // first cause of a revert; never overwritten
	Seq      int64     `json:"seq"`               // order of submission
	Created  time.Time `json:"created"`
	Started  time.Time `json:"started,omitzero"` // left queued
	Entered  time.Time `json:"entered"`          // entered State
	Shifted  time.Time `json:"shifted,omitzero"` // weight of Step acknowledged
	Exposed  time.Time `json:"exposed,omitzero"` // first weight above 0 acknowledged
	Ended    time.Time `json:"ended,omitzero"`
	Reverted time.Time `json:"reverting_since,omitzero"`
}

// Idle adds up the time that does not count against a deadline: pauses,
// approvals, holds by a person.
type Idle struct {
	Total time.Duration `json:"total"` // closed idle spans of this step
	Since time.Time     `json:"since,omitzero"`
}

// Progress is the best capacity seen in a step, and the clock of its deadline:
// it runs while capacity is short and stands while nothing is missing or a
// person is waited for. Flapping is no progress: only a new best starts it afresh.
type Progress struct {
	Ready int       `json:"ready"`
	At    time.Time `json:"at,omitzero"`    // the clock counts from here
	Still time.Time `json:"still,omitzero"` // the clock stands since then
}

// Pause says who paused and why.
type Pause struct {
	By  string    `json:"by"`
	Why string    `json:"why,omitempty"`
	At  time.Time `json:"at"`
}

// Blocker is the one thing a rollout waits for, what lifts it, and who may.
type Blocker struct {
	On    string    `json:"on"`             // "approval", "not enough data", "slot" ...
	What  string    `json:"what"`           // in a sentence
	Lifts string    `json:"lifts"`          // the command or event that lifts it
	Who   string    `json:"who,omitempty"`  // who may
	Until time.Time `json:"until,omitzero"` // passes by itself at this time
	Since time.Time `json:"since"`
}

// AskVerb is what a person can ask of a rollout.
type AskVerb string

// The asks.
const (
	AskAbort   AskVerb = "abort"
	AskPause   AskVerb = "pause"
	AskResume  AskVerb = "resume"
	AskApprove AskVerb = "approve"
	AskPromote AskVerb = "promote" // skip what is left of the analysis and finish
)

// Ask is one request by a person, kept until the loop has acted on it.
type Ask struct {
	Verb AskVerb   `json:"verb"`
	By   string    `json:"by"`
	Why  string    `json:"why,omitempty"`
	At   time.Time `json:"at"`
}

// CauseKind says what sent a rollout back.
type CauseKind string

// The causes of a revert. All but Newer leave a quarantine behind.
const (
	CauseVerdict  CauseKind = "verdict"  // the judge said fail
	CauseTest     CauseKind = "test"     // the test on the preview route failed
	CauseProgress CauseKind = "progress" // no progress within the deadline
	CausePerson   CauseKind = "person"   // aborted
	CauseNewer    CauseKind = "newer"    // superseded
	CauseMissing  CauseKind = "missing"  // an artifact is gone
)

// Cause is why a rollout goes back.
type Cause struct {
	Kind CauseKind `json:"kind,omitempty"`
	Text string    `json:"text,omitempty"`
	By   string    `json:"by,omitempty"`
	At   time.Time `json:"at,omitzero"`
}

// State is where a rollout stands.
type State string

// The states.
const (
	Queued       State = "queued"        // waits for its turn
	Preparing    State = "preparing"     // artifacts are checked and pinned
	Starting     State = "starting"      // first instances come up
	Shifting     State = "shifting"      // a step is being carried out
	Judging      State = "judging"       // a step is being watched
	Waiting      State = "waiting"       // a person or the clock decides
	Finishing    State = "finishing"     // full traffic and capacity
	Soaking      State = "soaking"       // watched at full traffic
	Done         State = "done"          //
	Reverting    State = "reverting"     // on the way back
	Reverted     State = "reverted"      //
	RevertFailed State = "revert_failed" // needs a person
	Superseded   State = "superseded"    // a newer one took over
	Cancelled    State = "cancelled"     // ended before it began
)

// States lists every state in the order of the happy path, then the ways back.
func States() []State {
	return []State{
		Queued, Preparing, Starting, Shifting, Judging, Waiting, Finishing, Soaking, Done,
		Reverting, Reverted, RevertFailed, Superseded, Cancelled,
	}
}

// Final reports whether a rollout in s is over.
func (s State) Final() bool {
	switch s {
	case Done, Reverted, RevertFailed, Superseded, Cancelled:
		return true
	case Queued, Preparing, Starting, Shifting, Judging, Waiting, Finishing, Soaking, Reverting:
		return false
	}
	return false
}

// Active reports whether a rollout in s owns the instances and the route of its
// service and environment: it has begun and is not over.
func (s State) Active() bool { return s != Queued && !s.Final() }

// nexts is the whole state machine. Staying is always allowed. A rollout that
// has begun is superseded through reverting, because its traffic and its
// instances have to be taken back first; one that is queued is superseded at once.
var nexts = map[State][]State{
	Queued:    {Preparing, Cancelled, Superseded},
	Preparing: {Starting, Reverting},
	Starting:  {Shifting, Finishing, Reverting},
	Shifting:  {Judging, Reverting},
	Judging:   {Shifting, Waiting, Finishing, Reverting},
	Waiting:   {Shifting, Judging, Finishing, Reverting},
	Finishing: {Soaking, Reverting},
	Soaking:   {Done, Reverting},
	Reverting: {Reverted, RevertFailed, Superseded},
}

// MayMove reports whether the state machine has an edge from s to next.
func (s State) MayMove(next State) bool {
	return s == next || slices.Contains(nexts[s], next)
}

// At returns the step a rollout is at.
func (r Rollout) At() (Step, bool) {
	if r.Step < 0 || r.Step >= len(r.Plan.Steps) {
		return Step{}, false
	}
	return r.Plan.Steps[r.Step], true
}

// Yields reports whether a rollout gives way to a newer one of its service and
// environment at once. From finishing on it is let go to its end, which is near.
func (r Rollout) Yields() bool {
	switch r.State {
	case Queued:
		return r.Plan.Supersede != Queue
	case Preparing, Starting, Shifting, Judging, Waiting:
		return r.Plan.Supersede == Replace || r.Plan.Supersede == ""
	case Finishing, Soaking, Reverting:
		return false
	case Done, Reverted, RevertFailed, Superseded, Cancelled:
		return true
	}
	return false // a state of another version of Slipway: let it be
}
