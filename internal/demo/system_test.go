package demo

import (
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/porttest"
)

// The five services in their own languages, from the page to the bank.
func TestShopping(t *testing.T) {
	t.Parallel()
	s := startSystem(t, node, python, quiet("v2"))
	client := newClient(t)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client.Jar = jar

	if g := do(t, client, "POST", s.shop.url+"/checkout", ""); g.status != http.StatusConflict {
		t.Errorf("checkout of nothing = %d %v", g.status, g.body)
	}
	for _, bad := range []string{`{"item": "Tea 2"}`, `{"item": ""}`, `{`} {
		if g := do(t, client, "POST", s.shop.url+"/cart", bad, "Content-Type", "application/json"); g.status != http.StatusBadRequest {
			t.Errorf("POST /cart %s = %d %v", bad, g.status, g.body)
		}
	}
	if g := do(t, client, "POST", s.shop.url+"/cart", `{"item": "whale"}`, "Content-Type", "application/json"); g.status != http.StatusNotFound {
		t.Errorf("a whale in the basket = %d %v", g.status, g.body)
	}
	for _, item := range []string{"tea", "lamp"} {
		if g := do(t, client, "POST", s.shop.url+"/cart", `{"item": "`+item+`"}`, "Content-Type", "application/json; charset=utf-8"); g.status != http.StatusOK {
			t.Fatalf("POST /cart = %d %v", g.status, g.body)
		}
	}
	g := do(t, client, "GET", s.shop.url+"/", "")
	if total := g.body["basket"].(map[string]any)["total_cents"]; total != 4590.0 {
		t.Errorf("the basket costs %v, want 4590", total)
	}
	g = do(t, client, "POST", s.shop.url+"/checkout", "")
	if g.status != http.StatusOK || g.body["paid_cents"] != 4590.0 || g.body["receipt"] == "" {
		t.Errorf("checkout = %d %v", g.status, g.body)
	}
	want := map[string]any{"cart": "v1", "pricing": "v1", "payment": "v2"}
	if !maps.Equal(g.body["callees"].(map[string]any), want) {
		t.Errorf("callees = %v, want %v", g.body["callees"], want)
	}
	if g := do(t, client, "POST", s.shop.url+"/checkout", ""); g.status != http.StatusConflict {
		t.Errorf("checkout of the same again = %d %v", g.status, g.body)
	}
}

// A browser gets pages, and is sent back to the shop after it filled its basket.
func TestPage(t *testing.T) {
	t.Parallel()
	s := startSystem(t, inside, inside, quiet("v2"))
	client := newClient(t)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client.Jar = jar
	browser := []string{"Accept", "text/html,*/*;q=0.8", "Content-Type", "application/x-www-form-urlencoded"}
	page := do(t, client, "POST", s.shop.url+"/cart", "item=rope", browser...).body["text"].(string)
	for _, part := range []string{"Mooring rope, 10 m", "24.50 €", "1 × rope", "shop v1", "catalog v2", "<form method=\"post\" action=\"/checkout\">"} {
		if !strings.Contains(page, part) {
			t.Errorf("the page lacks %q:\n%s", part, page)
		}
	}
	paid := do(t, client, "POST", s.shop.url+"/checkout", "", browser...)
	if text := paid.body["text"].(string); paid.status != http.StatusOK || !strings.Contains(text, "Paid 24.50 €") {
		t.Errorf("checkout = %d %s", paid.status, text)
	}
	empty := do(t, client, "POST", s.shop.url+"/checkout", "", browser...)
	if text := empty.body["text"].(string); empty.status != http.StatusConflict || !strings.Contains(text, "the basket is empty") {
		t.Errorf("checkout of nothing = %d %s", empty.status, text)
	}
}

// version returns the named version of payment as the demo ships it, without
// the time that good work takes.
func version(t *testing.T, name string) Behaviour {
	t.Helper()
	for _, how := range Versions("payment") {
		if how.Version == name {
			how.WorkMS = 0
			return how
		}
	}
	t.Fatalf("payment has no version %s", name)
	return Behaviour{}
}

