package delivery

import (
	"strings"
	"time"
)

// Board answers what runs where and what can be deployed right now.
type Board struct {
	Project      string    `json:"project"`
	Environments []string  `json:"environments"`
	Services     []Row     `json:"services"`
	Deployable   int       `json:"deployable"` // services that can be deployed right now
	At           time.Time `json:"at"`
	Trouble      []string  `json:"trouble,omitempty"` // of the whole system: the data plane does not answer, a port is taken
}

// Row is one service on the board.
type Row struct {
	Service  string `json:"service"`
	Cells    []Cell `json:"cells"`
	Now      bool   `json:"deployable"`              // a new change can go out right now
	Sentence string `json:"sentence"`                // why, or why not
	First    *Gate  `json:"first_blocker,omitempty"` // what is in the way, and what lifts it; nil when nothing is
}

// Cell is one service in one environment.
type Cell struct {
	Env     string    `json:"env"`
	Release ReleaseID `json:"release,omitempty"`
	Version string    `json:"version,omitempty"` // "" when nothing is deployed
	Change  ChangeID  `json:"change,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	Before  ReleaseID `json:"previous,omitempty"` // what a rollback goes to
	// BeforeHeld keeps a rollback from going to Before.
	BeforeHeld *Hold   `json:"previous_hold,omitempty"`
	Want       int     `json:"want"`
	Healthy    int     `json:"healthy"`
	Flight     *Flight `json:"in_flight,omitempty"`
	Held       *Hold   `json:"hold,omitempty"`
}

// Flight is a rollout under way, in brief.
type Flight struct {
	Rollout RolloutID `json:"rollout"`
	Change  ChangeID  `json:"change"`
	Version string    `json:"version"`
	State   State     `json:"state"`
	Weight  Weight    `json:"weight"`
	Waiting *Blocker  `json:"waiting_on"`
}

// Gate is one condition for a release to enter an environment.
type Gate struct {
	Name    string    `json:"name"`
	Outcome GateWord  `json:"outcome"`
	What    string    `json:"what"`
	Lifts   string    `json:"lifts,omitempty"` // the command or event that lifts it
	Who     string    `json:"who,omitempty"`
	Until   time.Time `json:"until,omitzero"` // passes by itself
}

// ByItself is what stands between Lifts and the time Until, so that it is said once
// that nobody has to do anything.
func (g Gate) ByItself() string {
	if strings.HasSuffix(g.Lifts, "by itself") {
		return "at"
	}
	return "by itself at"
}

// GateWord is how a gate stands.
type GateWord string

// The ways a gate can stand.
const (
	GatePass    GateWord = "pass"
	GateWaits   GateWord = "waits"   // passes by itself
	GateBlocked GateWord = "blocked" // a person has to do something
)

// Answer says why a service's newest release is or is not in an environment.
type Answer struct {
	Service  string    `json:"service"`
	Env      string    `json:"env"`
	Running  string    `json:"running,omitempty"` // version that is stable there
	Next     string    `json:"next,omitempty"`    // version that would come next
	Release  ReleaseID `json:"release,omitempty"` // of Next
	Change   ChangeID  `json:"change,omitempty"`
	May      bool      `json:"may"` // every gate passes
	Sentence string    `json:"sentence"`
	Gates    []Gate    `json:"gates"`
	Flight   *Flight   `json:"in_flight,omitempty"`
}
