package proxy_test

import (
	"bufio"
	"io"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	driver "github.com/slipway-cd/slipway/internal/traffic/proxy"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

const halfPost = "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 10\r\n\r\nhello"

// A request whose body is still on its way when the data plane ends is carried,
// and its answer is the last one.
func TestEndWaitsForBodies(t *testing.T) {
	t.Parallel()
	for name, plane := range map[string]delivery.DataPlane{"raw": {}, "full": {FullOnly: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := shortDir(t)
			end := serve(t, dir)
			w := traffictest.NewWorld(t, driver.New(filepath.Join(dir, "s")))
			w.Plane = plane
			pool, _ := taped(t)
			one(w, pool)
			c := open(t, w.Addr)
			_ = c.SetDeadline(time.Now().Add(30 * time.Second))
			r := bufio.NewReader(c)
			if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if res, err := http.ReadResponse(r, nil); err != nil {
				t.Fatal(err)
			} else if _, err := io.Copy(io.Discard, res.Body); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- end() }()
			pause(t.Context(), 200*time.Millisecond) // idle connections are closed a second after the beginning of the end
			if _, err := io.WriteString(c, halfPost); err != nil {
				t.Fatal(err)
			}
			pause(t.Context(), 1400*time.Millisecond)
			if _, err := io.WriteString(c, "world"); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(r, nil)
			if err != nil || res.StatusCode != http.StatusOK || !res.Close {
				t.Errorf("POST = %v, %v, want 200 and the end", res, err)
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// A connection is not closed to make room while a request is coming in on it.
func TestNobodyIsDismissedWithinABody(t *testing.T) {
	t.Parallel()
	w := world(t)
	w.Plane.Limits.Connections = 1
	pool, _ := taped(t)
	one(w, pool)
	c := open(t, w.Addr)
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	r := bufio.NewReader(c)
	say := func(what string) {
		if _, err := io.WriteString(c, what); err != nil {
			t.Fatal(err)
		}
	}
	hear := func() {
		res, err := http.ReadResponse(r, nil)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("answer = %v, %v", res, err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
	}
	say("GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
	hear()
	pause(t.Context(), 3*time.Second) // now it is idle enough to be closed
	say(halfPost)
	pause(t.Context(), 100*time.Millisecond)
	_ = open(t, w.Addr)
	pause(t.Context(), 500*time.Millisecond)
	say("world")
	hear()
}
