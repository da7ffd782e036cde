package web

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/access"
	"github.com/slipway-cd/slipway/internal/porttest"
	"github.com/slipway-cd/slipway/internal/web/browsertest"
)

// stage is a server with one page of a test, at /stage, behind the guard of a house.
type stage struct {
	h    *house
	show show
	addr string
	stop func()
}

// put serves a page until the test ends.
func (h *house) put(show show) *stage {
	h.t.Helper()
	s := &stage{h: h, show: show, addr: porttest.Free(h.t)}
	s.start()
	h.t.Cleanup(func() { s.stop() })
	return s
}

// start listens, each time where it did before.
func (s *stage) start() {
	s.h.t.Helper()
	l, err := (&net.ListenConfig{}).Listen(s.h.t.Context(), "tcp", s.addr)
	if err != nil {
		s.h.t.Fatal(err)
	}
	d := s.h.deps
	d.Guard = access.New(access.Deps{Root: testToken, Addr: s.addr, Store: d.Store})
	pages := New(d)
	pages.every = 100 * time.Millisecond
	pages.page("GET /stage", s.show)
	server := httptest.NewUnstartedServer(pages)
	server.Listener.Close()
	server.Listener = l
	server.Start()
	s.stop = sync.OnceFunc(func() {
		pages.HangUp()
		server.CloseClientConnections()
		server.Close()
	})
}

// open opens the page in a tab.
func (s *stage) open(o browsertest.Options) *browsertest.Tab {
	s.h.t.Helper()
	o.Origin = "http://" + s.addr
	tab := chromium.Open(s.h.t, o)
	tab.Go("/sign-in?to=/stage")
	tab.Click("#token")
	tab.Type(testToken + browsertest.Enter)
	tab.Await("the page is there", `location.pathname === "/stage" && document.readyState === "complete"`)
	return tab
}

// drawnChart is a chart of n values that end with a large one.
func drawnChart(n int) chart {
	values := make([]float64, n)
	for i := range values {
		values[i] = 120_000 + 1000*math.Sin(float64(i)/9)
	}
	values[n/2], values[n-1] = math.NaN(), float64(n)
	return chart{
		ID: "c", Title: "Latency", Unit: "ms", Sentence: "Latency is high.", From: 1_766_000_000, To: 1_766_000_000 + int64(n) - 1, Offset: 5 * 3600, Zone: "PKT",
		Series: []series{{Name: "canary v2", Class: "canary", Values: values}}, Band: band{Name: "99 % interval", Class: "canary", Low: values, High: values},
		Marks: []mark{{At: 1_766_000_060, Text: "25 %", Kind: "step"}, {At: 1_766_000_090, Text: "rolled back", Kind: "back"}},
	}
}

