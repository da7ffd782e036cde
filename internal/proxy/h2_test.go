package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// overH2C is a client that speaks HTTP/2 by prior knowledge and nothing else.
func overH2C(t *testing.T) *http.Transport {
	t.Helper()
	tr := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// speaker is a backend that tells what it was spoken to in, over p.
func speaker(t *testing.T, release string, p delivery.Protocol) traffic.Pool {
	t.Helper()
	pool := backendSpeaking(t, release, p, func(rw http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		rw.Header().Set("Spoken", r.Proto)
		rw.Header().Set("Got-Upgrade", r.Header.Get("Upgrade"))
		_, _ = fmt.Fprintf(rw, "%d %s", len(b), r.Trailer.Get("Sum"))
		_ = http.NewResponseController(rw).Flush() // a length known beforehand leaves no room for a trailer in HTTP/1
		rw.Header().Set(http.TrailerPrefix+"Sum", "42")
	})
	return pool
}

func TestEveryProtocolToEveryProtocol(t *testing.T) {
	t.Parallel()
	for _, upstream := range []delivery.Protocol{delivery.HTTP1, delivery.H2C} {
		w := world(t)
		one(w, speaker(t, "1", upstream))
		spoken := map[delivery.Protocol]string{delivery.HTTP1: "HTTP/1.1", delivery.H2C: "HTTP/2.0"}[upstream]
		clients := map[string]http.RoundTripper{"HTTP/1.1": http.DefaultTransport, "HTTP/2.0": overH2C(t)}
		for front, client := range clients {
			t.Run(front+" to "+spoken, func(t *testing.T) {
				var all sync.WaitGroup
				for i := range 40 {
					all.Go(func() {
						n := i * 10000
						r := request(t, http.MethodPost, "http://"+w.Addr+"/", io.MultiReader(strings.NewReader(strings.Repeat("x", n)))) // of unknown length
						r.Trailer = http.Header{"Sum": {"in"}}
						res, err := client.RoundTrip(r)
						if err != nil {
							t.Error(err)
							return
						}
						defer res.Body.Close()
						b, err := io.ReadAll(res.Body)
						if err != nil || res.StatusCode != http.StatusOK || string(b) != fmt.Sprint(n, " in") || res.Proto != front {
							t.Errorf("%d bytes = %s %s %q, %v", n, res.Proto, res.Status, b, err)
						}
						if res.Header.Get("Spoken") != spoken || res.Trailer.Get("Sum") != "42" {
							t.Errorf("spoken to in %s, trailer %v", res.Header.Get("Spoken"), res.Trailer)
						}
					})
				}
				all.Wait()
			})
		}
	}
}

// An upgrade to HTTP/2 in the clear would let requests pass that nobody routes.
func TestUpgradeToHTTP2IsIgnored(t *testing.T) {
	t.Parallel()
	for _, upstream := range []delivery.Protocol{delivery.HTTP1, delivery.H2C} {
		w := world(t)
		one(w, speaker(t, "1", upstream))
		r := request(t, http.MethodGet, "http://"+w.Addr+"/", nil)
		r.Header = http.Header{"Connection": {"Upgrade, HTTP2-Settings"}, "Upgrade": {"h2c"}, "Http2-Settings": {"AAMAAABkAAQCAAAAAAIAAAAA"}}
		if res := do(t, r); res.StatusCode != http.StatusOK || res.Header.Get("Got-Upgrade") != "" {
			t.Errorf("an upgrade to h2c = %s, the instance got %q", res.Status, res.Header.Get("Got-Upgrade"))
		}
	}
}

// HTTP/2 instances carry no WebSockets: the request reaches them without its
// upgrade, and its caller gets a plain answer.
func TestUpgradeToAnHTTP2InstanceIsAnsweredPlainly(t *testing.T) {
	t.Parallel()
	w := world(t)
	one(w, speaker(t, "1", delivery.H2C))
	r := request(t, http.MethodGet, "http://"+w.Addr+"/", nil)
	r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, "Sec-Websocket-Version": {"13"}}
	if res := do(t, r); res.StatusCode != http.StatusOK || res.Header.Get("Got-Upgrade") != "" {
		t.Errorf("an upgrade = %s, the instance got %q", res.Status, res.Header.Get("Got-Upgrade"))
	}
}

func TestConnectOverHTTP2IsRefused(t *testing.T) {
	t.Parallel()
	w := world(t)
	one(w, speaker(t, "1", delivery.HTTP1))
	r := request(t, http.MethodConnect, "http://"+w.Addr, nil)
	res, err := overH2C(t).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if line, _ := bufio.NewReader(res.Body).ReadString('\n'); res.StatusCode != http.StatusMethodNotAllowed || !strings.Contains(line, "no_tunnels") {
		t.Errorf("CONNECT = %s %s, want 405 no_tunnels", res.Status, line)
	}
}