// charge makes n charges and returns how many ended with each status, how many
// took at least late, and the messages of those that failed.
func charge(t *testing.T, payment *instance, n int, late time.Duration) (statuses map[int]int, slow int, messages map[string]int) {
	t.Helper()
	statuses, messages = map[int]int{}, map[string]int{}
	var mu sync.Mutex
	var todo atomic.Int64
	todo.Store(int64(n))
	client := newClient(t)
	var hands sync.WaitGroup
	for range 16 {
		hands.Go(func() {
			for todo.Add(-1) >= 0 {
				began := time.Now()
				g := do(t, client, "POST", payment.url+"/charge", `{"cents": 100}`)
				took := time.Since(began)
				mu.Lock()
				statuses[g.status]++
				if took >= late {
					slow++
				}
				if why, ok := g.body["error"].(string); ok {
					messages[why]++
				}
				mu.Unlock()
			}
		})
	}
	hands.Wait()
	return statuses, slow, messages
}

// Bounds are at least seven standard deviations wide on either side.

func TestGoodVersionHasABaseline(t *testing.T) {
	t.Parallel()
	const n = 3000
	for _, name := range []string{"v1", "v2"} {
		payment := start(t, "payment", inside, version(t, name))
		statuses, _, messages := charge(t, payment, n, time.Hour)
		if bad := statuses[503]; bad > 30 || statuses[200] != n-bad || len(messages) > 1 {
			t.Errorf("%s: %d of %d failed: %v %v; want about 6 and no more than 30", name, bad, n, statuses, messages)
		}
	}
}

func TestBadVersionFailsAShareAndLooksHealthy(t *testing.T) {
	t.Parallel()
	const n = 3000
	payment := start(t, "payment", inside, version(t, "v3-bad"))
	statuses, _, messages := charge(t, payment, n, time.Hour)
	if bad := statuses[502]; bad < 130 || bad > 350 || statuses[200] != n-bad {
		t.Errorf("%d of %d failed: %v; want about 240, from 130 to 350", bad, n, statuses)
	}
	if len(messages) != 1 || messages["upstream bank refused: connection reset"] == 0 {
		t.Errorf("messages: %v", messages)
	}
	client := newClient(t)
	for range 50 {
		if g := do(t, client, "GET", payment.url+"/healthz", ""); g.status != http.StatusOK {
			t.Fatalf("GET /healthz = %d", g.status)
		}
	}
}

// The delay is there whatever else the machine does; that the rest is not
// delayed is seen by counting, not by the clock.
func TestSlowVersionIsLate(t *testing.T) {
	t.Parallel()
	how := version(t, "v4-slow")
	payment := start(t, "payment", inside, how)
	const n = 600
	_, slow, _ := charge(t, payment, n, 150*time.Millisecond)
	if slow < 100 {
		t.Errorf("%d of %d took 150 ms; want about 180, at least 100", slow, n)
	}
	late := 0
	for range 10_000 {
		if how.took() >= 150*time.Millisecond {
			late++
		}
	}
	if late < 2600 || late > 3400 {
		t.Errorf("%d of 10000 operations are delayed, want about 3000", late)
	}
}

func TestBadConfigurationLosesCharges(t *testing.T) {
	t.Parallel()
	const n = 2000
	payment := start(t, "payment", inside, quiet("v2"), "BANK_TIMEOUT_MS=5")
	statuses, _, messages := charge(t, payment, n, time.Hour)
	if bad := statuses[504]; bad < 100 || bad > 320 || statuses[200] != n-bad {
		t.Errorf("%d of %d failed: %v; want about 200, from 100 to 320", bad, n, statuses)
	}
	if len(messages) != 1 || messages["bank timed out after 5 ms"] == 0 {
		t.Errorf("messages: %v", messages)
	}
	good := start(t, "payment", inside, quiet("v2"), "BANK_TIMEOUT_MS=800")
	if statuses, _, _ := charge(t, good, 300, time.Hour); statuses[200] != 300 {
		t.Errorf("with 800 ms: %v, want 300 good charges", statuses)
	}
	for _, text := range []string{"soon", "0", "60001"} {
		i := launch(t, "payment", inside, bundle(t, "payment", inside, quiet("v2")), []string{"PORT=0", "BANK_TIMEOUT_MS=" + text})
		if err := i.wait(); err == nil || !strings.Contains(err.Error(), "BANK_TIMEOUT_MS") {
			t.Errorf("BANK_TIMEOUT_MS=%s started: %v", text, err)
		}
	}
}

