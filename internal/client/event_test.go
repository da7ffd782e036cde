package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// write sends one ledger line as a server-sent event.
func write(w io.Writer, seq int64) {
	_, _ = fmt.Fprintf(w, "id: %d\nevent: line\ndata: {\"seq\":%d,\"text\":\"line %d\"}\n\n", seq, seq, seq)
}

// since is the line after which a request wants to hear more.
func since(t *testing.T, r *http.Request) int64 {
	n, err := strconv.ParseInt(r.URL.Query().Get("since"), 10, 64)
	if err != nil {
		t.Error(err)
	}
	return n
}

// upTo collects the numbers of the lines until last has come.
func upTo(last int64, got *[]int64) func(delivery.Event) bool {
	return func(e delivery.Event) bool {
		*got = append(*got, e.Seq)
		return e.Seq < last
	}
}

// The lines come in order and once, though the connection breaks off in every
// way there is, and each time the server says again what was said before.
func TestEventsResume(t *testing.T) {
	var connections atomic.Int64
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/events" || r.Header.Get("Accept") != "text/event-stream" || r.URL.Query().Get("service") != "cart" {
			t.Errorf("asked for %s as %q", r.URL, r.Header.Get("Accept"))
		}
		n := connections.Add(1)
		from := since(t, r)
		if from > 1 { // overlap: a server may say a line twice
			write(w, from-1)
			write(w, from)
		}
		_, _ = io.WriteString(w, ": still here\n\n")
		write(w, from+1)
		write(w, from+2)
		switch n {
		case 1: // ends well
			return
		case 2: // half a line, cut off
			_, _ = fmt.Fprintf(w, "data: {\"seq\":%d,\"te", from+3)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case 3: // half a line, and a good end
			_, _ = fmt.Fprintf(w, "data: {\"seq\":%d", from+3)
			return
		}
		write(w, from+3)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	var got []int64
	err := c.Events(t.Context(), 4, url.Values{"service": {"cart"}}, upTo(13, &got))
	if want := []int64{5, 6, 7, 8, 9, 10, 11, 12, 13}; err != nil || !slices.Equal(got, want) {
		t.Errorf("events = %v, %v, want %v", got, err, want)
	}
	if connections.Load() != 4 {
		t.Errorf("%d connections, want 4", connections.Load())
	}
}

func TestEventsEnd(t *testing.T) {
	ended := make(chan struct{}, 2)
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for i := range int64(3) {
			write(w, since(t, r)+1+i)
		}
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		ended <- struct{}{}
	})
	var got []int64
	if err := c.Events(t.Context(), 0, nil, upTo(2, &got)); err != nil || !slices.Equal(got, []int64{1, 2}) {
		t.Errorf("each had enough: events = %v, %v, want 1 and 2", got, err)
	}
	<-ended // the server is let go
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	err := c.Events(ctx, 0, nil, func(e delivery.Event) bool {
		if e.Seq == 3 {
			stop()
		}
		return true
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("stopped by the caller: error = %v, want context.Canceled", err)
	}
	<-ended
}

// A refusal is told at once; a server that is about to come up is waited for.
func TestEventsRefused(t *testing.T) {
	for status, final := range map[int]bool{400: true, 403: true, 404: true, 401: false, 429: false, 500: false, 503: false} {
		asked := 0
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if asked++; asked == 1 {
				w.WriteHeader(status)
				return
			}
			write(w, since(t, r)+1)
		})
		var got []int64
		err := c.Events(t.Context(), 0, nil, upTo(1, &got))
		if _, ok := errors.AsType[*client.Problem](err); ok != final || final != (len(got) == 0) {
			t.Errorf("%d: %v, %v, want a refusal: %v", status, got, err, final)
		}
	}
}

// broken answers as a server would that is not there, or breaks off.
type broken func(*http.Request) (*http.Response, error)

