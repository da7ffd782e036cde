package web

import (
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/web/browsertest"
)

// The graph shows who calls whom as the data plane saw it, what failed in words,
// and what is declared and was not seen.
func TestGraph(t *testing.T) {
	t.Parallel()
	h := build(t).harbor()
	var failing []traffic.Block
	for second := range int64(20) {
		failing = append(failing, traffic.Block{Route: "prod/cart", Release: "r1", Caller: "payment", Second: time.Now().Unix() - second, Requests: 50, OK: 40, Server: 10})
	}
	h.m.Count(failing...)
	h.eventually("calls were seen", func() bool { return len(h.loop.Calls("")) >= 4 }, func() string { return fmt.Sprint(h.loop.Calls("")) })
	admin := h.admin()
	r := admin.get("/graph").want(http.StatusOK).says("Who calls whom in prod", "3 services in prod, 4 connections seen", "worst from payment to cart, where 20 % fail", "20 % fail", "outside", "v1 good", "Calls as a table", "failing")
	r.has(`href="/services/payment" id="graph-payment" aria-label="payment v1 good">`, `class="edge is-bad"`, `marker-end="url(#to-is-bad)"`, `<title>shop to cart: `, `hx-sse:connect="/graph"`)
	wellFormed(t, r.Body)
	staging := admin.get("/graph?env=staging").want(http.StatusOK).says("Who calls whom in staging", "No call was seen in the last ten minutes", "declared, not seen")
	staging.has(`class="edge is-unseen"`, `<option selected>staging</option>`)
	around := admin.get("/graph?env=prod&around=cart").want(http.StatusOK)
	around.has(`id="graph-cart"`, `id="graph-shop"`, `id="graph-payment"`).hides("outside to shop")
	admin.get("/graph?env=moon").want(http.StatusNotFound).says(`there is no environment "moon"`)
	admin.get("/graph?around=nobody").want(http.StatusNotFound).says(`there is no service "nobody"`)
	h.nobody().get("/graph").want(http.StatusSeeOther)
	h.anyone().get("/graph").want(http.StatusOK)
}

func TestGraphWithoutServices(t *testing.T) {
	t.Parallel()
	build(t).admin().get("/graph").want(http.StatusOK).says("There is no project yet", "slipway init", "slipway up")
}

// wellFormed holds that the picture of a page is XML, and returns how many elements it has.
func wellFormed(t testing.TB, page string) int {
	t.Helper()
	_, picture, there := strings.Cut(page, `<svg class="graph"`)
	if !there {
		t.Fatalf("there is no picture in:\n%s", page)
	}
	d, n, depth := xml.NewDecoder(strings.NewReader(`<svg class="graph"`+picture)), 0, 0
	for {
		token, err := d.Token()
		if err != nil {
			t.Fatalf("the picture is not well-formed: %v\n%s", err, picture)
		}
		switch token.(type) {
		case xml.StartElement:
			depth++
		case xml.EndElement:
			if depth--; depth == 0 {
				return n
			}
		}
		if e, ok := token.(xml.StartElement); ok {
			n++
			if !slices.Contains([]string{"svg", "defs", "marker", "path", "g", "title", "text", "a", "rect", "use"}, e.Name.Local) {
				t.Fatalf("the picture has a <%s>", e.Name.Local)
			}
			for _, a := range e.Attr {
				if strings.HasPrefix(strings.ToLower(a.Name.Local), "on") || a.Name.Local == "style" {
					t.Fatalf("the picture has %s=%q", a.Name.Local, a.Value)
				}
			}
		}
	}
}