// A chart is drawn to its edges and no label is cut, at any width; new numbers
// change it in place; its times are the server's; another theme draws it anew.
func TestChartIsDrawn(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	n.Store(121) // its last second has a label, at the very edge
	s := build(t).put(func(context.Context, request) (page, error) {
		return page{Title: "Stage", Name: "chart", View: drawnChart(int(n.Load())), Live: true}, nil
	})
	tab := s.open(browsertest.Options{})
	tab.Forgive(func(fault string) bool { return strings.Contains(fault, "willReadFrequently") }) // it is this test that reads
	tab.Await("the chart is drawn", `document.querySelector("slipway-chart canvas")?.width > 100`)
	const inkAt = `(() => { const c = document.querySelector("slipway-chart canvas"), all = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
		let ink = 0; for (let y = 0; y < c.height; y++) for (const x of [0, 1, c.width - 1]) ink += all[(y * c.width + x) * 4 + 3]; return ink; })()`
	for _, width := range []int{360, 1280, 2560} {
		tab.Size(width, 900)
		tab.Await(fmt.Sprintf("the chart fills %d", width), `(() => { const e = document.querySelector("slipway-chart"), c = e.querySelector("canvas"); return Math.abs(c.getBoundingClientRect().width - e.clientWidth) <= 1 })()`)
		tab.Await(fmt.Sprintf("no label is cut at %d", width), inkAt+" === 0")
	}
	tab.Size(1280, 900)
	tab.AwaitText("#c .legend", "canary v2 (band: 99 % interval)")
	tab.AwaitText("#c .legend", "PKT")

	tab.Eval(`document.querySelector("slipway-chart canvas").mine = true`, new(bool))
	n.Store(150)
	tab.Await("the numbers are new", `JSON.parse(document.querySelector("slipway-chart").dataset.chart).s[0][3].length === 150`)
	if !tab.Is(`document.querySelector("slipway-chart canvas").mine === true`) {
		t.Error("new numbers build the chart anew, want them drawn in place")
	}

	tab.Await("the legend tells the value under the cursor", `(() => { const over = document.querySelector("slipway-chart .u-over"), r = over.getBoundingClientRect();
		over.dispatchEvent(new MouseEvent("mousemove", { bubbles: true, clientX: r.right - 1, clientY: r.top + 20 }));
		const text = document.querySelector("#c .legend").textContent; return text.includes("150\u00a0ms") && text.includes("00:35:49 PKT") })()`)

	var light, dark string
	const colour = `(() => { const c = document.querySelector("slipway-chart canvas"); return c.toDataURL() })()`
	tab.Eval(colour, &light)
	tab.Theme(true)
	tab.Await("the chart is dark", colour+" !== "+fmt.Sprintf("%q", light))
	tab.Eval(colour, &dark)
	tab.Theme(false)
	tab.Await("the chart is light again", colour+" !== "+fmt.Sprintf("%q", dark))

	tab.Click("#c-data > summary")
	tab.AwaitText("#c-data", "highest")
	n.Store(160)
	tab.Await("the numbers are new again", `JSON.parse(document.querySelector("slipway-chart").dataset.chart).s[0][3].length === 160`)
	if !tab.Is(`document.querySelector("#c-data").open`) {
		t.Error("the data that was opened is closed by new numbers")
	}
	for _, v := range tab.Axe() {
		if v.ID != "page-has-heading-one" { // there is nothing but the chart
			t.Error(v)
		}
	}
}

// A chosen theme is there before anything is painted on the next page, and
// "system" is the system's again.
func TestTheme(t *testing.T) {
	t.Parallel()
	s := build(t).put(func(context.Context, request) (page, error) {
		return page{Title: "Stage", Name: "chart", View: drawnChart(20)}, nil
	})
	tab := s.open(browsertest.Options{Dark: true})
	const background = `getComputedStyle(document.body).backgroundColor`
	var dark, light string
	tab.Eval(background, &dark)
	tab.Click("#theme")
	tab.Await("the theme is light", `document.documentElement.dataset.theme === "light"`)
	tab.Eval(background, &light)
	if dark == light {
		t.Errorf("light and dark are both %s", light)
	}
	tab.Go("/stage")
	tab.Await("the theme is still light", background+" === "+fmt.Sprintf("%q", light))
	if !tab.Is(`document.head.querySelector("script").src.includes("/theme.") && !document.head.querySelector("script").defer`) {
		t.Error("the first script is not the one that sets the theme before anything is painted")
	}
	tab.Click("#theme") // dark
	tab.Click("#theme") // the system's
	tab.Await("the theme is the system's", `document.documentElement.dataset.theme === undefined && localStorage.getItem("slipway.theme") === null && `+background+" === "+fmt.Sprintf("%q", dark))
}

// A lost connection is said within a few seconds, with the time of what is seen,
// and heals by itself: nothing that a person typed, opened, focused or scrolled to
// is lost. A page that was made by another build says so.
func TestConnectionIsLostAndHeals(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	n.Store(1)
	s := build(t).put(func(_ context.Context, q request) (page, error) {
		return page{Title: "Stage", Name: "commands", View: commandsView{Query: "", Found: []command{{Icon: "service", Text: fmt.Sprintf("moment %d", n.Load()), Href: "/"}}}, Live: true}, nil
	})
	tab := s.open(browsertest.Options{Width: 360})
	tab.Forgive(func(string) bool { return true }) // a server that is down is the test
	tab.AwaitText("main", "moment 1")
	tab.Click("main input[type=search]")
	tab.Type("half typed")
	n.Store(2)
	tab.AwaitText("main", "moment 2")
	if tab.Is("!document.getElementById('lost').hidden") {
		t.Error("the connection is said to be lost while it is there")
	}
	s.stop()
	tab.Await("the loss is said", `!document.getElementById("lost").hidden`)
	if text := tab.Text("#lost"); !strings.Contains(text, "Connection lost.") || strings.Count(text, ":") < 2 {
		t.Errorf("the loss reads %q", text)
	}
	n.Store(3)
	s.start()
	tab.AwaitText("main", "moment 3")
	tab.Await("the loss is over", `document.getElementById("lost").hidden`)
	if !tab.Is(`document.querySelector("main input[type=search]").value === "half typed" && document.activeElement === document.querySelector("main input[type=search]")`) {
		t.Error("what was being typed is lost")
	}
	if tab.Is("!document.getElementById('renewed').hidden") {
		t.Error("the same build is said to be another one")
	}
	tab.Eval(`document.documentElement.dataset.build = "other"`, new(string))
	s.stop()
	s.start()
	tab.Await("another build is said", `!document.getElementById("renewed").hidden`)
}

