package delivery_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// The whole state machine, written down a second time by hand: each state, and
// what may come next.
func TestMayMove(t *testing.T) {
	const machine = `
		queued        preparing superseded cancelled
		preparing     starting reverting
		starting      shifting finishing reverting
		shifting      judging reverting
		judging       shifting waiting finishing reverting
		waiting       shifting judging finishing reverting
		finishing     soaking reverting
		soaking       done reverting
		done
		reverting     reverted revert_failed superseded
		reverted
		revert_failed
		superseded
		cancelled`
	want := map[delivery.State][]string{}
	for line := range strings.Lines(strings.TrimSpace(machine)) {
		f := strings.Fields(line)
		want[delivery.State(f[0])] = f[1:]
	}
	if len(want) != len(delivery.States()) {
		t.Fatalf("%d states, want %d", len(delivery.States()), len(want))
	}
	for _, from := range delivery.States() {
		for _, to := range delivery.States() {
			may := from == to || slices.Contains(want[from], string(to))
			if got := from.MayMove(to); got != may {
				t.Errorf("%s -> %s = %v, want %v", from, to, got, may)
			}
		}
	}
	if delivery.State("dancing").MayMove(delivery.Done) || delivery.Queued.MayMove("dancing") {
		t.Error("a state nobody knows may move")
	}
}

// Every state is one of: waiting for its turn, active, or over.
func TestStatesArePartitioned(t *testing.T) {
	final := []delivery.State{delivery.Done, delivery.Reverted, delivery.RevertFailed, delivery.Superseded, delivery.Cancelled}
	seen := map[delivery.State]bool{}
	for _, s := range delivery.States() {
		if seen[s] {
			t.Errorf("%s is listed twice", s)
		}
		seen[s] = true
		if s.Final() != slices.Contains(final, s) {
			t.Errorf("%s.Final() = %v", s, s.Final())
		}
		if want := s != delivery.Queued && !slices.Contains(final, s); s.Active() != want {
			t.Errorf("%s.Active() = %v, want %v", s, s.Active(), want)
		}
	}
	if s := delivery.State("dancing"); s.Final() || !s.Active() {
		t.Error("a state nobody knows must count as active: it may own instances and a route")
	}
}

// No state is a trap, none is out of reach, what has begun can always go back,
// and what is over stays so.
func TestStateMachineHasNoTraps(t *testing.T) {
	reach := func(from delivery.State) map[delivery.State]bool {
		seen, todo := map[delivery.State]bool{from: true}, []delivery.State{from}
		for len(todo) > 0 {
			s := todo[0]
			todo = todo[1:]
			for _, next := range delivery.States() {
				if s.MayMove(next) && !seen[next] {
					seen[next] = true
					todo = append(todo, next)
				}
			}
		}
		return seen
	}
	if got := reach(delivery.Queued); len(got) != len(delivery.States()) {
		t.Errorf("from queued %d of %d states can be reached: %v", len(got), len(delivery.States()), got)
	}
	for _, s := range delivery.States() {
		switch got := reach(s); {
		case s.Final():
			if len(got) != 1 {
				t.Errorf("%s is over and goes on to %v", s, got)
			}
		case s == delivery.Queued:
			if !s.MayMove(delivery.Cancelled) {
				t.Error("what is queued cannot be cancelled")
			}
		default:
			if !s.MayMove(delivery.Reverting) {
				t.Errorf("%s cannot go back", s)
			}
			if s == delivery.Reverting && got[delivery.Done] {
				t.Error("what goes back can still be done")
			}
		}
	}
}

func TestAt(t *testing.T) {
	r := delivery.Rollout{Plan: delivery.Plan{Steps: []delivery.Step{{New: 1}, {New: 2}}}}
	for step, want := range map[int]int{0: 1, 1: 2, 2: 0, -1: 0} {
		r.Step = step
		if s, ok := r.At(); s.New != want || ok != (want != 0) {
			t.Errorf("At step %d = %+v, %v", step, s, ok)
		}
	}
}
