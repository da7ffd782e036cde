package web

import (
	"strconv"
	"strings"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/web/browsertest"
)

// Without any script everything can be seen and done: a version is rolled back,
// its hold is released, a deploy that makes no sense is refused, and the way back
// is taken back.
func TestWithoutScript(t *testing.T) {
	t.Parallel()
	h := build(t).harbor()
	h.settled(h.deploy("payment", "v2"))
	tab := h.serve().open(browsertest.Options{NoScript: true})
	tab.Forgive(expected) // the refusal

	tab.Press("Services")
	tab.AwaitText("h1", "Services")
	tab.Press("payment")
	tab.AwaitText("h1", "payment")
	tab.Press("Roll back prod…")
	tab.AwaitText("h1", "Roll back payment in prod")
	tab.AwaitText("main", "v1")
	tab.Click("#act-type")
	tab.Type("payment")
	tab.Press("Roll back")
	tab.Await("the change is shown", `location.pathname.startsWith("/changes/")`)
	h.eventually("v1 is stable in prod again", func() bool { return h.stable("payment", "prod") == "v1" }, func() string { return h.stable("payment", "prod") })
	tab.Go(tab.Path())
	tab.AwaitText("main", "v1")

	tab.Press("Services")
	tab.AwaitText("h1", "Services")
	tab.Press("payment")
	tab.Press("Release hold on v2…")
	tab.AwaitText("h1", "Release the hold on payment v2")
	tab.Press("Release")
	tab.AwaitText("h1", "payment")
	h.eventually("nothing is held", func() bool { all, err := h.store.Holds(t.Context()); return err == nil && len(all) == 0 }, func() string { return "a hold" })

	tab.Press("Deploy…")
	tab.AwaitText("h1", "Deploy payment")
	tab.Choose("#act-version", "v2")
	tab.Press("Show what it would do")
	tab.AwaitText("main", "payment v2 is already stable in staging")
	tab.Press("Back to payment")
	tab.Press("Roll back prod…")
	tab.AwaitText("h1", "Roll back payment in prod")
	tab.Click("#act-type")
	tab.Type("payment")
	tab.Press("Roll back")
	tab.Await("the change is shown", `location.pathname.startsWith("/changes/")`)
	var number string
	tab.Eval(`location.pathname.split("/")[2]`, &number)
	id, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	h.rollout(delivery.ChangeID(id), "prod", "v2 is done in prod", func(r delivery.Rollout) bool { return r.State == delivery.Done })
	tab.Go(tab.Path())
	if got := tab.Text("main"); !strings.Contains(got, "v2") {
		t.Errorf("the page of the change does not name v2:\n%s", got)
	}
}
