package web

import (
	"strings"
	"testing"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

func deployer() delivery.Who { return delivery.Who{Name: "ann", Access: delivery.Deployer} }
func reader() delivery.Who   { return delivery.Who{Name: "rita", Access: delivery.Reader} }

// spoken says actions in one line: "Pause… · Take back… (why not)".
func spoken(all []action) string {
	var parts []string
	for _, a := range all {
		text := a.Label
		if a.Why != "" {
			text += " (" + a.Why + ")"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " · ")
}

// What can be done with a rollout follows from its state, and who may do nothing
// is told so at each.
func TestActionsOfRollout(t *testing.T) {
	w := build(t).pages
	canary := delivery.Plan{Strategy: delivery.Canary, Steps: []delivery.Step{{Do: delivery.DoWeight, Weight: delivery.Percent(25), Approve: true}, {Do: delivery.DoWeight, Weight: delivery.Full}}}
	green := delivery.Plan{Strategy: delivery.BlueGreen, Steps: []delivery.Step{{Do: delivery.DoStart, Approve: true}, {Do: delivery.DoWeight, Weight: delivery.Full}}}
	for name, c := range map[string]struct {
		r    delivery.Rollout
		want string
	}{
		"queued":         {delivery.Rollout{State: delivery.Queued, Plan: canary}, "Pause… · Finish now… · Take back…"},
		"waiting":        {delivery.Rollout{State: delivery.Waiting, Plan: canary}, "Approve… · Pause… · Finish now… · Take back…"},
		"green waits":    {delivery.Rollout{State: delivery.Waiting, Plan: green}, "Switch to v2… · Pause… · Finish now… · Take back…"},
		"paused":         {delivery.Rollout{State: delivery.Shifting, Plan: canary, Paused: &delivery.Pause{By: "bob"}}, "Resume… · Finish now… · Take back…"},
		"soaking":        {delivery.Rollout{State: delivery.Soaking, Plan: canary}, "Pause… · Finish now… (cart v2 in prod is past its analysis, so nothing is left to skip) · Take back…"},
		"going back":     {delivery.Rollout{State: delivery.Reverting, Plan: canary}, ""},
		"abort is asked": {delivery.Rollout{State: delivery.Shifting, Plan: canary, Asked: &delivery.Ask{Verb: delivery.AskAbort}}, "Pause… · Finish now… · Take back… (v2 is on its way back in prod)"},
		"over":           {delivery.Rollout{State: delivery.Done, Plan: canary}, ""},
	} {
		c.r.ID, c.r.Change, c.r.Service, c.r.Env, c.r.Version, c.r.From, c.r.To = "7/prod", 7, "cart", "prod", "v2", "r1", "r2"
		if got := spoken(w.actionsOfRollout(deployer(), c.r)); got != c.want {
			t.Errorf("%s: %s\nwant %s", name, got, c.want)
		}
		for _, a := range w.actionsOfRollout(reader(), c.r) {
			if !strings.Contains(a.Why, "you are a reader, and this needs a deployer") {
				t.Errorf("%s: a reader may %s: %q", name, a.Label, a.Why)
			}
		}
	}
}

// What can be done with a service and in its environments follows from the board.
func TestActionsOfService(t *testing.T) {
	w := build(t).pages
	pin := &delivery.Hold{Kind: delivery.Pinned, Service: "cart", Env: "prod", Why: "a sale", By: "bob"}
	staging := delivery.Cell{Env: "staging", Release: "r2", Version: "v2", Change: 7}
	prod := delivery.Cell{Env: "prod", Release: "r1", Version: "v1", Change: 3, Before: "r0"}
	first := prod
	first.Before = ""
	held := prod
	held.Held = pin
	flight := prod
	flight.Flight = &delivery.Flight{Change: 7, Version: "v2", State: delivery.Judging}
	for name, c := range map[string]struct {
		got  []action
		want string
	}{
		"waits before prod": {w.actionsOfService(deployer(), delivery.Row{Service: "cart", Cells: []delivery.Cell{staging, prod}}), "Deploy… · Promote v2 to prod… · Roll back prod…"},
		"held in prod":      {w.actionsOfService(deployer(), delivery.Row{Service: "cart", Cells: []delivery.Cell{staging, held}}), "Deploy… · Promote v2 to prod… (cart is held in prod by bob: a sale) · Roll back prod…"},
		"on its way":        {w.actionsOfService(deployer(), delivery.Row{Service: "cart", Cells: []delivery.Cell{staging, flight}}), "Deploy… · Roll back prod…"},
		"never deployed":    {w.actionsOfService(deployer(), delivery.Row{Service: "cart", Cells: []delivery.Cell{{Env: "staging"}, {Env: "prod"}}}), "Deploy… · Roll back prod… (nothing of cart runs in prod)"},
		"a cell":            {w.actionsOfCell(deployer(), "cart", prod), "Roll back prod… · Hold prod…"},
		"a first release":   {w.actionsOfCell(deployer(), "cart", first), "Roll back prod… (cart v1 is the first release in prod: there is nothing to go back to) · Hold prod…"},
		"a held cell":       {w.actionsOfCell(deployer(), "cart", held), "Roll back prod… · Release hold on prod…"},
		"a version":         {w.actionsOfVersion(deployer(), "cart", "prod", control.Version{Version: "v1", Release: "r1", StableIn: []string{"prod"}}), "Deploy v1… · Roll back prod to v1… (v1 is what runs in prod) · Hold v1…"},
		"a held version":    {w.actionsOfVersion(deployer(), "cart", "prod", control.Version{Version: "v3", Release: "r3", Held: &delivery.Hold{Kind: delivery.Quarantine, Service: "cart", Version: "v3", Why: "bad"}}), "Deploy v3… (v3 is on hold: bad) · Roll back prod to v3… (v3 is on hold: bad) · Release hold on v3…"},
		"a new version":     {w.actionsOfVersion(deployer(), "cart", "prod", control.Version{Version: "v9"}), "Deploy v9…"},
	} {
		if got := spoken(c.got); got != c.want {
			t.Errorf("%s: %s\nwant %s", name, got, c.want)
		}
		ids := map[string]bool{}
		for _, a := range c.got {
			if ids[a.ID] {
				t.Errorf("%s: two actions have the id %s", name, a.ID)
			}
			ids[a.ID] = true
		}
	}
}
