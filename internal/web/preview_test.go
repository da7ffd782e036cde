package web

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

var headerShown = regexp.MustCompile(`id="preview-header">Slipway-Preview: ([^<]+)<`)

// signs holds that whoever may deploy has a header signed for the release under way,
// which is shown once and opens it; and nobody else has.
func (c *city) signs(a *person) {
	c.t.Helper()
	change := fmt.Sprintf("/changes/%d?env=prod", c.flying)
	a.get(change).want(http.StatusOK).says("Look at v2 in prod before all callers get it", "Host cart.localhost", "Sign a header").has(`action="/previews"`)
	a.get(fmt.Sprintf("/changes/%d", c.bad)).want(http.StatusOK).hides("before all callers get it")

	form := url.Values{"service": {"cart"}, "env": {"prod"}, "version": {"v2"}}
	r := c.deployer().post("/previews", form).want(http.StatusOK).says("Preview of cart v2", "Good in prod until", "It is shown this once", "curl -H 'Host: cart.localhost' -H 'Slipway-Preview: ")
	shown := headerShown.FindStringSubmatch(r.Body)
	if shown == nil {
		c.t.Fatalf("no header is shown:\n%s", r.Body)
	}
	want, ok := traffic.CheckPreview([]byte(previewKey), "prod/cart", html.UnescapeString(shown[1]), time.Now())
	if !ok || delivery.ReleaseID(want) != c.releases["cart v2"] {
		c.t.Errorf("the header asks for %q (%t), want cart v2, %s", want, ok, c.releases["cart v2"])
	}
	if r.Header.Get("Cache-Control") != "no-store" {
		c.t.Errorf("Cache-Control = %q, want that a header is kept nowhere", r.Header.Get("Cache-Control"))
	}
	a.get(change).want(http.StatusOK).hides(html.UnescapeString(shown[1]))

	c.reader().post("/previews", form).want(http.StatusForbidden)
	c.nobody().post("/previews", form).want(http.StatusForbidden)
	a.post("/previews", url.Values{"service": {"payment"}, "env": {"prod"}}).want(http.StatusConflict).says("nothing of payment is under way in prod")
}