// Names are shown, and do nothing.
func TestGraphOfHostileNames(t *testing.T) {
	t.Parallel()
	w := build(t).pages
	rapid.Check(t, func(rt *rapid.T) {
		g := newCallGraph()
		names := rapid.SliceOfN(rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{hostile, `"><script>alert(1)</script>`, `javascript:alert(1)`, "]]>", "' onload='x", "\x00\x1b[2J", strings.Repeat("long", 3000)})), 1, 8).Draw(rt, "names")
		for i, name := range names {
			n := callNode{ID: fmt.Sprint(i), Name: inert(name), Version: inert(name), Href: "/services/" + url.PathEscape(name), Sign: signFailed}
			g.Nodes[n.ID] = n
			c := g.call(n.ID, fmt.Sprint(rapid.IntRange(0, len(names)-1).Draw(rt, "to")))
			c.Requests, c.Failed, c.Seconds = 10, 5, 10
		}
		for _, e := range g.Calls {
			if _, there := g.Nodes[e.To]; !there {
				rt.Fatal("an edge without its node")
			}
		}
		html, err := w.render(page{Name: "graph-picture", View: g.draw(maxGraphLines)})
		if err != nil {
			rt.Fatal(err)
		}
		wellFormed(t, string(html))
	})
}

// However large a graph is, it is drawn with few boxes; those in trouble stay, and
// no request is lost but those among what is drawn as one.
func TestGraphIsCapped(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := newCallGraph()
		n := rapid.IntRange(1, 200).Draw(t, "services")
		for i := range n {
			s := signGood
			if rapid.IntRange(0, 30).Draw(t, "down") == 0 {
				s = signFailed
			}
			id := fmt.Sprintf("s%03d", i)
			g.Nodes[id] = callNode{ID: id, Name: id, Sign: s}
		}
		for range rapid.IntRange(0, 300).Draw(t, "calls") {
			from, to := rapid.IntRange(0, n-1).Draw(t, "from"), rapid.IntRange(0, n-1).Draw(t, "to")
			g.call(fmt.Sprintf("s%03d", from), fmt.Sprintf("s%03d", to)).Requests += rapid.Uint64Range(0, 1000).Draw(t, "requests")
		}
		before := total(g)
		c := g.capped(maxGraphNodes)
		if len(c.Nodes) > maxGraphNodes || len(g.Nodes) <= maxGraphNodes && !maps.Equal(c.Nodes, g.Nodes) {
			t.Fatalf("%d nodes of %d", len(c.Nodes), len(g.Nodes))
		}
		members, bad := 0, 0
		for id, node := range c.Nodes {
			if members += max(node.Members, 1); node.Members == 0 && g.Nodes[id] != node {
				t.Fatalf("%+v is another one than %+v", node, g.Nodes[id])
			}
		}
		for id, node := range g.Nodes {
			if node.Sign == signFailed {
				if _, stays := c.Nodes[id]; !stays {
					bad++
				}
			}
		}
		if members != n || bad > 0 && n < maxGraphNodes-maxGraphGroups {
			t.Fatalf("%d members of %d; %d in trouble are not drawn", members, n, bad)
		}
		if after := total(c); after > before || len(g.Nodes) <= maxGraphNodes && after != before {
			t.Fatalf("%d requests of %d", after, before)
		}
		for _, e := range c.Calls {
			if _, from := c.Nodes[e.From]; !from {
				t.Fatalf("%+v begins nowhere", e)
			}
			if _, to := c.Nodes[e.To]; !to {
				t.Fatalf("%+v ends nowhere", e)
			}
		}
	})
}

func total(g callGraph) (n uint64) {
	for _, e := range g.Calls {
		n += e.Requests
	}
	return n
}

