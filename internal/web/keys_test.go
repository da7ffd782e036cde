package web

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/web/browsertest"
)

// Every key that the page of keys lists does what it says there.
func TestEveryKey(t *testing.T) {
	t.Parallel()
	c := settleCity(t)
	tab := c.serve().open(browsertest.Options{})
	var listed []string
	tab.Go("/keys")
	tab.Eval(`[...document.querySelectorAll("#main dt")].map(e => [...e.querySelectorAll("kbd")].map(k => k.innerText).join(" "))`, &listed)
	plays := map[string]func(){
		"Ctrl K": func() { playCommands(t, tab) },
		"/": func() {
			tab.Type("/")
			tab.Await("the filter has the focus", `document.activeElement.matches("#main input")`)
			tab.Type("gb?jr/")
			var typed string
			if tab.Eval(`document.activeElement.value || ""`, &typed); typed != "gb?jr/" || tab.Path() != "/" {
				t.Errorf("typing into the filter led to %s, and the filter has %q", tab.Path(), typed)
			}
		},
		"j k":   func() { playRows(t, tab) },
		"Enter": func() { playRows(t, tab) },
		"r": func() {
			tab.Go("/services/payment")
			tab.Type("r")
			tab.AwaitText("dialog[open]", "payment")
			tab.Type(browsertest.Escape)
			tab.Await("the dialog is closed", `!document.querySelector("dialog[open]")`)
		},
		"Esc": func() {
			tab.Type("?")
			tab.Await("a dialog is open", `document.querySelector("dialog[open]")`)
			tab.Type(browsertest.Escape)
			tab.Await("it is closed", `!document.querySelector("dialog[open]")`)
		},
		"?": func() {
			tab.Type("?")
			tab.AwaitText("dialog[open]", "Ctrl")
		},
	}
	for _, to := range New(c.deps).nav() {
		if to.Key == "" {
			continue
		}
		plays["g "+to.Key] = func() {
			tab.Go("/keys") // which none of them leads to: whoever is there already cannot be seen to arrive
			tab.Type("g" + to.Key)
			tab.Await("g "+to.Key+" leads to "+to.Href, fmt.Sprintf("location.pathname === %q && document.readyState === 'complete'", to.Href))
		}
	}
	if len(listed) < len(plays) {
		t.Errorf("the page of keys lists %q; %d keys are tested", listed, len(plays))
	}
	for _, keys := range listed {
		play, known := plays[keys]
		if !known {
			t.Errorf("the page of keys lists %q, which no test presses", keys)
			continue
		}
		t.Log(keys)
		tab.Go("/")
		play()
	}
}

// playCommands finds a service in the command bar and goes there.
func playCommands(t *testing.T, tab *browsertest.Tab) {
	t.Helper()
	tab.Ctrl("k")
	tab.Await("the command bar is open and has the focus", `document.querySelector("dialog[open]")?.contains(document.activeElement) && document.activeElement.getAttribute("role") === "combobox"`)
	if got := tab.Axe(); len(got) > 0 {
		t.Errorf("axe on the open command bar: %v", got)
	}
	tab.Type("payment")
	tab.AwaitText("dialog[open] [role=option][aria-selected=true]", "payment")
	tab.Await("an option says how the command line does it", `[...document.querySelectorAll("dialog[open] [role=option]")].some(e => e.innerText.includes("slipway "))`)
	tab.Type(browsertest.Escape)
	tab.Await("it is closed", `!document.querySelector("dialog[open]")`)
	tab.Ctrl("k")
	tab.Await("it is open again", `document.querySelector("dialog[open] [role=combobox]")`)
	tab.Paste("go to services")
	tab.AwaitText("dialog[open] [role=option][aria-selected=true]", "Services")
	tab.Type(browsertest.Enter)
	tab.Await("it leads there", `location.pathname === "/services"`)
}

// playRows walks the rows of the board and opens one.
func playRows(t *testing.T, tab *browsertest.Tab) {
	t.Helper()
	row := `[...document.querySelectorAll("#main table.list > tbody > tr")].findIndex(r => r.contains(document.activeElement))`
	at := func() (n int) { tab.Eval(row, &n); return n }
	tab.Type("j")
	first := at()
	tab.Type("j")
	second := at()
	tab.Type("k")
	if back := at(); first < 0 || second != first+1 || back != first {
		tab.Await("rows are walked one by one", fmt.Sprintf("%d >= 0 && %d === %d + 1 && %d === %d", first, second, first, back, first))
	}
	tab.Type(browsertest.Enter)
	tab.Await("the row is opened", `location.pathname !== "/"`)
}

