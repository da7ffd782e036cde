package demo

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// run sends shoppers in the background and returns what stops them and waits.
func run(t *testing.T, s *Shoppers) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func TestShoppersShop(t *testing.T) {
	t.Parallel()
	pay := Behaviour{Version: "v3-bad", Fail: 0.25, Status: 502, Error: "upstream bank refused: connection reset"}
	sys := startSystem(t, node, python, pay)
	s := &Shoppers{URL: sys.shop.url, Rate: 200, InFlight: 32} // few enough for a busy machine to answer each in time
	stop := run(t, s)
	eventually(t, "a thousand requests and some mishaps", func() bool {
		c := s.Snapshot()
		return c.Requests >= 1000 && c.Failed >= 40
	})
	stop()
	c := s.Snapshot()
	if c.Refused > 0 || c.Failed != c.Causes["payment v3-bad"] || len(c.Causes) != 1 {
		t.Errorf("refused %d, failed %d by cause %v, last %+v; want only payment to fail", c.Refused, c.Failed, c.Causes, c.Last)
	}
	if r := c.Releases["shop v1"]; r.Requests != c.Requests || r.Failed != c.Failed || len(c.Releases) != 1 {
		t.Errorf("releases %v of %d requests, %d failed", c.Releases, c.Requests, c.Failed)
	}
	sum := uint64(0)
	for _, step := range []string{"GET /", "POST /cart", "POST /checkout"} {
		n := c.Steps[step]
		sum += n.Requests
		if n.Requests < c.Requests/10 {
			t.Errorf("%s was asked %d times of %d", step, n.Requests, c.Requests)
		}
	}
	if sum != c.Requests || c.Steps["POST /checkout"].Failed != c.Failed {
		t.Errorf("steps %v of %d requests, %d failed", c.Steps, c.Requests, c.Failed)
	}
	if len(c.Last) != keptFailures || c.Last[0].Error != "payment: upstream bank refused: connection reset" {
		t.Errorf("last mishaps: %+v", c.Last)
	}
	if c.Shoppers < 30 || c.Shoppers > c.Requests/2 {
		t.Errorf("%d shoppers made %d requests", c.Shoppers, c.Requests)
	}
	if after := s.Snapshot(); after.Requests != c.Requests {
		t.Errorf("%d requests after the end", after.Requests-c.Requests)
	}
}

// Each shopper keeps the cookies it was given, and nobody else's.
func TestShoppersAreSessions(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	visits := map[string]int{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		c, err := r.Cookie("who")
		if err != nil {
			c = &http.Cookie{Name: "who", Value: "s" + strings.Repeat("i", len(visits)), Path: "/"}
			http.SetCookie(w, c)
		}
		visits[c.Value]++
		w.Header().Set("Slipway-Release", "r0123456789abcdef")
		_, _ = w.Write([]byte(`{"service": "shop", "version": "v1"}`))
	}))
	t.Cleanup(srv.Close)
	s := &Shoppers{URL: srv.URL, Rate: 500}
	stop := run(t, s)
	eventually(t, "shoppers come back", func() bool { return s.Snapshot().Requests >= 1500 })
	stop()
	c := s.Snapshot()
	mu.Lock()
	defer mu.Unlock()
	if uint64(len(visits)) != c.Shoppers {
		t.Errorf("the shop saw %d sessions of %d shoppers", len(visits), c.Shoppers)
	}
	for who, n := range visits {
		if n > mostSteps {
			t.Errorf("shopper %d made %d steps, at most %d are a visit", len(who), n, mostSteps)
		}
	}
	if r := c.Releases["r0123456789abcdef"]; r.Requests != c.Requests || c.Failed != 0 {
		t.Errorf("counts %+v", c)
	}
}

// The load is open: a shop that does not answer makes shoppers wait, not fewer
// of them, up to the bound. What is cut off at the end is not counted.
func TestShoppersAreBounded(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now, most := 0, 0
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		<-r.Context().Done()
		mu.Lock()
		now--
		mu.Unlock()
	}))
	t.Cleanup(srv.Close)
	s := &Shoppers{URL: srv.URL, Rate: 200, InFlight: 8}
	stop := run(t, s)
	eventually(t, "some are not sent, and the others are there", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return s.Snapshot().Skipped >= 50 && now >= 8
	})
	stop()
	mu.Lock()
	defer mu.Unlock()
	if c := s.Snapshot(); most != 8 || c.Requests != 0 || c.Failed != 0 {
		t.Errorf("%d in flight, want 8; counts %+v, want none", most, c)
	}
}

func TestShoppersSeeWhatIsBroken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		error  string
	}{
		"no answer": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(`{"service":`))
		}, "answer cut off"},
		"not the shop":   {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }, "not the shop's"},
		"no instance":    {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "none", http.StatusServiceUnavailable) }, "503"},
		"answers twice?": {closeUnderEverySecond(), "sent again"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(c.answer)
			t.Cleanup(srv.Close)
			s := &Shoppers{URL: srv.URL, Rate: 200}
			stop := run(t, s)
			seen := func() bool {
				for _, m := range s.Snapshot().Last {
					if strings.Contains(m.Error, c.error) {
						return true
					}
				}
				return false
			}
			eventually(t, "a mishap that says "+c.error, seen)
			stop()
		})
	}
}

// closeUnderEverySecond answers one request of a connection and hangs up on the next.
func closeUnderEverySecond() http.HandlerFunc {
	var mu sync.Mutex
	answered := map[string]bool{}
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		hangUp := answered[r.RemoteAddr]
		answered[r.RemoteAddr] = true
		mu.Unlock()
		if hangUp {
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write([]byte(`{"service": "shop", "version": "v1"}`))
	}
}

func TestShoppersStayHere(t *testing.T) {
	for _, url := range []string{
		"http://192.0.2.1:80", "http://example.com", "http://0.0.0.0:80", "http://[2001:db8::1]:80", "http://localhost.example.com",
		"https://127.0.0.1:7580", "127.0.0.1:7580", "", "http://", "http://127.0.0.1.example.com",
	} {
		if err := (&Shoppers{URL: url}).Run(t.Context()); !errors.Is(err, delivery.ErrInvalid) {
			t.Errorf("Run to %q = %v, want a refusal", url, err)
		}
	}
	for _, addr := range []string{"192.0.2.1:80", "example.com:80", "10.0.0.1:80"} {
		if conn, err := dialHere(t.Context(), "tcp", addr); err == nil {
			conn.Close()
			t.Errorf("dialled %s", addr)
		}
	}
	for _, bad := range []*Shoppers{
		{URL: "http://localhost:1", Rate: -1}, {URL: "http://localhost:1", Rate: maxRate + 1}, {URL: "http://localhost:1", InFlight: -1},
	} {
		if err := bad.Run(t.Context()); !errors.Is(err, delivery.ErrInvalid) {
			t.Errorf("Run of %v/s, %d in flight = %v, want a refusal", bad.Rate, bad.InFlight, err)
		}
	}
}
