package server

import (
	"net/http"
	"testing"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// The list says how each change stands where it was queued, and is picked from by that.
func TestChangesSayHowTheyStand(t *testing.T) {
	h := build(t).shop().run()
	h.deploy("cart", "v1")
	var list page[control.Listed]
	eventually(t, "v1 is done in staging", func() bool {
		h.get("/changes?service=cart&outcome=done").want(http.StatusOK).into(&list)
		return len(list.Items) == 1
	})
	c := list.Items[0]
	if c.ID != 1 || c.Members[0].Version != "v1" || len(c.Stands) != 1 || c.Stands[0].Env != "staging" || c.Stands[0].State != delivery.Done || c.Stands[0].Ended.IsZero() {
		t.Errorf("listed = %+v", c)
	}
	h.get("/changes?outcome=rolled-back").want(http.StatusOK).into(&list)
	if len(list.Items) != 0 {
		t.Errorf("rolled back = %+v", list.Items)
	}
	p := h.get("/changes?outcome=lost").problem(http.StatusUnprocessableEntity, codeInvalid)
	if len(p.Errors) != 1 || p.Errors[0].Location != "outcome" || p.Errors[0].Message != "is one of under-way, done, rolled-back, superseded, cancelled" {
		t.Errorf("problem = %+v", p)
	}
}
