package web

import (
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/control/controltest"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/web/browsertest"
	"github.com/slipway-cd/slipway/internal/workload"
)

// chromium is the one browser of all tests of this package; it starts with the
// first test that wants a tab.
var chromium browsertest.Browser

func TestMain(m *testing.M) {
	code := m.Run()
	chromium.Close()
	os.Exit(code)
}

// city is a house in which everything that pages show is going on at once.
type city struct {
	*house
	good, bad, flying, config delivery.ChangeID // payment v2; payment v3-bad; cart v2, paused; a bad configuration of payment
	releases                  map[string]delivery.ReleaseID
}

// hostile is a text that somebody wrote to break a page.
const hostile = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \x1b[31mred\x1b[0m \u202eright to left\u202c &amp; \"'"

// settleCity makes a city. It takes as long as its rollouts do.
func settleCity(t testing.TB) *city {
	t.Helper()
	c := &city{house: build(t), releases: map[string]delivery.ReleaseID{}}
	c.harbor()
	c.good = c.deploy("payment", "v2")
	c.settled(c.good)
	c.m.Behave("v3-bad", controltest.Way{Fail: 0.5, Says: "bank client: " + hostile})
	c.bad = c.submit(control.Submission{Service: "payment", Version: "v3-bad", Bundle: c.bundle("payment v3-bad"), Reason: "use the new bank client " + hostile, Commit: "9f2c71ab"})
	c.settled(c.bad)
	c.config = c.submit(control.Submission{Service: "shop", Set: map[string]string{"BANNER": "on " + hostile}, Env: "staging"})
	c.settled(c.config)
	c.project(strings.Replace(harborYAML, "weight: 25, hold: 1s", "weight: 25, hold: 1h", 1)) // cart v2 must not be further when it is paused
	c.flying = c.deploy("cart", "v2")
	c.rollout(c.flying, "prod", "cart v2 has a share of prod", func(r delivery.Rollout) bool { return r.State == delivery.Judging })
	if _, err := c.loop.Ask(t.Context(), delivery.AskPause, control.Request{Change: c.flying, Reason: "lunch", By: "ann"}); err != nil {
		t.Fatal(err)
	}
	c.rollout(c.flying, "prod", "cart v2 is paused", func(r delivery.Rollout) bool { return r.Paused != nil })
	if _, err := c.loop.PutHold(t.Context(), control.HoldRequest{Service: "shop", Env: "prod", Why: "the sale is on until Monday " + hostile, By: "ann"}); err != nil {
		t.Fatal(err)
	}
	for _, service := range []string{"shop", "cart", "payment"} {
		all, err := c.store.Releases(t.Context(), service, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, rel := range all {
			c.releases[service+" "+rel.Version] = rel.ID
		}
	}
	c.chatter()
	return c
}

// chatter makes instances write lines of all sorts.
func (c *city) chatter() {
	id := workload.ID("prod.payment." + string(c.releases["payment v2"]) + ".0")
	c.m.Say(id, `{"level":"INFO","msg":"listening"}`)
	c.m.Say(id, `{"level":"ERROR","msg":"bank refused","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}`)
	c.m.Say(id, hostile)
	c.m.Say(id, strings.Repeat("x", 10_000))
	c.m.Fail(traffic.Sample{At: time.Now(), Route: "prod/payment", Release: c.releases["payment v2"], Method: "GET", Path: "/" + hostile, Status: 500, Error: hostile})
}

// wild are the values of the wildcards of page patterns, by their names.
func (c *city) wild() map[string][]string {
	ids := func(all ...delivery.ChangeID) (out []string) {
		for _, id := range all {
			out = append(out, fmt.Sprint(id))
		}
		return out
	}
	services := []string{"payment", "cart", "shop"}
	changes := ids(c.bad, c.flying, c.good, c.config)
	return map[string][]string{
		"service": services, "name": services, "svc": services, "env": {"prod", "staging"}, "id": changes, "change": changes, "number": changes, "trace": {"4bf92f3577b34da6a3ce929d0e0e4736"},
		"verb": {"deploy", "rollback", "promote", "pause", "resume", "abort", "hold", "release", "switch"},
	}
}

var (
	getRoute = regexp.MustCompile(`"GET (/[^" ]*)"`)
	wildcard = regexp.MustCompile(`\{([a-z]+)(?:\.\.\.)?\}`)
)

// patterns are those of every route of the pages that a browser can open, read
// from the source, so that no test can forget a new page.
func patterns(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		src, err := os.ReadFile(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range getRoute.FindAllStringSubmatch(string(src), -1) {
			if m[1] != "/static/" && !slices.Contains(out, m[1]) {
				out = append(out, m[1])
			}
		}
	}
	if len(out) < 2 {
		t.Fatalf("routes are %q; are they written in another way now?", out)
	}
	return out
}

// paths are addresses of every page, with all values of its wildcards, and of
// what is not there.
func (c *city) paths() []string {
	c.t.Helper()
	var out []string
	for _, pattern := range patterns(c.t) {
		out = append(out, c.fill(strings.TrimSuffix(pattern, "{$}"))...)
	}
	out = append(out, c.queries()...)
	return append(out, "/changes/999999", "/services/none", "/nowhere"+url.PathEscape("<b>"))
}

// queries are addresses that show more of a page than its path alone.
func (c *city) queries() []string {
	var out []string
	for _, path := range []string{
		"/?q=pay", "/?q=nothing-like-it", "/changes?service=payment&outcome=rolled-back", "/changes?q=nothing-like-it",
		"/act/deploy?service=payment&version=v1", "/act/deploy?service=cart&set=LEVEL%3D2&planned=1", "/act/rollback?service=payment&env=prod", "/act/hold?service=cart&env=prod",
		"/act/release?service=payment&version=v3-bad", fmt.Sprintf("/act/resume?change=%d", c.flying), fmt.Sprintf("/act/abort?change=%d", c.flying),
		"/environments?from=staging&to=prod", "/numbers?q=" + url.QueryEscape("sum(rate("), "/sign-in?to=%2Fchanges",
	} {
		bare, _, _ := strings.Cut(path, "?")
		if c.there(bare) {
			out = append(out, path)
		}
	}
	return out
}

// there reports whether a page answers at a path.
func (c *city) there(path string) bool {
	r := c.admin().get(path)
	return !strings.Contains(r.text(), "there is no page")
}

// fill puts values in the place of wildcards, one after the other.
func (c *city) fill(pattern string) []string {
	c.t.Helper()
	m := wildcard.FindStringSubmatch(pattern)
	if m == nil {
		return []string{pattern}
	}
	values, known := c.wild()[m[1]]
	if !known {
		c.t.Fatalf("the route %s has a wildcard {%s} that city.wild has no values for: add some, so that browsers look at it", pattern, m[1])
	}
	var out []string
	for _, v := range values {
		out = append(out, c.fill(strings.Replace(pattern, m[0], v, 1))...)
	}
	return out
}
