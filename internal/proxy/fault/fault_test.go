package fault_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/fault"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// hit puts f in force and returns it as it touches a request.
func hit(t *testing.T, s *fault.Set, f traffic.Fault) *fault.Fault {
	t.Helper()
	now := time.Now()
	put(t, s, loud(f), now)
	quiet(s, 100, now)
	got := s.Strike(ask("k"), now)
	if got == nil {
		t.Fatal("the fault touches nothing")
	}
	return got
}

func TestDelayEndsWithItsFault(t *testing.T) {
	for _, tc := range []struct {
		name string
		act  func(s *fault.Set, f traffic.Fault, cancel func())
		took time.Duration
		err  error
	}{
		{"whole, renewed", func(s *fault.Set, f traffic.Fault, _ func()) {
			for range 6 {
				time.Sleep(5 * time.Second)
				_, _, _ = s.Put(f, time.Now())
			}
		}, 30 * time.Second, nil},
		{"lease not renewed", func(*fault.Set, traffic.Fault, func()) {}, 10 * time.Second, nil},
		{"taken back", func(s *fault.Set, _ traffic.Fault, _ func()) {
			time.Sleep(time.Second)
			s.Remove("a")
		}, time.Second, nil},
		{"replaced", func(s *fault.Set, f traffic.Fault, _ func()) {
			time.Sleep(time.Second)
			f.Delay = time.Minute
			_, _, _ = s.Put(f, time.Now())
		}, time.Second, nil},
		{"the caller left", func(_ *fault.Set, _ traffic.Fault, cancel func()) {
			time.Sleep(time.Second)
			cancel()
		}, time.Second, context.Canceled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := set(everyone)
				f := loud(traffic.Fault{ID: "a", Route: "prod/cart", Share: 100, Delay: 30 * time.Second, Lease: 10 * time.Second})
				h := hit(t, s, traffic.Fault{ID: "a", Route: "prod/cart", Share: 100, Delay: 30 * time.Second, Lease: 10 * time.Second})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				acted := make(chan struct{})
				go func() { defer close(acted); tc.act(s, f, cancel) }()
				began := time.Now()
				if err := h.Wait(ctx); !errors.Is(err, tc.err) {
					t.Errorf("Wait = %v, want %v", err, tc.err)
				}
				if took := time.Since(began); took != tc.took {
					t.Errorf("waited %s, want %s", took, tc.took)
				}
				<-acted
			})
		})
	}
}

func TestSlowBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := set(everyone)
		h := hit(t, s, traffic.Fault{ID: "a", Route: "prod/cart", Share: 100, Slow: 100, Lease: 10 * time.Second})
		began := time.Now()
		body := h.Body(nil, strings.NewReader(strings.Repeat("x", 500)), 500)
		got, err := io.ReadAll(body)
		if err != nil || len(got) != 500 {
			t.Fatalf("read %d bytes, %v", len(got), err)
		}
		if took := time.Since(began); took < 4900*time.Millisecond || took > 5100*time.Millisecond {
			t.Errorf("500 bytes at 100 B/s took %s", took)
		}
		// 500 more would take 5 s; the lease ends before them.
		began = time.Now()
		if _, err := io.ReadAll(h.Body(nil, strings.NewReader(strings.Repeat("x", 5000)), 5000)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 5100*time.Millisecond {
			t.Errorf("the body is slow %s after its fault", took)
		}
	})
}

func TestSlowBodyEndsWithTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hit(t, set(everyone), traffic.Fault{ID: "a", Route: "prod/cart", Share: 100, Slow: 1, Lease: 10 * time.Second})
		done := make(chan struct{})
		time.AfterFunc(1500*time.Millisecond, func() { close(done) })
		began := time.Now()
		if n, err := io.Copy(io.Discard, h.Body(done, strings.NewReader("abcdef"), 6)); err == nil || n != 2 {
			t.Errorf("copied %d bytes, %v; want 2 and an error", n, err)
		}
		if took := time.Since(began); took != 1500*time.Millisecond {
			t.Errorf("took %s", took)
		}
	})
}

func TestCutBody(t *testing.T) {
	for _, tc := range []struct {
		name   string
		cut    int64
		length int64 // as announced
		want   string
		err    error
	}{
		{"longer", 3, 6, "abc", fault.ErrCut},
		{"of unknown length", 3, -1, "abc", fault.ErrCut},
		{"after the head", -1, 6, "", fault.ErrCut},
		{"just as long", 6, 6, "abcdef", nil},
		{"shorter", 7, 6, "abcdef", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := set(everyone)
			h := hit(t, s, traffic.Fault{ID: "a", Route: "prod/cart", Share: 100, Cut: tc.cut, Lease: 10 * time.Second})
			got, err := io.ReadAll(h.Body(nil, iotest.OneByteReader(strings.NewReader("abcdef")), tc.length))
			if string(got) != tc.want || !errors.Is(err, tc.err) {
				t.Errorf("read %q, %v; want %q, %v", got, err, tc.want, tc.err)
			}
			if h.Bends(tc.length) != (tc.err != nil) {
				t.Errorf("Bends(%d) = %v", tc.length, !(tc.err != nil))
			}
			s.Remove("a")
			if got, err := io.ReadAll(h.Body(nil, strings.NewReader("abcdef"), tc.length)); err != nil || string(got) != "abcdef" {
				t.Errorf("after its end the fault cuts: %q, %v", got, err)
			}
		})
	}
}
