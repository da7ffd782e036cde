package upstream

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestSever(t *testing.T) {
	for _, stage := range []string{"idle", "head", "body", "splice", "upload", "tunnel"} {
		asked := make(chan bool, 1)
		addr := serve(t, func(p *peer) {
			p.head()
			switch stage {
			case "idle":
				p.say(good)
			case "body", "splice":
				p.say("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhello")
			case "tunnel":
				p.say("HTTP/1.1 101 Switching Protocols\r\n\r\nhi")
			}
			asked <- true
			p.gone()
		})
		c := New(Options{Addr: addr, DialTimeout: patience})
		k := get(t, c)
		r := plain(patience)
		if stage == "upload" {
			r = post(endless{}, 1<<40, "")
		}
		if stage == "idle" {
			round(t, k, r)
			k.Release()
			c.Sever()
		} else {
			cut := make(chan bool)
			go func() {
				<-asked
				c.Sever()
				close(cut)
			}()
			_, err := k.Do(t.Context(), r)
			switch {
			case err != nil:
			case stage == "body":
				_, err = io.ReadAll(k.Body())
			case stage == "splice":
				_, err = k.Body().WriteTo(sink(t))
			case stage == "tunnel":
				<-cut
				var nc io.ReadCloser
				if nc, _, err = k.Hijack(); err == nil {
					t.Errorf("tunnel: hijacked %v", nc)
				}
			}
			if broken := connError(t, err); !errors.Is(err, ErrSevered) || broken.Stale() {
				t.Errorf("%s: %v, want ErrSevered, not stale", stage, err)
			}
			<-cut
			k.Discard()
		}
		if all, idle := c.Open(); all != 0 || idle != 0 {
			t.Errorf("%s: %d open, %d idle", stage, all, idle)
		}
		var dial *DialError
		if _, err := c.Get(t.Context()); !errors.As(err, &dial) || !errors.Is(err, ErrSevered) {
			t.Errorf("%s: Get after Sever = %v", stage, err)
		}
	}
}

func TestHijack(t *testing.T) {
	addr := serve(t, func(p *peer) {
		p.head()
		p.say("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhi")
		p.say(p.take(4))
		p.gone()
	})
	c := client(t, Options{Addr: addr})
	for _, cut := range []bool{false, true} {
		k := get(t, c)
		if _, _, err := k.Hijack(); err == nil {
			t.Error("hijacked before an answer")
		}
		res, err := k.Do(t.Context(), plain(patience))
		if err != nil || !res.Upgrade {
			t.Fatalf("Do = %+v, %v", res, err)
		}
		nc, first, err := k.Hijack()
		if err != nil {
			t.Fatal(err)
		}
		got := string(first)
		k.Discard()
		_, _ = io.WriteString(nc, "ping")
		b := make([]byte, 16)
		for len(got) < 6 && err == nil {
			var n int
			n, err = nc.Read(b)
			got += string(b[:n])
		}
		if got != "hiping" {
			t.Errorf("got %q, %v", got, err)
		}
		if all, _ := c.Open(); all != 1 {
			t.Errorf("%d connections are open, want the hijacked one", all)
		}
		if half, ok := nc.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
			t.Error("the tunnel cannot be closed one way")
		}
		if cut {
			c.Sever()
			if _, err := nc.Write([]byte("x")); err == nil {
				t.Error("a severed tunnel takes bytes")
			}
		}
		_ = nc.Close()
		if all, _ := c.Open(); all != 0 {
			t.Errorf("%d connections are open, want none", all)
		}
	}
}

func TestIdleAge(t *testing.T) {
	addr := serve(t, func(p *peer) {
		for p.head() != "" {
			p.say(good)
		}
	})
	c := client(t, Options{Addr: addr, Idle: time.Hour, MaxIdle: 3})
	var all []*Conn
	for range 5 {
		all = append(all, get(t, c))
	}
	for _, k := range all {
		round(t, k, plain(patience))
	}
	for _, k := range all {
		k.Release()
	}
	if open, idle := c.Open(); open != 3 || idle != 3 {
		t.Errorf("%d open, %d idle, want 3", open, idle)
	}
	if k := get(t, c); k != all[2] {
		t.Error("Get did not take the youngest")
	} else {
		k.Release() // unused
	}
	if _, idle := c.Open(); idle != 3 {
		t.Errorf("%d idle after an unused one came back, want 3", idle)
	}
	c.Sweep(time.Now().Add(59 * time.Minute))
	if _, idle := c.Open(); idle != 3 {
		t.Errorf("%d idle after an early sweep, want 3", idle)
	}
	all[1].since -= 2 * time.Hour
	all[0].since -= 2 * time.Hour
	c.Sweep(time.Now())
	if open, idle := c.Open(); open != 1 || idle != 1 {
		t.Errorf("%d open, %d idle after a sweep, want 1", open, idle)
	}
	all[2].since -= 2 * time.Hour
	k := get(t, c)
	if k.Reused() {
		t.Error("Get gave a connection that was idle for too long")
	}
	round(t, k, plain(patience))
	k.Release()
	c.CloseIdle()
	if open, _ := c.Open(); open != 0 {
		t.Errorf("%d open after CloseIdle", open)
	}
}

// Whoever ends the use of a connection twice does no harm.
func TestReleaseTwice(t *testing.T) {
	addr := serve(t, func(p *peer) {
		for p.head() != "" {
			p.say(good)
		}
	})
	c := client(t, Options{Addr: addr})
	for _, first := range []func(*Conn){(*Conn).Release, (*Conn).Discard} {
		for _, again := range []func(*Conn){(*Conn).Release, (*Conn).Discard} {
			for _, used := range []bool{true, false} {
				k := get(t, c)
				if used {
					round(t, k, plain(patience))
				}
				first(k)
				open, idle := c.Open()
				again(k)
				if open2, idle2 := c.Open(); open2 != open || idle2 != idle || idle > 1 || open != idle {
					t.Errorf("%d open, %d idle, then %d, %d", open, idle, open2, idle2)
				}
			}
		}
	}
}

// Many callers share one client: no answer goes to the wrong one.
func TestConcurrent(t *testing.T) {
	addr := serve(t, func(p *peer) {
		for head := p.head(); head != ""; head = p.head() {
			path := strings.Fields(head)[1]
			p.say(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(path), path))
		}
	})
	c := client(t, Options{Addr: addr})
	var all sync.WaitGroup
	for g := range 16 {
		all.Go(func() {
			for i := range 100 {
				k, err := c.Get(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				path := fmt.Sprintf("/%d/%d", g, i)
				head := append(k.Scratch(), "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n"...)
				_, err = k.Do(t.Context(), &Request{Head: head, Method: "GET", Deadline: time.Now().Add(patience)})
				if err != nil {
					t.Error(err)
				} else if got := k.Body().Buffered(); string(got) != path && len(got) == len(path) {
					t.Errorf("asked for %s, got %s", path, got)
				}
				if i%10 == 9 {
					k.Discard()
				} else {
					k.Release()
				}
			}
		})
	}
	all.Wait()
	if open, idle := c.Open(); open != idle || open > 16 {
		t.Errorf("%d open, %d idle", open, idle)
	}
}
