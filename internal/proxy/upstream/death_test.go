package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-cd/slipway/internal/porttest"
	"github.com/slipway-cd/slipway/internal/proxy/wire"
)

const good = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

// A connection dies before, within and after the head of the first answer and of
// a later one, by an end and by a reset.
func TestDeathInHead(t *testing.T) {
	for _, reset := range []bool{false, true} {
		for _, before := range []int{0, 2} {
			for _, said := range []string{"", "H", "HTTP/1.1 200 OK\r\nConte", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r"} {
				addr := serve(t, func(p *peer) {
					for range before {
						p.head()
						p.say(good)
					}
					p.head()
					p.say(said)
					if reset {
						p.reset()
					}
				})
				c := client(t, Options{Addr: addr})
				for range before {
					k := get(t, c)
					round(t, k, plain(patience))
					k.Release()
				}
				k := get(t, c)
				_, err := k.Do(t.Context(), plain(patience))
				broken := connError(t, err)
				// a reset may overtake what was said before it
				if broken.Reused != (before > 0) || !reset && broken.Answered != (said != "") || k.Answered() != broken.Answered {
					t.Errorf("reset %v, before %d, said %q: %+v", reset, before, said, broken)
				}
				if broken.Stale() != (broken.Reused && !broken.Answered) {
					t.Errorf("reset %v, before %d, said %q: Stale = %v", reset, before, said, broken.Stale())
				}
				k.Discard()
				if all, _ := c.Open(); all != 0 {
					t.Errorf("%d connections are open, want none", all)
				}
			}
		}
	}
}

func TestDeathInBody(t *testing.T) {
	for name, said := range map[string]string{
		"counted":      "Content-Length: 9\r\n\r\nhello",
		"nothing":      "Content-Length: 9\r\n\r\n",
		"long":         "Content-Length: 900000\r\n\r\n" + strings.Repeat("x", 200_000),
		"in chunk":     "Transfer-Encoding: chunked\r\n\r\n9\r\nhello",
		"between":      "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"in size":      "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1",
		"in trailers":  "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n",
		"before bytes": "Transfer-Encoding: chunked\r\n\r\n",
	} {
		for _, reset := range []bool{false, true} {
			for _, splice := range []bool{false, true} {
				seen := make(chan bool)
				addr := serve(t, func(p *peer) {
					p.head()
					p.say("HTTP/1.1 200 OK\r\n" + said)
					<-seen
					if reset {
						p.reset()
					}
				})
				k := get(t, client(t, Options{Addr: addr}))
				if _, err := k.Do(t.Context(), plain(patience)); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				close(seen)
				var err error
				if splice {
					_, err = k.Body().WriteTo(io.Discard)
				} else {
					_, err = io.ReadAll(k.Body())
				}
				if !reset && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("%s, splice %v: %v, want unexpected EOF", name, splice, err)
				}
				if _, again := k.Body().Read(make([]byte, 9)); reset && err == nil || !errors.Is(again, err) || k.Body().Done() {
					t.Errorf("%s, reset %v, splice %v: %v, then %v", name, reset, splice, err, again)
				}
				k.Release()
			}
		}
	}
}

func TestMalformed(t *testing.T) {
	for said, inBody := range map[string]bool{
		"SSH-2.0-OpenSSH_9.2": false,
		"HTTP/1.1 200 OK\n\n": false,
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n":                     false,
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 300<<10):                                          false,
		strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 40):                                           false,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n":                      true,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello-\r\n":                           true,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("0", 17) + "5\r\nhello": true,
	} {
		addr := serve(t, func(p *peer) {
			p.head()
			p.say(said)
			p.gone()
		})
		k := get(t, client(t, Options{Addr: addr}))
		_, err := k.Do(t.Context(), plain(patience))
		if inBody {
			if err != nil {
				t.Fatalf("%.40q: %v", said, err)
			}
			_, err = io.ReadAll(k.Body())
		}
		var bad *wire.Error
		if !errors.As(err, &bad) || bad.Status != 502 {
			t.Errorf("%.40q: %v, want *wire.Error 502", said, err)
		}
		k.Release()
	}
}