// What goes wrong far down is said at the top, with the version where it began.
func TestCauseTravelsUp(t *testing.T) {
	t.Parallel()
	bad := Behaviour{Version: "v3-bad", Fail: 1, Status: 502, Error: "upstream bank refused: connection reset"}
	s := startSystem(t, inside, inside, bad)
	client := newClient(t)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client.Jar = jar
	do(t, client, "POST", s.shop.url+"/cart", "item=tea", "Content-Type", "application/x-www-form-urlencoded")
	g := do(t, client, "POST", s.shop.url+"/checkout", "")
	cause, _ := g.body["cause"].(map[string]any)
	if g.status != http.StatusBadGateway || cause["service"] != "payment" || cause["version"] != "v3-bad" ||
		g.body["error"] != "payment: upstream bank refused: connection reset" {
		t.Errorf("checkout = %d %v", g.status, g.body)
	}
}

// An answer of pricing that is quick, good and empty fails whoever asked for it.
func TestEmptyAnswersFailTheCallers(t *testing.T) {
	t.Parallel()
	for _, mine := range waysOf("pricing") {
		pricing := start(t, "pricing", mine, Behaviour{Version: "v3-empty", Empty: 1})
		client := newClient(t)
		g := do(t, client, "GET", pricing.url+"/prices?item=tea", "")
		if prices, ok := g.body["prices"].(map[string]any); g.status != http.StatusOK || !ok || len(prices) != 0 {
			t.Errorf("%s: prices = %d %v", mine, g.status, g.body)
		}
		for _, caller := range []string{"cart", "catalog"} {
			for _, way := range waysOf(caller) {
				method, path, body := op(caller)
				g := do(t, client, method, start(t, caller, way, quiet("v1"), "PRICING_URL="+pricing.url).url+path, body)
				cause, _ := g.body["cause"].(map[string]any)
				if why, _ := g.body["error"].(string); g.status != http.StatusBadGateway || cause["service"] != "pricing" || cause["version"] != "v3-empty" ||
					!strings.HasPrefix(why, "pricing: its answer has no price for ") {
					t.Errorf("%s/%s of %s = %d %v", caller, way, mine, g.status, g.body)
				}
			}
		}
	}
}

// Every caller answers 502 and names the callee that is not there.
func TestCalleeIsGone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		service string
		way     way
	}{{"cart", inside}, {"catalog", inside}, {"catalog", node}} {
		_, port, err := net.SplitHostPort(porttest.Free(t)) // where nobody else answers when it is gone
		if err != nil {
			t.Fatal(err)
		}
		pricing := start(t, "pricing", inside, quiet("v1"), "PORT="+port)
		i := start(t, c.service, c.way, quiet("v1"), "PRICING_URL="+pricing.url)
		_, path, _ := op(c.service)
		client := newClient(t)
		if g := do(t, client, "GET", i.url+path, ""); g.status != http.StatusOK {
			t.Fatalf("%s = %d %v", path, g.status, g.body)
		}
		if err := pricing.stop(); err != nil {
			t.Fatal(err)
		}
		g := do(t, client, "GET", i.url+path, "")
		cause, _ := g.body["cause"].(map[string]any)
		why, _ := g.body["error"].(string)
		if g.status != http.StatusBadGateway || cause["service"] != "pricing" || !strings.HasPrefix(why, "pricing: ") {
			t.Errorf("%s (%s) without pricing = %d %v", c.service, c.way, g.status, g.body)
		}
	}
}

func TestServeUnknown(t *testing.T) {
	err := Serve(t.Context(), "harbour", func(string) string { return "" }, newLines())
	if err == nil || !strings.Contains(err.Error(), "shop") {
		t.Errorf("Serve(harbour) = %v, want the names there are", err)
	}
}

func TestPlaces(t *testing.T) {
	places := Options{Port: 8100}.Places()
	for i, want := range []string{"http://127.0.0.1:8160", "http://127.0.0.1:8170", "http://127.0.0.1:8180"} {
		if u, err := url.Parse(places[i].URL()); err != nil || u.String() != want {
			t.Errorf("place %d is at %v, want %s (%v)", i, u, want, err)
		}
	}
}
