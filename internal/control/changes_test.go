package control

import (
	"errors"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

func TestChangeFilter(t *testing.T) {
	q, err := ChangeFilter{Service: "cart", Env: "prod", Kind: "config", Outcome: "rolled-back", By: "ann", From: "2026-11-23", To: "2026-11-24"}.Query()
	if err != nil {
		t.Fatal(err)
	}
	day := time.Date(2026, 11, 23, 0, 0, 0, 0, time.Local)
	if q.Service != "cart" || q.Env != "prod" || q.Kind != delivery.Config || q.Person != "ann" || len(q.States) != 2 || !q.From.Equal(day) || !q.To.Equal(day.AddDate(0, 0, 2)) {
		t.Errorf("Query = %+v", q)
	}
	if q, err = (ChangeFilter{To: "2026-11-23T14:05:00Z"}).Query(); err != nil || !q.To.Equal(time.Date(2026, 11, 23, 14, 5, 0, 0, time.UTC)) {
		t.Errorf("Query to a time = %+v, %v", q, err)
	}
	for field, f := range map[string]ChangeFilter{"kind": {Kind: "magic"}, "outcome": {Outcome: "lost"}, "from": {From: "yesterday"}, "to": {To: "23.11."}} {
		_, err := f.Query()
		var wrong *delivery.FieldError
		if !errors.As(err, &wrong) || wrong.Field != field || wrong.Next == "" {
			t.Errorf("Query of a wrong %s = %v, want an error that names it and what comes next", field, err)
		}
	}
}

// Every state belongs to exactly one outcome, so that no change is hidden.
func TestOutcomesCoverEveryState(t *testing.T) {
	seen := map[delivery.State]int{}
	for _, outcome := range Outcomes() {
		states, err := statesOf(outcome)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range states {
			seen[s]++
		}
	}
	for _, s := range delivery.States() {
		if seen[s] != 1 {
			t.Errorf("%s belongs to %d outcomes", s, seen[s])
		}
	}
}
