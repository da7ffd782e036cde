package proxy_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

// stillWorld is a world with one route whose streams may stand still for idle.
func stillWorld(t *testing.T, idle time.Duration, h http.HandlerFunc) *traffictest.World {
	t.Helper()
	w := world(t)
	r := w.Route("prod/shop", []string{""}, backend(t, "1", h))
	r.Idle = idle
	w.Routes = []traffic.Route{r}
	w.Plane.FullOnly = true
	w.MustApply()
	return w
}

func free(t *testing.T, w *traffictest.World) {
	t.Helper()
	await(t, "the instance to be free", func() bool { return w.State().Routes[0].Pools[0].Endpoints[0].InFlight == 0 })
}

// An answer on which nothing moves any more is cut, whoever stands still; one
// that moves goes on for as long as it likes.
func TestWhatStandsStillIsCut(t *testing.T) {
	t.Parallel()
	const idle = 3 * time.Second // longer than a busy machine stands still
	w := stillWorld(t, idle, func(rw http.ResponseWriter, r *http.Request) {
		flush := http.NewResponseController(rw).Flush
		switch r.URL.Path {
		case "/silent":
			_, _ = io.WriteString(rw, "a")
			_ = flush()
			<-r.Context().Done()
		case "/half":
			rw.Header().Set("Content-Length", "1000000")
			_, _ = rw.Write(make([]byte, 500_000))
			_ = flush()
			<-r.Context().Done()
		case "/steady":
			for range 20 {
				_, _ = io.WriteString(rw, "a")
				_ = flush()
				if !pause(r.Context(), idle/15) {
					return
				}
			}
		case "/big":
			piece := make([]byte, 1<<20)
			rw.Header().Set("Content-Length", strconv.Itoa(1<<30))
			for range 1 << 10 {
				if _, err := rw.Write(piece); err != nil {
					return
				}
			}
		}
	})
	for path, whole := range map[string]bool{"/silent": false, "/half": false, "/steady": true} {
		res := do(t, request(t, http.MethodGet, "http://"+w.Addr+path, nil))
		b, err := io.ReadAll(res.Body)
		if (err == nil) != whole || len(b) == 0 {
			t.Errorf("%s ended after %d bytes with %v, want it whole: %v", path, len(b), err, whole)
		}
		free(t, w)
	}
	for name, client := range map[string]http.RoundTripper{"HTTP/1.1": &http.Transport{}, "HTTP/2": overH2C(t)} {
		res, err := client.RoundTrip(request(t, http.MethodGet, "http://"+w.Addr+"/big", nil))
		if err != nil {
			t.Fatal(err)
		}
		free(t, w) // its caller reads nothing
		n, err := io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if err == nil || n == 0 {
			t.Errorf("%s: a caller that reads nothing got %d bytes in the end, and %v", name, n, err)
		}
	}
}

// tunnelTo opens an upgraded connection to addr.
func tunnelTo(t *testing.T, conn net.Conn) (net.Conn, *bufio.Reader) {
	t.Helper()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	if res, err := http.ReadResponse(r, nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade = %v, %v", res, err)
	}
	return conn, r
}

// chat is a service of an upgraded protocol: it repeats what it hears, until the
// end of which it speaks once more and ends in its turn.
func chat(rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Connection", "Upgrade")
	rw.Header().Set("Upgrade", "chat")
	rw.WriteHeader(http.StatusSwitchingProtocols)
	conn, both, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	heard, err := io.ReadAll(io.TeeReader(both, conn))
	if err == nil {
		_, _ = io.WriteString(conn, " heard "+strconv.Itoa(len(heard)))
	}
}

func TestTunnelEndsOneWayAtATime(t *testing.T) {
	t.Parallel()
	w := world(t)
	addr, believe := secured(t, w)
	believe.NextProtos = []string{"http/1.1"}
	one(w, backend(t, "1", chat))
	for name, open := range map[string]func() (net.Conn, error){
		"plain": func() (net.Conn, error) { return net.Dial("tcp", w.Addr) },
		"TLS":   func() (net.Conn, error) { return tls.Dial("tcp", addr, believe) },
	} {
		raw, err := open()
		if err != nil {
			t.Fatal(err)
		}
		conn, r := tunnelTo(t, raw)
		said := strings.Repeat("x", 100_000)
		if _, err := io.WriteString(conn, said); err != nil {
			t.Fatal(err)
		}
		if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r); err != nil || string(b) != said+" heard 100000" {
			t.Errorf("%s: after our end we heard %d bytes, %v; want all, and what is said behind it", name, len(b), err)
		}
		_ = conn.Close()
		free(t, w)
	}
}

func TestTunnelThatStandsStillIsCut(t *testing.T) {
	t.Parallel()
	const idle = 3 * time.Second // longer than a busy machine stands still
	w := stillWorld(t, idle, chat)
	conn, r := tunnelTo(t, dial(t, w.Addr))
	for range 20 {
		if _, err := io.WriteString(conn, "a"); err != nil {
			t.Fatal(err)
		}
		if b, err := r.ReadByte(); err != nil || b != 'a' {
			t.Fatalf("a tunnel that moves = %q, %v", b, err)
		}
		pause(t.Context(), idle/15)
	}
	if _, err := r.ReadByte(); err == nil {
		t.Error("a tunnel that stands still goes on")
	} else if nerr := net.Error(nil); errors.As(err, &nerr) && nerr.Timeout() {
		t.Error("a tunnel that stands still was not cut within half a minute")
	}
	free(t, w)
}
