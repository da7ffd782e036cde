package delivery_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// What a caller may branch on is found however often it was wrapped.
func TestErrorsMatch(t *testing.T) {
	all := []error{delivery.ErrNotFound, delivery.ErrConflict, delivery.ErrInvalid, delivery.ErrRefused}
	for _, c := range []struct {
		err  error
		says string
		is   []error
	}{
		{delivery.Invalid("split", "adds up to 95 %"), "split: adds up to 95 %", []error{delivery.ErrInvalid}},
		{delivery.InvalidNext("env", "is missing", "slipway status"), "env: is missing", []error{delivery.ErrInvalid}},
		{&delivery.Refusal{Code: delivery.CodeHeld, Why: "it is held"}, "it is held", []error{delivery.ErrRefused}},
		{&delivery.Refusal{Code: delivery.CodeNotEligible, Why: "not yet"}, "not yet", []error{delivery.ErrRefused}},
		{&delivery.Refusal{Code: delivery.CodeNoProject, Why: "no project"}, "no project", []error{delivery.ErrRefused, delivery.ErrNotFound}},
		{&delivery.Refusal{Code: delivery.CodeUnknownChange, Why: "no change 7"}, "no change 7", []error{delivery.ErrRefused, delivery.ErrNotFound}},
		{&delivery.Refusal{Code: delivery.CodeNoRollbackTarget, Why: "nothing to go back to"}, "nothing to go back to", []error{delivery.ErrRefused}},
		{delivery.ErrConflict, "someone else moved it first", []error{delivery.ErrConflict}},
	} {
		wrapped := fmt.Errorf("store: save: %w", fmt.Errorf("rollout: %w", c.err))
		for _, target := range all {
			want := false
			for _, is := range c.is {
				want = want || errors.Is(is, target)
			}
			if got := errors.Is(wrapped, target); got != want {
				t.Errorf("%v is %q = %v, want %v", c.err, target, got, want)
			}
		}
		if c.err.Error() != c.says {
			t.Errorf("says %q, want %q", c.err, c.says)
		}
	}
	if f, ok := errors.AsType[*delivery.FieldError](fmt.Errorf("x: %w", delivery.InvalidNext("env", "is missing", "slipway status"))); !ok || f.Field != "env" || f.Next != "slipway status" {
		t.Errorf("FieldError = %+v, %v, want its field and the next command", f, ok)
	}
	if r, ok := errors.AsType[*delivery.Refusal](fmt.Errorf("x: %w", &delivery.Refusal{Code: delivery.CodeHeld, Who: "ann"})); !ok || r.Who != "ann" {
		t.Errorf("Refusal = %+v, %v, want who may lift it", r, ok)
	}
}

func TestUnknown(t *testing.T) {
	for _, c := range []struct {
		known []string
		why   string
	}{
		{nil, `there is no service "cat"`},
		{[]string{"cart"}, `there is no service "cat"; there is cart`},
		{[]string{"cart", "payment"}, `there is no service "cat"; there is cart, payment`},
	} {
		err := delivery.Unknown(delivery.CodeUnknownService, "service", "cat", c.known, "slipway status")
		want := delivery.Refusal{Code: delivery.CodeUnknownService, Field: "service", Why: c.why, Next: "slipway status"}
		if *err != want || !errors.Is(err, delivery.ErrNotFound) {
			t.Errorf("Unknown(%v) = %+v, want %+v that matches ErrNotFound", c.known, *err, want)
		}
	}
	if err := delivery.Unknown(delivery.CodeUnknownService, "service", "a\nb", nil, ""); err.Why != `there is no service "a\nb"` {
		t.Errorf("a name with a line break is said as %q", err.Why)
	}
}

func TestHoldLift(t *testing.T) {
	for want, h := range map[string]delivery.Hold{
		"slipway release cart v2":         {Kind: delivery.Quarantine, Service: "cart", Version: "v2", Release: "r2"},
		"slipway release cart --env prod": {Kind: delivery.Pinned, Service: "cart", Env: "prod"},
	} {
		if got := h.Lift(); got != want {
			t.Errorf("Lift = %q, want %q", got, want)
		}
	}
}
