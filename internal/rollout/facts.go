package rollout

import (
	"fmt"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Facts is what was seen, all at once, just before deciding.
type Facts struct {
	Now     time.Time
	New     Arm               // the release that is rolled out
	Old     Arm               // the stable release
	Route   Route             // as the data plane has it
	Verdict *delivery.Verdict // of the judge; nil while it has nothing to judge
	Test    *Test             // of the test this step asks for; nil while it has not ended, there until the step is left
	Newer   *Newer            // the newest rollout queued behind this one
	Busy    string            // the rollout that owns this service and environment now; "" if none does
	Turn    bool              // every rollout queued before this one is over
	Hold    *delivery.Hold    // that stops this release here
	Stale   string            // why what is queued is no longer what was asked for; "" if it is
	Missing string            // why an artifact of the release cannot be had; "" if all are there
}

// Arm is what is known of one release's instances.
type Arm struct {
	Want     int    // asked for
	Running  int    // processes that exist, ready or not, stopping ones included
	Ready    int    // answer their health check
	Healthy  int    // of those, acknowledged healthy by the data plane
	Restarts int    // times they exited by themselves since this rollout began
	Trouble  string // first cause, for people: "exit status 1: no such table"
}

// Route is one service's split as the data plane acknowledges it.
type Route struct {
	Known   bool // the data plane answered
	Split   []delivery.Share
	Preview delivery.ReleaseID
	Desired []delivery.Share // what was asked of it last
}

// Test is the end of a step's test: pass, fail, or error when it could not be run.
type Test struct {
	Step    int
	Outcome delivery.Outcome
	Text    string
}

// Newer is a rollout that waits behind another.
type Newer struct {
	ID      delivery.RolloutID
	Change  delivery.ChangeID
	Version string
}

// weightOf returns the acknowledged weight of a release.
func (r Route) weightOf(id delivery.ReleaseID) delivery.Weight {
	return delivery.Route{Split: r.Split}.WeightOf(id)
}

// Move is the whole answer: the rollout as it is now, what the world shall look
// like, what to write beside it, and when to look again.
type Move struct {
	Rollout delivery.Rollout
	Wants   []delivery.Want  // of the two releases; others are left alone
	Split   []delivery.Share // nil: leave the route alone
	Preview delivery.ReleaseID
	Stable  *delivery.Stable // the pointer moves
	Hold    *delivery.Hold   // is made
	Test    bool             // run the step's test
	Wake    time.Time        // zero: only when something changes
}

// Changed reports whether a move is worth a line in the ledger.
func Changed(was, is delivery.Rollout) bool {
	return was.State != is.State || was.Step != is.Step || was.Reason != is.Reason ||
		(was.Asked == nil) != (is.Asked == nil) || was.Approved != is.Approved || (was.Paused == nil) != (is.Paused == nil)
}

func plural(n int, one string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, one)
	}
	return fmt.Sprintf("%d %ss", n, one)
}