func (f broken) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestEventsGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := client.New("http://nowhere", "", "")
		begun, asked := time.Now(), 0
		c.HTTP.Transport = broken(func(*http.Request) (*http.Response, error) {
			asked++
			return nil, errors.New("connection refused")
		})
		err := c.Events(t.Context(), 0, nil, func(delivery.Event) bool { return true })
		if took := time.Since(begun); !errors.Is(err, client.ErrNoServer) || took < client.PatienceLimit || took > client.PatienceLimit+time.Second {
			t.Errorf("gave up with %v after %s, want ErrNoServer after %s", err, took, client.PatienceLimit)
		}
		if asked < 10 {
			t.Errorf("asked %d times only", asked)
		}
	})
}

// Patience begins afresh whenever the server was there: an outage long ago does
// not make a later one the last.
func TestEventsPatienceBeginsAfresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := client.New("http://nowhere", "", "")
		begun, seq := time.Now(), int64(0)
		c.HTTP.Transport = broken(func(*http.Request) (*http.Response, error) {
			// 20 s away, then a minute there, then cut: six times over.
			if time.Since(begun)%(80*time.Second) < 20*time.Second {
				return nil, errors.New("connection refused")
			}
			r, w := io.Pipe()
			go func() {
				seq++
				write(w, seq)
				time.Sleep(80*time.Second - time.Since(begun)%(80*time.Second))
				w.CloseWithError(errors.New("connection reset by peer"))
			}()
			return &http.Response{StatusCode: http.StatusOK, Body: r}, nil
		})
		var got []int64
		if err := c.Events(t.Context(), 0, nil, upTo(6, &got)); err != nil || len(got) != 6 {
			t.Errorf("events = %v, %v after %s, want six lines", got, err, time.Since(begun))
		}
		synctest.Wait()
		time.Sleep(2 * time.Minute) // the last stream ends by itself
	})
}

// Lines come whole or not at all, and what one call kept the next does not change.
func TestLines(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "{\"n\":1}\n\n{\"n\":2}\n"+`{"long":"`+strings.Repeat("x", 200<<10)+"\"}\n{\"n\":3}\n")
		if r.URL.Path == "/api/v1/cut" {
			_, _ = io.WriteString(w, `{"n":`)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	})
	var kept []json.RawMessage
	keep := func(line json.RawMessage) error { kept = append(kept, line); return nil }
	if err := c.Lines(t.Context(), "/x", keep); err != nil {
		t.Fatal(err)
	}
	if len(kept) != 4 || string(kept[0]) != `{"n":1}` || string(kept[3]) != `{"n":3}` || len(kept[2]) < 200<<10 {
		t.Errorf("%d lines, the first %.20s, want 4 as they came", len(kept), kept[0])
	}
	kept = nil
	if err := c.Lines(t.Context(), "/cut", keep); err == nil || len(kept) != 4 {
		t.Errorf("cut off: %d lines and error %v, want 4 whole ones and an error", len(kept), err)
	}
	enough := errors.New("enough")
	if err := c.Lines(t.Context(), "/x", func(json.RawMessage) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("each had enough: error = %v", err)
	}
}

func TestRead(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/odd" {
			_, _ = io.WriteString(w, `{"items":7}`)
			return
		}
		_, _ = io.WriteString(w, `{"items":[{"id":7,"new_field":true}],"next":"c"}`)
	})
	v, raw, err := client.Read[client.List[delivery.Hold]](t.Context(), c, "/holds")
	if err != nil || len(v.Items) != 1 || v.Items[0].ID != 7 || v.Next != "c" || !strings.Contains(string(raw), "new_field") {
		t.Errorf("Read = %+v, %s, %v, want the value and all that came", v, raw, err)
	}
	if _, raw, err := client.Read[client.List[delivery.Hold]](t.Context(), c, "/odd"); err == nil || string(raw) != `{"items":7}` {
		t.Errorf("what does not fit = %s, %v, want an error", raw, err)
	}
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	if _, _, err := client.Read[int](t.Context(), client.New(down.URL, "", ""), "/x"); !errors.Is(err, client.ErrNoServer) {
		t.Errorf("nobody there: error = %v, want ErrNoServer", err)
	}
}
