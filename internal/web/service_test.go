package web

import (
	"math"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/workload"
)

// The spark of a rollout has both arms on one scale, with gaps where nobody asked.
func TestErrorSpark(t *testing.T) {
	at := func(i int64, canary, bad uint64) control.Point {
		return control.Point{Second: 1000 + i*control.LatelyStep, Stable: control.Side{Units: 100, Bad: 1}, Canary: control.Side{Units: canary, Bad: bad}}
	}
	f := control.Flying{Rollout: delivery.Rollout{Version: "v2", Was: "v1"}, Lately: []control.Point{at(0, 0, 0), at(1, 10, 1), at(3, 10, 3)}}
	s := errorSpark(f)
	if s.Label != "Failed requests lately: 20 % of v2, 1.0 % of v1" || len(s.Lines) != 2 {
		t.Errorf("spark = %+v", s)
	}
	if canary := s.Lines[1]; canary.Class != "canary" || strings.Count(canary.Path, "M") != 2 {
		t.Errorf("canary = %+v, want a gap", canary)
	}
	if s := errorSpark(control.Flying{}); len(s.Lines) != 0 {
		t.Errorf("a spark of nothing = %+v", s)
	}
	if v := gaps(2); !math.IsNaN(v[0]) || len(v) != 2 {
		t.Errorf("gaps = %v", v)
	}
}

// A spark leaves out the time before anything is known, down to a least width.
func TestSparkSinceFirst(t *testing.T) {
	known := func(gap, n int) []float64 { return append(gaps(gap), make([]float64, n)...) }
	for _, c := range []struct{ gap, n, want int }{{90, 10, 12}, {80, 20, 20}, {0, 100, 100}, {100, 0, 12}, {0, 5, 5}} {
		lines := []series{{Values: known(c.gap, c.n)}, {Values: gaps(c.gap + c.n)}}
		if got := sinceFirst(lines, 12); got != c.want || len(lines[0].Values) != c.want || len(lines[1].Values) != c.want {
			t.Errorf("%d gaps and %d values leave %d places and %d, %d values, want %d of each", c.gap, c.n, got, len(lines[0].Values), len(lines[1].Values), c.want)
		}
	}
}

// The list of services: what they are asked, how many instances are well.
func TestServicesOfACity(t *testing.T) {
	t.Parallel()
	c := settleCity(t)
	a := c.admin()
	r := a.get("/services").want(http.StatusOK).says("3 of 3 services", "requests of the last minute in prod", "req/s", "2 of 2", "v3-bad", "good")
	if text := r.text(); strings.Index(text, "cart v2") > strings.Index(text, "payment v3-bad") {
		t.Errorf("services are not by name:\n%s", text)
	}
	a.get("/services?env=staging").want(http.StatusOK).says("requests of the last minute in staging", "none")
	a.get("/services?q=pay").want(http.StatusOK).says("1 of 3 services", "payment").hides("cart v2")
	a.get("/services?q=zebra").want(http.StatusOK).says("No service is like that")
	a.get("/services?env=x").want(http.StatusNotFound).says("staging, prod")

	r = a.get("/services/payment").want(http.StatusOK)
	r.says(
		"Where it runs", "rolled back v3-bad", "1 of 1",
		"Why each environment runs what it runs", "payment v3-bad is not in prod, because v3-bad is on hold", "slipway release payment v3-bad", "(anyone with access)",
		"Releases", "change #5", "by ann", "on hold",
		"Neighbours", "shop", "seen and declared", "It called nobody.",
		"Instances 5", "ready", "prod.payment.",
		"Lately in prod", "Requests", "Failed requests",
	)
	r.has(`id="why"`, `id="releases"`, `href="/services/payment/logs"`, `class="spark"`, `href="/changes/5"`)
	if strings.Contains(r.Body, "<script>alert") || strings.Contains(r.Body, "\x1b") || strings.Contains(r.Body, "\u202e") {
		t.Error("hostile text acts on the page of a service")
	}
	a.get("/services/shop").want(http.StatusOK).says("callers", "from outside", "It calls", "cart", "payment", "shop is held in prod by ann", "slipway release shop --env prod")
	a.get("/services/cart").want(http.StatusOK).says("In flight", "v1 → v2", "paused", "slipway resume",
		"Look at v2 in prod before all callers get it It answers what is asked with these headers", "Address http://127.0.0.1:", "Host cart.localhost", "Slipway-Preview a signed value", "slipway preview cart v2 --env prod")
	c.reader().get("/services/cart").want(http.StatusOK).says("Look at v2 in prod", "Sign a header you are a reader, and this needs a deployer")
	a.get("/services/payment?env=staging").want(http.StatusOK).says("Lately in staging", "no data")
	a.get("/services/payment?before=5").want(http.StatusOK).says("change #4", "Newest releases").hides("use the new bank client")
	a.get("/services/payment?before=x").want(http.StatusUnprocessableEntity).says("is not the number of a change")
	a.get("/services/payment").hides("before all callers get it")
	c.signs(a)
	a.get("/services/paymant").want(http.StatusNotFound).says(`there is no service "paymant"`, "payment")
	a.get("/services/payment?env=prd").want(http.StatusNotFound).says("staging, prod")
}

