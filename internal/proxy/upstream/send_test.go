package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/wire"
)

// post returns a request with a body of a length, or wire.Chunked.
func post(body io.Reader, length int64, more string) *Request {
	frame := fmt.Sprintf("Content-Length: %d\r\n", length)
	if length == wire.Chunked {
		frame = "Transfer-Encoding: chunked\r\n"
	}
	return &Request{
		Head: []byte("POST / HTTP/1.1\r\nHost: a\r\n" + frame + more + "\r\n"), Method: "POST",
		Body: body, Length: length, Deadline: time.Now().Add(patience), Expect: strings.Contains(more, "Expect"),
	}
}

// receive reads one request as head says and returns its body.
func (p *peer) body(head string) string {
	var r wire.Request
	if _, err := r.Parse([]byte(head), wire.Limits{}); err != nil {
		return "!" + err.Error()
	}
	if r.Length != wire.Chunked {
		return p.take(int(r.Length))
	}
	var c wire.Chunks
	var all []byte
	for !c.Done() {
		b, err := p.in.ReadByte()
		if err != nil {
			return string(all) + "!" + err.Error()
		}
		data, _, err := c.Next([]byte{b})
		if err != nil {
			return string(all) + "!" + err.Error()
		}
		all = append(all, data...)
	}
	for _, f := range c.Trailers() {
		all = fmt.Appendf(all, "|%s=%s", f.Name, f.Value)
	}
	return string(all)
}

func echo(p *peer) {
	for head := p.head(); head != ""; head = p.head() {
		got := p.body(head)
		p.say(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(got), got))
	}
}

func TestSend(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 1<<16)
	addr := serve(t, echo)
	c := client(t, Options{Addr: addr})
	for range 3 {
		for _, body := range []string{"", "x", long[:copySize-before-behind], long} {
			for _, length := range []int64{int64(len(body)), wire.Chunked} {
				k := get(t, c)
				want := body
				r := post(readerOnly{strings.NewReader(body)}, length, "")
				if length == wire.Chunked {
					want += "|X-Sum=1"
					r.Trailer = func() []wire.Field {
						return []wire.Field{{Name: []byte("X-Sum"), Value: []byte("1")}, {Name: []byte("Host"), Value: []byte("b")}}
					}
				}
				if _, got := round(t, k, r); got != want {
					t.Errorf("%d bytes as %d: got %d bytes %.40q", len(body), length, len(got), got)
				}
				sent(t, k)
				k.Release()
				if all, idle := c.Open(); all != 1 || idle != 1 {
					t.Fatalf("%d bytes as %d: %d open, %d idle, want one", len(body), length, all, idle)
				}
			}
		}
	}
}

// A request larger than the socket takes at once is sent beside the wait.
func TestSendWhole(t *testing.T) {
	addr := serve(t, echo)
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<19)
	c := client(t, Options{Addr: addr})
	for range 2 {
		k := get(t, c)
		r := post(nil, int64(len(body)), "")
		r.Head = append(r.Head, body...)
		if _, got := round(t, k, r); got != string(body) {
			t.Errorf("got %d bytes", len(got))
		}
		sent(t, k)
		k.Release()
		if _, idle := c.Open(); idle != 1 {
			t.Error("the connection was not kept")
		}
	}
}

type failing struct {
	from io.Reader
	err  error
}

func (f failing) Read(p []byte) (int, error) {
	n, err := f.from.Read(p)
	if errors.Is(err, io.EOF) {
		err = f.err
	}
	return n, err
}

