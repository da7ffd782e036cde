package browsertest

import (
	"fmt"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Keys that have no letter.
const (
	Enter     = "\r"
	Escape    = kb.Escape
	TabKey    = "\t"
	ArrowDown = kb.ArrowDown
)

// aim says where to click what an expression finds, once it can be clicked: its page
// has all it loads, it is there, in view, and nothing lies over it. A live page may
// move it before the click arrives, so the next click is let through only if it meets
// what was aimed at.
const aim = `(() => {
	const e = %s;
	if (document.readyState !== "complete" || !e || e.disabled) return null;
	e.scrollIntoView({block: "center", inline: "center", behavior: "instant"});
	const r = e.getClientRects()[0];
	if (!r || !r.width || !r.height) return null;
	const x = r.left + r.width / 2, y = r.top + r.height / 2, top = document.elementFromPoint(x, y);
	if (!top || !e.contains(top) && !top.contains(e)) return null;
	window.aimed?.abort();
	window.aimed = new AbortController();
	window.missed = true;
	addEventListener("click", (click) => {
		window.aimed.abort();
		window.missed = !e.contains(click.target) && (e.contains(top) || !click.target.contains(e));
		if (!window.missed) return;
		click.preventDefault();
		click.stopImmediatePropagation();
	}, {capture: true, signal: window.aimed.signal});
	return {x, y};
})()`

// Click clicks what a selector finds first, with the mouse, when it can be clicked.
func (tab *Tab) Click(selector string) {
	tab.t.Helper()
	tab.clickOn(selector, "document.querySelector("+quote(selector)+")")
}

// Press clicks the link or button that people read as this text.
func (tab *Tab) Press(text string) {
	tab.t.Helper()
	tab.clickOn(text, pressable(text))
}

// pressable finds the link or button that is read as text, the whole of it.
func pressable(text string) string {
	return fmt.Sprintf(`(want => {
	const read = e => (e.innerText || e.getAttribute("aria-label") || "").replace(/\s+/g, " ").trim();
	const open = document.querySelector("dialog[open]") || document;
	const all = [...open.querySelectorAll("a, button, summary, [role=option]")].filter(e => e.getClientRects().length > 0);
	return all.find(e => read(e) === want);
})(%s)`, quote(text))
}

func (tab *Tab) clickOn(what, found string) {
	tab.t.Helper()
	expression := fmt.Sprintf(aim, found)
	for began := time.Now(); time.Since(began) < limit; {
		tab.Await("can be clicked: "+what, expression)
		var at *struct{ X, Y float64 }
		if tab.Eval(expression, &at); at == nil {
			continue // the page changed in between
		}
		tab.do("click "+what, chromedp.MouseClickXY(at.X, at.Y))
		if !tab.listens || !tab.Is("window.missed") { // a page that the click led to knows of none
			return
		}
	}
	tab.t.Fatalf("%s moves away from each click\n%s", what, tab.shown())
}

// Choose chooses the option of a list that begins with this text.
func (tab *Tab) Choose(selector, option string) {
	tab.t.Helper()
	tab.Await("there is a list "+selector, fmt.Sprintf("(e => e && (e.focus(), document.activeElement === e))(document.querySelector(%s))", quote(selector)))
	tab.Pick(option)
}

// Pick chooses the option that begins with this text of the list that has the
// focus, with the arrow keys: what is typed into a list is forgotten after a
// second, which a busy machine may take between two letters.
func (tab *Tab) Pick(option string) {
	tab.t.Helper()
	chosen := fmt.Sprintf("(e => e.options[e.selectedIndex].text.trim().startsWith(%s))(document.activeElement)", quote(option))
	var most int
	tab.Eval("document.activeElement.options.length", &most)
	tab.Type(kb.Home)
	for range most {
		if tab.Is(chosen) {
			return
		}
		tab.Type(ArrowDown)
	}
	tab.t.Fatalf("no option begins with %q\n%s", option, tab.shown())
}

// Type types keys into whatever has the focus.
func (tab *Tab) Type(keys string) { tab.t.Helper(); tab.keys(keys, 0) }

// Ctrl types keys with the control key held.
func (tab *Tab) Ctrl(keys string) { tab.t.Helper(); tab.keys(keys, kb.ModifierCtrl) }

// Paste writes all of a text at once into the field that has the focus.
func (tab *Tab) Paste(text string) {
	tab.t.Helper()
	call(tab, input.InsertText, input.InsertTextParams{Text: text})
}

// keys presses keys as a keyboard does: what a key writes comes with its press, and
// not at all if the page takes the press for itself. They are pressed in one moment,
// however long a busy machine takes to hand them on.
func (tab *Tab) keys(keys string, held kb.Modifier) {
	tab.t.Helper()
	now := input.TimeSinceEpoch(float64(time.Now().UnixMicro()) / 1e6)
	for _, r := range keys {
		events := kb.Encode(r)
		down, up := events[0], events[len(events)-1]
		down.Modifiers |= int64(held)
		up.Modifiers |= int64(held)
		down.Timestamp, up.Timestamp = now, now
		if char := events[1]; char.Type == kb.KeyChar && held == 0 {
			down.Text, down.UnmodifiedText = char.Text, char.UnmodifiedText
		}
		call(tab, input.DispatchKeyEvent, *down)
		call(tab, input.DispatchKeyEvent, *up)
	}
}

// Focused is how people read what has the focus: its text, label or name.
func (tab *Tab) Focused() string {
	tab.t.Helper()
	var text string
	tab.Eval(`(e => (e.innerText || e.getAttribute("aria-label") || (e.labels && e.labels[0] && e.labels[0].innerText) || e.name || e.id || e.tagName).replace(/\s+/g, " ").trim())(document.activeElement)`, &text)
	return text
}

// maxTabs is how many stops of the tab key a page may have before what a test
// wants; nobody presses it more often.
const maxTabs = 300

// TabTo presses the tab key until the link, button or field that a selector finds
// has the focus.
func (tab *Tab) TabTo(selector string) {
	tab.t.Helper()
	tab.tabUntil(selector, "document.activeElement === document.querySelector("+quote(selector)+")")
}

// TabToText presses the tab key until the link or button that people read as text
// has the focus.
func (tab *Tab) TabToText(text string) {
	tab.t.Helper()
	tab.Await("there is "+text, pressable(text))
	tab.tabUntil(text, "document.activeElement === "+pressable(text))
}

func (tab *Tab) tabUntil(what, expression string) {
	tab.t.Helper()
	for range maxTabs {
		if tab.Is(expression) {
			return
		}
		tab.Type(TabKey)
	}
	tab.t.Fatalf("%d stops of the tab key do not lead to %s; the focus is on %q\n%s", maxTabs, what, tab.Focused(), tab.shown())
}

// Drawn waits until the browser has painted twice: what a page draws when its
// window or its colours change is drawn then.
func (tab *Tab) Drawn() {
	tab.t.Helper()
	var done bool
	tab.Eval("new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => resolve(true)))))", &done)
}