// Rows of neighbours say what is seen beside what is said.
func TestLinkNotes(t *testing.T) {
	callers, callees := linksOf([]control.Link{
		{Service: "", Calls: true, Requests: 5, Second: 1.5},
		{Service: "web", Calls: true, Requests: 100, Second: 10, Failed: 0.02, Declared: true},
		{Service: "ghost", Calls: true, Requests: 1, Second: 0.01},
		{Service: "bank", Declared: true},
	})
	var got []string
	for _, l := range append(callers, callees...) {
		got = append(got, l.Name+": "+l.Note.Word+", "+l.Asked+" "+l.Failed)
	}
	want := []string{
		": from outside, 1.5 req/s 0 %", "web: seen and declared, 10 req/s 2.0 %", "ghost: seen, not declared, 0.01 req/s 0 %", "bank: declared, not seen, nothing ",
	}
	if !slices.Equal(got, want) || len(callers) != 3 || !callers[1].Bad || callers[0].Bad {
		t.Errorf("links = %q, want %q", got, want)
	}
}

// Instances say how they stand, why they are not well, and what they take.
func TestInstanceRows(t *testing.T) {
	began := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	list, stopped := instancesOf([]workload.Status{
		{Phase: workload.Stopped, Since: began},
		{Phase: workload.Ready, Started: began, Usage: workload.Usage{CPU: 30 * time.Second, Memory: 50 << 20, At: began.Add(time.Minute)}, LastExit: "exit status 1"},
		{Phase: workload.Backoff, Started: began, LastExit: "exit status 2", Probe: "connection refused", Restarts: 4},
		{Phase: workload.Unready, Probe: "503"},
		{Phase: workload.Stopped, Since: began.Add(time.Hour)},
	})
	if len(list) != 3 || len(stopped) != 2 || !stopped[0].Since.After(stopped[1].Since) {
		t.Fatalf("%d run and %d are stopped, want 3 and 2, the one that was stopped last first: %+v", len(list), len(stopped), stopped)
	}
	if i := list[0]; i.State.Word != "ready" || i.CPU != "50 %" || i.RAM != "50 MiB" || i.Trouble != "" {
		t.Errorf("a ready instance = %+v", i)
	}
	if i := list[1]; i.State.Word != "exited, starts again" || i.Trouble != "exit status 2: connection refused" || i.CPU != "" {
		t.Errorf("one that exits = %+v", i)
	}
	if i := list[2]; i.State.Class != "is-bad" || i.Trouble != "503" {
		t.Errorf("one that is not ready = %+v", i)
	}
	for n, want := range map[uint64]string{512: "0 KiB", 2048: "2 KiB", 5 << 20: "5 MiB", 3 << 29: "1.5 GiB"} {
		if got := bytesOf(n); got != want {
			t.Errorf("bytesOf(%d) = %q, want %q", n, got, want)
		}
	}
}

// Every value has the place it came from.
func TestServiceSettings(t *testing.T) {
	h := build(t)
	h.project(harborYAML)
	a := h.admin()
	r := a.get("/services/payment/settings").want(http.StatusOK)
	r.says("Configuration of payment", `"800"`, "slipway.yaml:5:", "BANK_TIMEOUT_MS", "in staging", "in prod", "default", "slipway config explain services.payment")
	r.hides("services.cart")
	h.project(strings.Replace(harborYAML, `BANK_TIMEOUT_MS: "800"`, `BANK_TIMEOUT_MS: "800", BANK_TOKEN: hunter2`, 1))
	all := a.get("/services/payment/settings").want(http.StatusOK).says("BANK_TOKEN (hidden)", "replicas").hides("hunter2").text()
	found := a.get("/services/payment/settings?q=+bank_t").want(http.StatusOK).says("2 of ", "BANK_TIMEOUT_MS", "BANK_TOKEN (hidden)", "Show all").has(`value="bank_t"`).hides("hunter2", "replicas").text()
	if said := regexp.MustCompile(`\d+ values, \d+ of them`); said.FindString(all) == "" || said.FindString(found) != said.FindString(all) {
		t.Errorf("with a filter there are %q, want %q", said.FindString(found), said.FindString(all))
	}
	for _, q := range []string{"hunter2", "hunter", "800", "hidden", "zebra"} { // no value is found, neither what is hidden nor what is not
		a.get("/services/payment/settings?q="+q).want(http.StatusOK).says("No field holds “"+q+"”. Values are not looked through.").hides("BANK_T", "(hidden)")
	}
	a.get("/services/payment/settings?q=%3Cb%3E").want(http.StatusOK).says("No field holds “<b>”")
	a.get("/services/none/settings").want(http.StatusNotFound).says("shop, cart, payment")
}

// Environments tell how they stand, what is held, and what differs between two.
func TestEnvironmentsOfACity(t *testing.T) {
	t.Parallel()
	c := settleCity(t)
	a := c.admin()
	r := a.get("/environments").want(http.StatusOK)
	r.says(
		"staging environment 1 of 2", "prod environment 2 of 2", "1 in flight", "3 of 3 services", "when it is deployed", "by itself, once it is stable in the environment before", "blue-green for 1 service, canary for 2 services",
		"Held here shop", "by ann", "Releases on hold 1", "payment", "v3-bad", "change #5",
		"3 services differ between staging and prod.", "other code", "other configuration", "BANNER", "(unset)", "0 equal in both",
	)
	if strings.Contains(r.Body, "<script>alert") || strings.Contains(r.Body, "\x1b") || strings.Contains(r.Body, "\u202e") {
		t.Error("hostile text acts on the page of environments")
	}
	a.get("/environments?from=prod&to=staging").want(http.StatusOK).says("3 services differ between prod and staging.")
	a.get("/environments?from=prod&to=prd").want(http.StatusNotFound).says("staging, prod")
	a.get("/environments?from=prod&to=prod").want(http.StatusUnprocessableEntity).says("compared with")
	if s := driftSign(control.ServiceDrift{From: &control.StandsIn{Release: "r1"}}); s.Word != "not there yet" {
		t.Errorf("drift of a service that is in one alone = %+v", s)
	}
}
