package browsertest

import (
	"fmt"
	"time"

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

// point says where to click what an expression finds, once it can be clicked:
// it is there, in view, and nothing lies over it.
const point = `(() => {
	const e = %s;
	if (!e || e.disabled) return null;
	e.scrollIntoView({block: "center", inline: "center", behavior: "instant"});
	const r = e.getClientRects()[0];
	if (!r || !r.width || !r.height) return null;
	const x = r.left + r.width / 2, y = r.top + r.height / 2, top = document.elementFromPoint(x, y);
	return top && (e.contains(top) || top.contains(e)) ? {x, y} : null;
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

// pressable finds the link or button that is read as text: the whole of it before a part.
func pressable(text string) string {
	return fmt.Sprintf(`(want => {
	const read = e => (e.innerText || e.getAttribute("aria-label") || "").replace(/\s+/g, " ").trim();
	const open = document.querySelector("dialog[open]") || document;
	const all = [...open.querySelectorAll("a, button, summary, [role=option]")].filter(e => e.getClientRects().length > 0);
	return all.find(e => read(e) === want) || all.find(e => read(e).includes(want));
})(%s)`, quote(text))
}

func (tab *Tab) clickOn(what, found string) {
	tab.t.Helper()
	expression := fmt.Sprintf(point, found)
	tab.Await("can be clicked: "+what, expression)
	var at *struct{ X, Y float64 }
	if tab.Eval(expression, &at); at == nil { // the page changed in between
		tab.Await("can still be clicked: "+what, expression)
		tab.Eval(expression, &at)
	}
	if at == nil {
		tab.t.Fatalf("%s comes and goes\n%s", what, tab.shown())
	}
	tab.do("click "+what, chromedp.MouseClickXY(at.X, at.Y))
}

// Type types keys into whatever has the focus.
func (tab *Tab) Type(keys string) {
	tab.t.Helper()
	tab.do(fmt.Sprintf("type %q", keys), chromedp.KeyEvent(keys))
}

// Ctrl types keys with the control key held.
func (tab *Tab) Ctrl(keys string) {
	tab.t.Helper()
	tab.do("type Ctrl "+keys, chromedp.KeyEvent(keys, chromedp.KeyModifiers(chromedp.ModifierCtrl)))
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

// Still waits until the page has not changed for a moment.
func (tab *Tab) Still(quiet time.Duration) {
	tab.t.Helper()
	var done bool
	tab.Eval(fmt.Sprintf(`new Promise(resolve => {
	let timer = setTimeout(() => { watch.disconnect(); resolve(true) }, %d);
	const watch = new MutationObserver(() => { clearTimeout(timer); timer = setTimeout(() => { watch.disconnect(); resolve(true) }, %[1]d) });
	watch.observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
})`, quiet.Milliseconds()), &done)
}