func TestBodyBreaks(t *testing.T) {
	lost := errors.New("the caller is lost")
	for name, c := range map[string]struct {
		body   io.Reader
		length int64
		want   error
	}{
		"counted": {failing{strings.NewReader("abc"), lost}, 5, lost},
		"chunked": {failing{strings.NewReader("abc"), lost}, wire.Chunked, lost},
		"short":   {strings.NewReader("abc"), 5, errShortBody},
		"empty":   {strings.NewReader(""), 5, errShortBody},
		"long":    {strings.NewReader("abcdef"), 5, errLongBody},
		"stuck":   {stuck{}, 5, io.ErrNoProgress},
	} {
		got := make(chan string, 1)
		addr := serve(t, func(p *peer) { got <- p.body(p.head()) })
		cl := client(t, Options{Addr: addr})
		k := get(t, cl)
		_, err := k.Do(t.Context(), post(c.body, c.length, ""))
		var bad *BodyError
		if !errors.As(err, &bad) || !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want *BodyError %v", name, err, c.want)
		}
		k.Release()
		if all, _ := cl.Open(); all != 0 {
			t.Errorf("%s: the connection is open", name)
		}
		if seen := <-got; len(seen) >= 5 && !strings.Contains(seen, "!") {
			t.Errorf("%s: the server saw a whole body: %q", name, seen)
		}
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

// The server answers before it has the body. The rest may still be wanted or not;
// the answer is passed on, and the connection kept only if the body was finished.
func TestEarlyAnswer(t *testing.T) {
	for _, finish := range []bool{false, true} {
		for _, length := range []int64{10, wire.Chunked} {
			addr := serve(t, func(p *peer) {
				for nth := 0; ; nth++ {
					head := p.head()
					if head == "" {
						return
					}
					p.say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
					p.body(head)
				}
			})
			c := client(t, Options{Addr: addr})
			k := get(t, c)
			in, out := io.Pipe()
			r := post(in, length, "")
			stopped := make(chan bool, 2)
			r.Stop = func() {
				_ = in.Close()
				stopped <- true
			}
			if status, body := round(t, k, r); status != 413 || body != "no" {
				t.Errorf("%d %q", status, body)
			}
			if finish {
				_, _ = io.WriteString(out, "0123456789")
				_ = out.Close()
				sent(t, k)
			}
			k.Release()
			if _, idle := c.Open(); (idle == 1) != finish || (len(stopped) > 0) == finish {
				t.Errorf("finish %v: kept %v, stopped %d times", finish, idle == 1, len(stopped))
			}
			_ = out.Close()
		}
	}
}

// The server refuses and resets while the body is on its way: the answer that was
// sent before the reset is passed on.
func TestEarlyClose(t *testing.T) {
	addr := serve(t, func(p *peer) {
		p.head()
		p.say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
		p.half()
		p.gone()
	})
	k := get(t, client(t, Options{Addr: addr}))
	r := post(endless{}, 1<<40, "")
	if status, body := round(t, k, r); status != 413 || body != "no" {
		t.Errorf("%d %q", status, body)
	}
	k.Release()
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// An answer that streams while the request does.
func TestBothWays(t *testing.T) {
	addr := serve(t, func(p *peer) {
		p.head()
		p.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for range 50 {
			p.say("4\r\n" + p.take(4) + "\r\n")
		}
		p.say("0\r\n\r\n")
		p.gone()
	})
	c := client(t, Options{Addr: addr})
	k := get(t, c)
	in, out := io.Pipe()
	if _, err := k.Do(t.Context(), post(in, 200, "")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	for i := range 50 {
		want := fmt.Sprintf("%04d", i)
		_, _ = io.WriteString(out, want)
		if _, err := io.ReadFull(k.Body(), got); err != nil && !errors.Is(err, io.EOF) || string(got) != want {
			t.Fatalf("piece %d: %q, %v", i, got, err)
		}
	}
	_ = out.Close()
	if rest, err := io.ReadAll(k.Body()); len(rest) > 0 || err != nil {
		t.Errorf("then %q, %v", rest, err)
	}
	sent(t, k)
	k.Release()
	if _, idle := c.Open(); idle != 1 {
		t.Error("the connection was not kept")
	}
}

func TestExpect(t *testing.T) {
	for name, c := range map[string]struct {
		first, want string
		kept, read  bool
	}{
		"asked":     {"HTTP/1.1 100 Continue\r\n\r\n", "100 200 abc", true, true},
		"hints":     {"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", "103 100 200 abc", true, true},
		"refused":   {"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n", "417 ", false, false},
		"not asked": {"", "200 abc", true, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			cl := client(t, Options{Dial: within(func(p *peer) {
				for head := p.head(); head != ""; head = p.head() {
					p.say(c.first)
					if got := p.body(head); got != "" {
						p.say("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" + got)
					}
				}
			})})
			k := get(t, cl)
			var got strings.Builder
			from := &counting{from: strings.NewReader("abc")}
			r := post(from, 3, "Expect: 100-continue\r\n")
			r.Interim = interims(&got)
			status, body := round(t, k, r)
			fmt.Fprintf(&got, "%d %s", status, body)
			k.Release()
			if _, idle := cl.Open(); got.String() != c.want || (idle == 1) != c.kept || (from.n > 0) != c.read {
				t.Errorf("%s: %q, kept %v, body read %d times", name, got.String(), idle == 1, from.n)
			}
		})
	}
}

type counting struct {
	from io.Reader
	n    int
}

func (c *counting) Read(p []byte) (int, error) {
	c.n++
	return c.from.Read(p)
}

// The deadline is put off while the body moves, and only then.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := get(t, client(t, Options{Dial: within(echo)}))
		r := post(&slow{pieces: 8, each: 250 * time.Millisecond}, 8, "")
		r.Wait, r.Deadline = 300*time.Millisecond, time.Now().Add(time.Second)
		if _, body := round(t, k, r); body != "xxxxxxxx" {
			t.Errorf("got %q", body)
		}
		k.Release()
	})
	synctest.Test(t, func(t *testing.T) {
		k := get(t, client(t, Options{Dial: within(func(p *peer) {
			p.body(p.head())
			p.gone()
		})}))
		r := post(&slow{pieces: 3, each: 50 * time.Millisecond}, 3, "")
		r.Wait, r.Deadline = 500*time.Millisecond, time.Now()
		began := time.Now()
		if _, err := k.Do(t.Context(), r); !errors.Is(err, ErrDeadline) || time.Since(began) != 650*time.Millisecond {
			t.Errorf("after %s: %v, want the deadline half a second after the last piece", time.Since(began), err)
		}
		k.Discard()
	})
}

type slow struct {
	pieces int
	each   time.Duration
}

func (s *slow) Read(p []byte) (int, error) {
	if s.pieces == 0 {
		return 0, io.EOF
	}
	pause(s.each)
	s.pieces--
	p[0] = 'x'
	return 1, nil
}

// An error while the body waits for the caller: Stop makes it return, and nothing
// is left behind.
func TestStop(t *testing.T) {
	addr := serve(t, func(p *peer) {
		p.head()
		p.take(3)
	})
	k := get(t, client(t, Options{Addr: addr}))
	in, out := io.Pipe()
	r := post(in, 10, "")
	r.Stop = func() { _ = in.CloseWithError(errors.New("stopped")) }
	wrote := make(chan error)
	go func() {
		_, err := io.WriteString(out, "abc")
		wrote <- err
	}()
	_, err := k.Do(t.Context(), r)
	if broken := connError(t, err); broken.Answered {
		t.Errorf("%+v", broken)
	}
	if err := <-wrote; err != nil {
		t.Errorf("the body was not read: %v", err)
	}
	k.Discard()
}
