package web

import (
	"fmt"
	"testing"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/web/browsertest"
)

// In a browser the lines come by themselves, no more of them are kept than can be
// read, and who reads further up is left in peace until they come back to the end.
func TestFollowLogsInABrowser(t *testing.T) {
	t.Parallel()
	h, id := talker(t)
	s := h.serve()
	for i := range 60 {
		h.m.Say(id, fmt.Sprintf(`{"level":"INFO","msg":"old %d"}`, i))
	}
	tab := s.open(browsertest.Options{})
	tab.Size(1280, 700)
	tab.Go("/services/payment/logs?level=info")
	tab.Await("the page follows", `document.querySelector("#log-follow").getAttribute("aria-pressed") === "true"`)
	tab.Await("the newest line is seen", `(l => l.scrollTop > 0 && l.scrollHeight - l.scrollTop - l.clientHeight < 2)(document.querySelector("#log"))`)
	h.m.Say(id, `{"level":"ERROR","msg":"fresh <img src=x onerror=alert(1)>"}`)
	tab.AwaitText("#log", "fresh <img src=x")
	if tab.Is(`document.querySelector("#log img") !== null`) {
		t.Error("a line of the stream is taken for HTML")
	}

	var at float64
	tab.Eval(`document.querySelector("#log").scrollTop = 0`, &at)
	h.m.Say(id, `{"level":"INFO","msg":"while away"}`)
	tab.AwaitText("#log-state", "1 new below")
	if !tab.Is(`document.querySelector("#log").scrollTop === 0 && !document.querySelector("#log").textContent.includes("while away")`) {
		t.Error("who reads further up is moved")
	}
	tab.Eval(`(l => l.scrollTop = l.scrollHeight)(document.querySelector("#log"))`, &at)
	tab.AwaitText("#log", "while away")

	for i := range 600 {
		h.m.Say(id, fmt.Sprintf(`{"level":"INFO","msg":"many %d."}`, i))
	}
	tab.AwaitText("#log", "many 599.")
	tab.Await("500 lines are kept", `document.querySelector("#log").childElementCount === 500`)
	tab.Click("#log-follow")
	tab.Await("it stops", `document.querySelector("#log-follow").textContent === "Follow"`)
	h.m.Say(id, `{"level":"INFO","msg":"unheard"}`)
	tab.Click("#log-follow")
	tab.AwaitText("#log", "unheard")
	if !tab.Is(`document.querySelector("#log").textContent.split("many 599.").length === 2`) {
		t.Error("following again shows lines twice")
	}
	for _, fault := range tab.Faults() {
		t.Error(fault)
	}
}

// On the board the key of the way back means the row that is walked to, and no
// other; without one it means nothing.
func TestWayBackByKeyOnTheBoard(t *testing.T) {
	t.Parallel()
	h := build(t).project(harborYAML).run()
	h.settled(h.deploy("payment", "v1"))
	h.settled(h.deploy("cart", "v1"))
	h.settled(h.submit(control.Submission{Service: "cart", Version: "v2", Bundle: h.bundle("cart v2"), Env: "staging"}))
	tab := h.serve().open(browsertest.Options{})
	tab.Go("/?env=staging")
	tab.Type("r")
	tab.Type("jjj")
	tab.Await("the third row is walked to", `document.activeElement.closest("tr")?.id === "s-shop"`)
	tab.Type("kk")
	tab.Await("the first row is walked to", `document.activeElement.closest("tr")?.id === "s-cart"`)
	if tab.Is(`document.querySelector("dialog").open`) {
		t.Error("a key without a row opened something")
	}
	tab.Type("r")
	tab.Await("the dialog is open", `document.querySelector("dialog").open`)
	tab.AwaitText("dialog", "Roll back cart in staging")
	for _, fault := range tab.Faults() {
		t.Error(fault)
	}
}
