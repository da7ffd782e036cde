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
			for try := 1; !endWithinABody(t, plane); try++ {
				if try == 20 {
					t.Fatal("the machine stood still each time")
				}
			}
		})
	}
}

// endWithinABody ends a data plane and sends the two halves of a request before
// and after its idle connections are closed, a second after the beginning of the
// end. It returns false when the first half came too late for that, or the second
// one when all that is left was cut, three seconds after the beginning.
func endWithinABody(t *testing.T, plane delivery.DataPlane) bool {
	t.Helper()
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
	began := time.Now()
	go func() { ended <- end() }()
	pause(t.Context(), 200*time.Millisecond)
	_, err := io.WriteString(c, halfPost)
	if err == nil {
		err = awaitRead(t.Context(), c)
	}
	if time.Since(began) > 900*time.Millisecond {
		if err := <-ended; err != nil {
			t.Error(err)
		}
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	pause(t.Context(), 1400*time.Millisecond)
	_, err = io.WriteString(c, "world")
	var res *http.Response
	if err == nil {
		res, err = http.ReadResponse(r, nil)
	}
	if late := time.Since(began) > 2900*time.Millisecond; err != nil && late {
		if err := <-ended; err != nil {
			t.Error(err)
		}
		return false
	}
	if err != nil || res.StatusCode != http.StatusOK || !res.Close {
		t.Errorf("POST = %v, %v, want 200 and the end", res, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	return true
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
	if err := awaitRead(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	pause(t.Context(), 100*time.Millisecond)
	_ = open(t, w.Addr)
	pause(t.Context(), 500*time.Millisecond)
	say("world")
	hear()
}