func TestDial(t *testing.T) {
	addr := porttest.Free(t)
	var dial *DialError
	if _, err := client(t, Options{Addr: addr}).Get(t.Context()); !errors.As(err, &dial) || dial.Addr != addr {
		t.Errorf("Get = %v, want *DialError", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client(t, Options{Addr: addr}).Get(ctx); !errors.As(err, &dial) || !errors.Is(err, context.Canceled) && !strings.Contains(err.Error(), "canceled") {
		t.Errorf("Get = %v, want *DialError of a cancelled context", err)
	}
}

// Neither a closed idle connection nor one with a byte nobody asked for is used.
func TestStaleIdle(t *testing.T) {
	for _, extra := range []string{"", "!", "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"} {
		for _, checked := range []bool{false, true} {
			done := make(chan bool)
			addr := serve(t, func(p *peer) {
				p.head()
				p.say(good)
				if p.nth > 0 {
					p.gone()
					return
				}
				<-done
				p.say(extra)
			})
			c := client(t, Options{Addr: addr})
			k := get(t, c)
			round(t, k, plain(patience))
			k.Release()
			close(done)
			until(t, "something happens on the idle connection", func() bool { return !k.quiet() })
			if checked {
				k, _ = c.GetChecked(t.Context())
			} else {
				until(t, "the connection is old enough to be looked at", func() bool { return c.now()-k.since > checkAfter })
				k = get(t, c)
			}
			if k == nil || k.Reused() {
				t.Fatalf("extra %q, checked %v: the connection was used again", extra, checked)
			}
			if status, body := round(t, k, plain(patience)); status != 200 || body != "hello" {
				t.Errorf("extra %q: %d %q", extra, status, body)
			}
			k.Release()
		}
	}
}

// A body behind an answer that has none is nobody's: the connection is looked at
// however young it is.
func TestLateBodyOfABodylessAnswer(t *testing.T) {
	done := make(chan struct{})
	addr := serve(t, func(p *peer) {
		p.head()
		if p.nth > 0 {
			p.say(good)
			p.gone()
			return
		}
		p.say("HTTP/1.1 204 No Content\r\n\r\n")
		<-done
		p.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
	})
	c := client(t, Options{Addr: addr})
	k := get(t, c)
	if status, _ := round(t, k, plain(patience)); status != 204 {
		t.Fatalf("answer %d, want 204", status)
	}
	k.Release()
	close(done)
	until(t, "the body comes", func() bool { return !k.quiet() })
	k, err := c.get(t.Context(), time.Hour)
	if err != nil || k.Reused() {
		t.Fatalf("the connection was used again, %v", err)
	}
	if status, body := round(t, k, plain(patience)); status != 200 || body != "hello" {
		t.Errorf("answer %d %q, want that of the second connection", status, body)
	}
	k.Release()
}

// The server ends its direction between two exchanges, within the time in which
// nobody looks: the end is not seen by the poller again, but within the first wait.
func TestHalfClosed(t *testing.T) {
	closed := make(chan bool)
	addr := serve(t, func(p *peer) {
		p.head()
		p.say(good)
		p.half()
		close(closed)
		p.gone()
	})
	c := client(t, Options{Addr: addr})
	k := get(t, c)
	round(t, k, plain(patience))
	<-closed
	until(t, "the end arrives", func() bool { return !k.quiet() })
	k.Release()
	again, err := c.get(t.Context(), time.Hour)
	if err != nil || again != k {
		t.Fatalf("another connection, %v", err)
	}
	began := time.Now()
	_, err = again.Do(t.Context(), plain(time.Hour))
	if broken := connError(t, err); !broken.Stale() {
		t.Errorf("after %s: %+v, want a stale connection", time.Since(began), broken)
	}
	again.Discard()
}

func TestDeadline(t *testing.T) {
	for _, said := range []string{"", "HTTP/1.1 200", "HTTP/1.1 103 Early Hints\r\n\r\n"} {
		for _, within := range []time.Duration{-time.Hour, time.Millisecond, 50 * time.Millisecond} {
			addr := serve(t, func(p *peer) {
				p.head()
				p.say(said)
				p.gone()
			})
			k := get(t, client(t, Options{Addr: addr}))
			began := time.Now()
			_, err := k.Do(t.Context(), plain(within))
			if !errors.Is(err, ErrDeadline) || time.Since(began) < within {
				t.Errorf("said %q: %v after %s, want the deadline of %s", said, err, time.Since(began), within)
			}
			k.Discard()
		}
	}
}

// Deadlines left on a connection neither end an exchange early nor late.
func TestDeadlinesOfOneConnection(t *testing.T) {
	var asked atomic.Int32
	addr := serve(t, func(p *peer) {
		for p.head() != "" && asked.Add(1) <= 6 {
			pause(30 * time.Millisecond)
			p.say(good)
		}
		p.gone() // without an answer to the last one
	})
	c := client(t, Options{Addr: addr})
	first := get(t, c)
	for k, i := first, 0; ; k, i = get(t, c), i+1 {
		if i == 6 {
			if _, err := k.Do(t.Context(), plain(5*time.Millisecond)); !errors.Is(err, ErrDeadline) {
				t.Errorf("a short deadline after long ones: %v", err)
			}
			k.Discard()
			return
		}
		r := plain(patience)
		if i%2 == 1 {
			r.Deadline = time.Time{}
		}
		k.arm(c.now() + time.Duration(i)*10*time.Millisecond - 5*time.Millisecond) // passed, or passing meanwhile
		if _, body := round(t, k, r); body != "hello" {
			t.Errorf("round %d: %q", i, body)
		}
		k.Release()
	}
}

func pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

func TestIdleBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := get(t, client(t, Options{Dial: within(func(p *peer) {
			p.head()
			p.say("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
			for range 5 {
				p.say(strings.Repeat("x", 8000))
				pause(90 * time.Millisecond)
			}
			p.gone()
		})}))
		if _, err := k.Do(t.Context(), plain(patience)); err != nil {
			t.Fatal(err)
		}
		k.Body().SetIdle(100 * time.Millisecond)
		if n, err := io.Copy(io.Discard, readerOnly{k.Body()}); n != 40_000 || !errors.Is(err, ErrDeadline) {
			t.Errorf("%d bytes, %v, want 40000 and the deadline", n, err)
		}
		k.Discard()
	})
}