// Where nobody is signed in any more a page says so, stays as it was, and asks no more.
func TestGone(t *testing.T) {
	t.Parallel()
	s := build(t).put(func(context.Context, request) (page, error) {
		return page{Title: "Stage", Name: "chart", View: drawnChart(20), Live: true}, nil
	})
	tab := s.open(browsertest.Options{})
	tab.Await("it is live", `document.getElementById("main")._htmx?.sse !== undefined`)
	var out bool
	tab.Eval(`fetch("/sign-out", { method: "POST" }).then((r) => r.ok)`, &out)
	if !out {
		t.Fatal("the session could not be ended")
	}
	tab.Await("it is said", `!document.getElementById("gone").hidden`)
	tab.AwaitText("#gone", "Sign in again")
	tab.Await("nothing is asked any more", `document.getElementById("main")._htmx?.sse === undefined`)
	tab.AwaitText("main", "Latency")
}

// Everything can be reached from the keyboard, and nothing while somebody types.
func TestKeys(t *testing.T) {
	t.Parallel()
	h := build(t).harbor()
	s := h.put(func(context.Context, request) (page, error) {
		return page{Tab: "board", Title: "Stage", Name: "commands", View: commandsView{Found: []command{{Icon: "service", Text: "cart", Href: "/keys"}}}}, nil
	})
	tab := s.open(browsertest.Options{})
	tab.Forgive(expected) // nothing is there yet to roll back to

	const blur = `document.activeElement.blur() === undefined`
	tab.Await("the page gave its field the focus, which it does a moment after it is loaded", `document.activeElement.matches("main input[type=search]")`)
	tab.Eval(blur, new(bool))
	tab.Type("?")
	tab.AwaitText("#dialog[open] h1", "Keyboard")
	for _, v := range tab.Axe() {
		t.Error(v)
	}
	tab.Type(browsertest.Escape)
	tab.Await("the dialog is closed", `!document.getElementById("dialog").open`)

	tab.Type("/")
	tab.Await("the filter has the focus", `document.activeElement.matches("main input[type=search]")`)
	tab.Type("?gbjk")
	tab.Await("keys are text in a field", `document.activeElement.value?.endsWith("?gbjk") && !document.getElementById("dialog").open && location.pathname === "/stage"`)

	tab.Ctrl("k")
	tab.Await("the commands are there", `document.activeElement.matches("#dialog[open] [role=combobox]")`)
	tab.Type("roll cart prod")
	tab.AwaitText("#choice-0", "Roll back cart in prod…")
	tab.AwaitText("#choice-0", "slipway rollback cart --env prod")
	for _, v := range tab.Axe() {
		t.Error(v)
	}
	tab.Type(browsertest.Enter)
	tab.AwaitText("#dialog[open]", "there is nothing to go back to")
	tab.Type(browsertest.Escape)
	tab.Await("the focus is back", `!document.getElementById("dialog").open`)
	tab.Ctrl("k")
	tab.Await("the commands are there again", `document.activeElement.matches("#dialog[open] [role=combobox]")`)
	tab.Paste("go to") // at once, so that it is asked for once
	tab.Await("the list is of what goes somewhere", `document.querySelector("#choice-0[aria-selected=true]")?.innerText.includes("Go to") && ![...document.querySelectorAll("#choices [role=option]")].some(e => !e.innerText.includes("Go to"))`)
	tab.Type(browsertest.ArrowDown)
	tab.Await("the second is chosen", `document.querySelector("[role=combobox]").getAttribute("aria-activedescendant") === "choice-1" && document.querySelector("#choice-1").getAttribute("aria-selected") === "true"`)
	tab.Type(browsertest.Escape)

	tab.Eval(blur, new(bool))
	tab.Type("gb")
	tab.Await("the board is there", `location.pathname === "/"`)
}