// A landscape of 500 services is a light page, drawn in a moment.
func TestGraphOfFiveHundred(t *testing.T) {
	t.Parallel()
	const services = 500
	var yaml strings.Builder
	yaml.WriteString("project: town\nservices:\n")
	var blocks []traffic.Block
	now := time.Now().Unix()
	for i := range services {
		fmt.Fprintf(&yaml, "  service-with-a-name-%03d: { run: ./s, needs: [service-with-a-name-%03d] }\n", i, (i*7+1)%services)
		for k := range 6 {
			blocks = append(blocks, traffic.Block{Route: fmt.Sprintf("prod/service-with-a-name-%03d", (i*(k+3)+k)%services), Caller: fmt.Sprintf("service-with-a-name-%03d", i), Release: "r1", Second: now, Requests: uint64(1 + i*k), Server: uint64(i * k / 10)})
		}
	}
	yaml.WriteString("environments: [staging, prod]\n")
	h := build(t).project(yaml.String()).run()
	h.m.Count(blocks...)
	h.eventually("calls were seen", func() bool { return len(h.loop.Calls("")) > 5*services }, func() string { return fmt.Sprint(len(h.loop.Calls(""))) })
	admin := h.admin()
	var r *reply
	took := time.Hour
	for range 3 { // other work on the machine only adds to it
		began := time.Now()
		r = admin.get("/graph").want(http.StatusOK).says("500 services in prod", "more calls are not drawn", "and ", " more")
		took = min(took, time.Since(began))
	}
	elements := wellFormed(t, r.Body)
	t.Logf("%d bytes, %d elements, in %v", len(r.Body), elements, took.Round(time.Millisecond))
	if len(r.Body) >= 100_000 || took > 5*time.Second {
		t.Errorf("%d bytes in %v; want less than 100,000 in a moment", len(r.Body), took)
	}
	if boxes := strings.Count(r.Body, `<svg class="node`); boxes > maxGraphNodes || boxes < maxGraphNodes-maxGraphGroups {
		t.Errorf("%d boxes, want about %d", boxes, maxGraphNodes)
	}
}

func TestRates(t *testing.T) {
	for rate, want := range map[float64]string{0: "0.0/s", 0.01: "under 0.1/s", 0.5: "0.5/s", 12.4: "12/s", 304: "300/s", 1234: "1.2 k/s", 45_678: "46 k/s"} {
		if got := aSecond(rate); got != want {
			t.Errorf("aSecond(%v) = %q, want %q", rate, got, want)
		}
	}
}

// While calls come and go, who looks keeps what they opened, chose and are at.
func TestGraphInABrowser(t *testing.T) {
	t.Parallel()
	h := build(t).harbor()
	h.eventually("calls were seen", func() bool { return len(h.loop.Calls("")) >= 3 }, func() string { return fmt.Sprint(h.loop.Calls("")) })
	tab := h.serve().open(browsertest.Options{})
	tab.Go("/graph")
	tab.AwaitText("main", "3 connections seen between them, none of them failing")
	tab.Click("#graph-calls > summary")
	var chosen string
	tab.Eval(`(() => { const s = document.querySelector("#graph-around"); s.value = "payment"; document.querySelector("#graph-cart").focus(); return s.value })()`, &chosen)
	var failing []traffic.Block
	for second := range int64(20) {
		failing = append(failing, traffic.Block{Route: "prod/cart", Release: "r1", Caller: "payment", Second: time.Now().Unix() - second, Requests: 50, OK: 40, Server: 10})
	}
	h.m.Count(failing...)
	tab.AwaitText("main", "worst from payment to cart, where 20 % fail")
	tab.AwaitText("#graph-calls", "failing")
	for what, holds := range map[string]string{
		"the table is open":               `document.querySelector("#graph-calls").open`,
		"the choice is kept":              `document.querySelector("#graph-around").value === "payment"`,
		"the focus is where":              `document.activeElement.id === "graph-cart"`,
		"a line is red":                   `getComputedStyle(document.querySelector(".edge.is-bad")).stroke !== getComputedStyle(document.querySelector(".edge.is-good")).stroke`,
		"thick is a matter of attributes": `document.querySelectorAll(".graph [style]").length === 0`,
	} {
		if !tab.Is(holds) {
			t.Errorf("it is not so that %s", what)
		}
	}
	tab.Type(browsertest.Enter)
	tab.Await("the service is there", `location.pathname === "/services/cart"`)
	for _, fault := range tab.Faults() {
		t.Error(fault)
	}
}
