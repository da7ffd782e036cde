package upstream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// pattern returns n bytes that do not repeat at any power of two.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

// bodies are the same bytes in every framing.
func framed(b []byte) map[string]string {
	var chunks bytes.Buffer
	for at, size := 0, 1; at < len(b); at, size = at+size, size*3 {
		size = min(size, len(b)-at)
		fmt.Fprintf(&chunks, "%x\r\n%s\r\n", size, b[at:at+size])
	}
	return map[string]string{
		"counted":     fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(b), b),
		"chunked":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks.String() + "0\r\n\r\n",
		"until close": "HTTP/1.1 200 OK\r\n\r\n" + string(b),
	}
}

// Long bodies go from socket to socket unchanged, and to other writers.
func TestWriteTo(t *testing.T) {
	want := pattern(3_000_007)
	for framing, answer := range framed(want) {
		for _, to := range []string{"socket", "buffer"} {
			addr := serve(t, func(p *peer) {
				for p.head() != "" {
					p.say(answer)
					if framing == "until close" {
						return
					}
				}
			})
			c := client(t, Options{Addr: addr})
			for range 3 {
				k := get(t, c)
				if _, err := k.Do(t.Context(), plain(patience)); err != nil {
					t.Fatal(err)
				}
				var got []byte
				var n int64
				var err error
				if to == "socket" {
					n, got, err = throughSocket(t, k.Body())
				} else {
					var b bytes.Buffer
					n, err = k.Body().WriteTo(struct{ io.Writer }{&b})
					got = b.Bytes()
				}
				if n != int64(len(want)) || err != nil || !k.Body().Done() || sha256.Sum256(got) != sha256.Sum256(want) {
					t.Errorf("%s to %s: %d of %d bytes, %v", framing, to, n, len(want), err)
				}
				k.Release()
				if _, idle := c.Open(); (idle == 1) != (framing != "until close") {
					t.Errorf("%s to %s: %d idle", framing, to, idle)
				}
			}
		}
	}
}

func throughSocket(t *testing.T, b *Body) (int64, []byte, error) {
	got := make(chan []byte)
	addr := serve(t, func(p *peer) {
		all, _ := io.ReadAll(p.in)
		got <- all
	})
	to, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := b.WriteTo(to)
	_ = to.Close()
	return n, <-got, err
}

// Who broke a transfer: the instance, or who takes the answer.
func TestWhoBroke(t *testing.T) {
	head := "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n"
	piece := string(pattern(100_000))
	for _, who := range []string{"instance, end", "instance, reset", "caller, end", "caller, reset", "caller, deadline"} {
		addr := serve(t, func(p *peer) {
			p.head()
			p.say(head)
			for i := range 1000 {
				if _, err := io.WriteString(p, piece); err != nil {
					return
				}
				switch {
				case i == 10 && who == "instance, end":
					return
				case i == 10 && who == "instance, reset":
					p.reset()
					return
				}
			}
		})
		caller := serve(t, func(p *peer) {
			switch who {
			case "caller, end":
				p.take(1000)
			case "caller, reset":
				p.take(1000)
				p.reset()
			case "caller, deadline":
				p.take(1000)
				<-t.Context().Done() // reads no more
			default:
				p.gone()
			}
		})
		to, err := net.Dial("tcp", caller)
		if err != nil {
			t.Fatal(err)
		}
		if who == "caller, deadline" {
			_ = to.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		}
		k := get(t, client(t, Options{Addr: addr}))
		if _, err := k.Do(t.Context(), plain(patience)); err != nil {
			t.Fatal(err)
		}
		_, err = k.Body().WriteTo(to)
		var write *WriteError
		if errors.As(err, &write) != (who[:6] == "caller") || err == nil {
			t.Errorf("%s: %T %v", who, err, err)
		}
		if who == "instance, end" && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v", who, err)
		}
		_ = to.Close()
		k.Release()
	}
}

// The answer writer of net/http takes a body from the socket too.
func TestThroughServer(t *testing.T) {
	want := pattern(1_000_003)
	addr := serve(t, func(p *peer) {
		for p.head() != "" {
			p.say(framed(want)["counted"])
		}
	})
	c := client(t, Options{Addr: addr})
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k, err := c.Get(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer k.Release()
		if _, err := k.Do(r.Context(), plain(patience)); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(k.Body().Length()))
		if n, err := k.Body().WriteTo(w); n != int64(len(want)) || err != nil {
			t.Errorf("WriteTo = %d, %v", n, err)
		}
	}))
	defer front.Close()
	for range 3 {
		r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, front.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := front.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
	}
}
