package web

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/slipway-cd/slipway/internal/web/browsertest"
)

// open opens a tab in which somebody is signed in with the server's token.
func (s *served) open(o browsertest.Options) *browsertest.Tab {
	s.h.t.Helper()
	return s.openFor(s.h.t, o)
}

// openFor is open for a part of the test.
func (s *served) openFor(t testing.TB, o browsertest.Options) *browsertest.Tab {
	t.Helper()
	o.Origin = "http://" + s.addr
	tab := chromium.Open(t, o)
	tab.Go("/sign-in")
	tab.Click("#token")
	tab.Type(testToken + browsertest.Enter)
	tab.Await("the board is there", `location.pathname === "/" && document.readyState === "complete"`)
	return tab
}

// expected says whether a fault is the status of a page that is not there or
// refuses, which the browser tells in its console.
func expected(fault string) bool {
	return strings.Contains(fault, "Failed to load resource: the server responded with a status of 4")
}

// Every page, in light and in dark, on a phone and on a wide screen: nothing
// that axe knows is wrong with it, nothing is wider than the window, nothing is
// asked of another origin, no policy is broken, and the console says nothing.
func TestPages(t *testing.T) {
	t.Parallel()
	c := settleCity(t)
	s := c.serve()
	paths := c.paths()
	t.Logf("%d addresses: %s", len(paths), strings.Join(paths, " "))
	for _, dark := range []bool{false, true} {
		t.Run(fmt.Sprintf("dark %t", dark), func(t *testing.T) {
			t.Parallel()
			tab := s.openFor(t, browsertest.Options{Dark: dark})
			tab.Forgive(expected)
			for _, path := range paths {
				lookAt(t, tab, path)
			}
		})
	}
}

// lookAt opens a page and looks at it in three widths.
func lookAt(t *testing.T, tab *browsertest.Tab, path string) {
	t.Helper()
	tab.Go(path)
	for _, width := range []int{2560, 1280, 360} {
		tab.Size(width, 900)
		at := fmt.Sprintf("%s, %d wide", path, width)
		overflow(t, tab, at)
		if width == 360 {
			var cut []string
			if tab.Eval(cutRows, &cut); len(cut) > 0 {
				t.Errorf("%s: rows that are cards are wider than their card: %q", at, cut)
			}
		}
		if width == 2560 {
			continue
		}
		for _, v := range tab.Axe() {
			t.Errorf("%s: %s", at, v)
		}
	}
	for _, fault := range tab.Faults() {
		t.Errorf("%s: %s", path, fault)
	}
	tab.Size(1280, 900)
}

// sticksOut lists what is wider than the window, if the page is.
const sticksOut = `(() => {
	const w = document.documentElement.clientWidth;
	if (document.documentElement.scrollWidth <= w) return [];
	return [w + " < " + document.documentElement.scrollWidth, ...[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > w + 1)
		.slice(0, 5).map(e => e.tagName + "." + e.getAttribute("class") + "#" + e.id + " to " + Math.round(e.getBoundingClientRect().right))];
})()`

// cutRows lists the tables of cards that nobody sees the whole of without scrolling.
const cutRows = `[...document.querySelectorAll(".scroll:has(> table.fold)")].filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.getAttribute("aria-label") || e.getAttribute("aria-labelledby"))`

// overflow holds that the page is no wider than the window once its charts are
// drawn anew, and says what sticks out.
func overflow(t *testing.T, tab *browsertest.Tab, at string) {
	t.Helper()
	var wide []string
	for range 100 {
		if tab.Eval(sticksOut, &wide); len(wide) == 0 {
			return
		}
		tab.Eval("new Promise(resolve => requestAnimationFrame(() => resolve([])))", &[]string{})
	}
	t.Errorf("%s is wider than the window: %q", at, wide)
}

// A page is light on a slow line, each of them, and so is all that they load.
func TestWeights(t *testing.T) {
	t.Parallel()
	c := settleCity(t)
	admin := c.admin()
	const most = 100_000
	for _, path := range c.paths() {
		r := admin.get(path)
		t.Logf("%7d bytes  %s", len(r.Body), path)
		if len(r.Body) >= most {
			t.Errorf("%s has %d bytes of HTML, want less than %d", path, len(r.Body), most)
		}
		if r.Status >= http.StatusInternalServerError {
			t.Errorf("%s = %d", path, r.Status)
		}
	}
	all := 0
	for name, f := range gather() {
		t.Logf("%7d bytes, %d compressed  %s", len(f.plain), len(f.small), name)
		all += len(f.small)
	}
	if t.Logf("%7d bytes of assets, compressed", all); all >= 2*most {
		t.Errorf("all assets have %d bytes compressed, want less than %d", all, 2*most)
	}
}