// The first stop of the tab key skips the navigation, and wherever it stops that
// can be seen.
func TestFocusIsSeen(t *testing.T) {
	t.Parallel()
	c := settleCity(t)
	tab := c.serve().open(browsertest.Options{})
	tab.Type(browsertest.TabKey)
	if got := tab.Focused(); !strings.HasPrefix(got, "Skip to") {
		t.Errorf("the first stop is %q, want the link that skips", got)
	}
	seen := `(() => {
	const e = document.activeElement, s = getComputedStyle(e), r = e.getBoundingClientRect();
	const ring = s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 1;
	return ring && r.width > 0 && r.height > 0 && r.bottom > 0 && r.top < innerHeight;
})()`
	if !tab.Is(seen) {
		t.Error("the link that skips is not seen when it has the focus")
	}
	tab.Type(browsertest.Enter)
	tab.Await("the focus is on what the page says", `document.activeElement.id === "main"`)
	for _, path := range []string{"/", fmt.Sprintf("/changes/%d", c.bad), "/services/payment"} {
		if !c.there(path) {
			continue
		}
		tab.Go(path)
		for n := range 40 {
			tab.Type(browsertest.TabKey)
			if tab.Is("document.activeElement === document.body") {
				break
			}
			if !tab.Is(seen) {
				t.Errorf("%s: stop %d, %q, is not seen", path, n, tab.Focused())
			}
		}
	}
}

// Somebody types into a filter while the page is renewed under it, again and
// again: text, caret and focus stay.
func TestTypingThroughRenewals(t *testing.T) {
	t.Parallel()
	h := build(t).harbor()
	h.every = 50 * time.Millisecond
	tab := h.serve().open(browsertest.Options{})
	tab.Click("#main input[type=search]")
	want := ""
	const renewals = 50
	for i := range renewals {
		if i%2 == 0 {
			if _, err := h.loop.PutHold(t.Context(), control.HoldRequest{Service: "cart", Env: "prod", Why: "a test", By: "ann"}); err != nil {
				t.Fatal(err)
			}
		} else {
			h.lift("cart", "prod")
		}
		letter := string(rune('a' + i%26))
		tab.Type(letter)
		want += letter
		held := i%2 == 0
		tab.Await("the page is renewed", fmt.Sprintf(`document.querySelector("#main tbody").innerText.includes("held") === %t`, held))
		var now struct {
			Text  string
			Caret int
			Has   bool
		}
		tab.Eval(`(e => ({Text: e.value, Caret: e.selectionStart, Has: document.activeElement === e}))(document.querySelector("#main input[type=search]"))`, &now)
		if now.Text != want || now.Caret != len(want) || !now.Has {
			t.Fatalf("after renewal %d of %d: %+v, want %q with the caret behind it and the focus", i+1, renewals, now, want)
		}
	}
}

// A server that is stopped and started again is missed, and the page goes on by
// itself: what was typed is still there, and so is the session.
func TestRestart(t *testing.T) {
	t.Parallel()
	h := build(t).harbor()
	s := h.serve()
	tab := s.open(browsertest.Options{})
	tab.Forgive(func(fault string) bool {
		return strings.Contains(fault, "net::ERR_") || strings.Contains(fault, "Failed to fetch") || strings.Contains(fault, "network error") || // as a stream calls it that is cut off
			strings.Contains(fault, "htmx:error: timeout") // of a server that is slow to come up
	})
	tab.Click("#main input[type=search]")
	tab.Type("pay")
	for round := range 2 {
		s.stop()
		tab.AwaitText("#lost:not([hidden])", "Connection lost")
		if _, err := h.loop.PutHold(t.Context(), control.HoldRequest{Service: "cart", Env: "prod", Why: "meanwhile", By: "ann"}); err != nil {
			t.Fatal(err)
		}
		s.start()
		tab.Await("the page is live again", `document.getElementById("lost").hidden`)
		tab.AwaitText("#main tbody", "held")
		h.lift("cart", "prod")
		tab.Await("the page goes on", `!document.querySelector("#main tbody").innerText.includes("held")`)
		if !tab.Is(`document.activeElement.value === "pay" && document.activeElement.selectionStart === 3`) {
			t.Errorf("round %d: what was typed is %q, want pay and the focus there", round, tab.Focused())
		}
		if tab.Is(`!document.getElementById("gone").hidden`) {
			t.Errorf("round %d: the page says that nobody is signed in", round)
		}
	}
}