func TestIdleSplice(t *testing.T) {
	t.Parallel()
	addr := serve(t, func(p *peer) {
		p.head()
		p.say("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
		for range 5 {
			p.say(strings.Repeat("x", 8000))
			pause(10 * time.Millisecond)
		}
		p.gone()
	})
	k := get(t, client(t, Options{Addr: addr}))
	if _, err := k.Do(t.Context(), plain(patience)); err != nil {
		t.Fatal(err)
	}
	k.Body().SetIdle(3 * time.Second) // a busy machine may stand still for a while
	if n, err := k.Body().WriteTo(sink(t)); n != 40_000 || !errors.Is(err, ErrDeadline) {
		t.Errorf("%d bytes, %v, want 40000 and the deadline", n, err)
	}
	k.Discard()
}

type readerOnly struct{ io.Reader }

// sink returns a TCP connection of which somebody reads all.
func sink(t testing.TB) *net.TCPConn {
	t.Helper()
	addr := serve(t, func(p *peer) { p.gone() })
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

func TestCancel(t *testing.T) {
	cause := errors.New("enough")
	for _, stage := range []string{"before", "head", "half head", "body", "splice"} {
		for _, byContext := range []bool{false, true} {
			asked := make(chan bool)
			addr := serve(t, func(p *peer) {
				p.head()
				switch stage {
				case "half head":
					p.say("HTTP/1.1 2")
				case "body", "splice":
					p.say("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhello")
				}
				close(asked)
				p.gone()
			})
			k := get(t, client(t, Options{Addr: addr}))
			ctx, stop := context.WithCancelCause(t.Context())
			cut := func() { k.Cancel(cause) }
			if byContext {
				cut = func() { stop(cause) }
			}
			done := make(chan bool)
			if stage == "before" {
				cut()
				close(done)
			} else {
				go func() {
					<-asked
					cut()
					close(done)
				}()
			}
			_, err := k.Do(ctx, plain(patience))
			switch {
			case err != nil:
			case stage == "body":
				_, err = io.ReadAll(k.Body())
			case stage == "splice":
				_, err = k.Body().WriteTo(sink(t))
			}
			var off *Cancelled
			if !errors.As(err, &off) || !errors.Is(err, cause) {
				t.Errorf("%s, context %v: %v, want *Cancelled", stage, byContext, err)
			}
			<-done
			k.Release()
			stop(nil)
		}
	}
}
