package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/proxy/wire"
)

// Callers cancel, give up and go on while connections die at every moment: no
// answer goes to the wrong request, none is waited for in vain, nothing leaks.
func TestStorm(t *testing.T) {
	addr := serve(t, func(p *peer) {
		for head := p.head(); head != ""; head = p.head() {
			if !stormy(p, strings.Fields(head)[1]) {
				return
			}
		}
	})
	c := client(t, Options{Addr: addr, MaxIdle: 8})
	var all sync.WaitGroup
	var answered, broken, cancelled atomic.Int32
	enough := errors.New("enough")
	for g := range 12 {
		all.Go(func() {
			for i := range 300 {
				path := fmt.Sprintf("/%d/%d", g, i)
				k, err := c.Get(t.Context())
				if err != nil {
					t.Errorf("%s: %v", path, err)
					return
				}
				var cut *time.Timer
				if i%7 == 0 {
					cut = time.AfterFunc(time.Duration(rand.IntN(300))*time.Microsecond, func() { k.Cancel(enough) })
				}
				got, err := fetch(t, k, path)
				switch {
				case err == nil && got == path:
					answered.Add(1)
				case errors.Is(err, enough):
					cancelled.Add(1)
				case errors.As(err, new(*ConnError)) || errors.Is(err, io.ErrUnexpectedEOF):
					broken.Add(1)
				default:
					t.Errorf("%s: got %q, %v", path, got, err)
				}
				if cut == nil || cut.Stop() {
					k.Release()
				} else {
					k.Discard() // Cancel may still come
				}
				if i%50 == 49 {
					c.CloseIdle()
				}
			}
		})
	}
	all.Wait()
	t.Logf("%d answered, %d broken, %d cancelled", answered.Load(), broken.Load(), cancelled.Load())
	if answered.Load() < 1000 || broken.Load() == 0 {
		t.Errorf("%d answered, %d broken: no storm", answered.Load(), broken.Load())
	}
	if open, idle := c.Open(); open != idle {
		t.Errorf("%d open, %d idle", open, idle)
	}
}

// stormy answers somehow, and says whether the connection goes on.
func stormy(p *peer, path string) bool {
	answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(path), path)
	switch rand.IntN(20) {
	case 0:
		return false
	case 1:
		p.say(answer[:rand.IntN(len(answer))])
		return false
	case 2:
		p.reset()
		return false
	case 3:
		p.say(answer)
		return false
	case 4:
		p.say(answer)
		p.reset()
		return false
	case 5:
		at := rand.IntN(len(answer))
		p.say(answer[:at])
		pause(time.Duration(rand.IntN(500)) * time.Microsecond)
		p.say(answer[at:])
	case 6:
		pause(time.Duration(rand.IntN(2000)) * time.Microsecond)
		p.say(answer)
	case 7:
		p.say(fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(path), path))
		pause(time.Duration(rand.IntN(500)) * time.Microsecond)
		p.say("0\r\n\r\n")
	default:
		p.say(answer)
	}
	return true
}

func fetch(t *testing.T, k *Conn, path string) (string, error) {
	head := append(k.Scratch(), "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n"...)
	if _, err := k.Do(t.Context(), &Request{Head: head, Method: "GET", Deadline: time.Now().Add(patience)}); err != nil {
		return "", err
	}
	b, err := io.ReadAll(k.Body())
	return string(b), err
}

// Answers of every framing, in pieces and cut off anywhere, are what they are to
// http.Transport.
func TestAgainstTransport(t *testing.T) {
	say := make(chan []string, 1)
	addr := serve(t, func(p *peer) {
		if p.head() == "" {
			return
		}
		for _, piece := range <-say {
			p.say(piece)
			pause(10 * time.Microsecond)
		}
	})
	c := client(t, Options{Addr: addr})
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	rapid.Check(t, func(r *rapid.T) {
		method := rapid.SampledFrom([]string{"GET", "GET", "HEAD"}).Draw(r, "method")
		answer := drawAnswer(r)
		whole := len(answer)
		if rapid.Bool().Draw(r, "cut") {
			answer = answer[:rapid.IntRange(0, whole).Draw(r, "at")]
		}
		var pieces []string
		for at := 0; at < len(answer); {
			n := min(rapid.IntRange(1, 3000).Draw(r, "piece"), len(answer)-at)
			pieces = append(pieces, answer[at:at+n])
			at += n
		}
		say <- pieces
		want := viaTransport(t, transport, method, addr)
		say <- pieces
		got := viaClient(t, c, method)
		if got != want {
			r.Fatalf("%s answered by %q: we see %s, http.Transport %s", method, answer, got, want)
		}
	})
}

func drawAnswer(r *rapid.T) string {
	var b bytes.Buffer
	for range rapid.SampledFrom([]int{0, 0, 1, 3}).Draw(r, "interims") {
		b.WriteString("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
	}
	status := rapid.SampledFrom([]int{200, 200, 200, 204, 304, 404, 500}).Draw(r, "status")
	fmt.Fprintf(&b, "HTTP/1.%d %d Something\r\n", rapid.IntRange(0, 1).Draw(r, "minor"), status)
	fmt.Fprintf(&b, "X-Pad: %s\r\n", strings.Repeat("p", rapid.SampledFrom([]int{0, 10, 9000}).Draw(r, "pad")))
	body := strings.Repeat("0123456789", rapid.SampledFrom([]int{0, 1, 30, 2000}).Draw(r, "body"))
	framing := rapid.SampledFrom([]string{"counted", "chunked", "close"}).Draw(r, "framing")
	if status == 204 || status == 304 || framing == "chunked" && strings.HasPrefix(b.String()[strings.LastIndex(b.String(), "HTTP/1."):], "HTTP/1.0") {
		framing, body = "counted", ""
	}
	switch framing {
	case "counted":
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	case "close":
		b.WriteString("Connection: close\r\n\r\n" + body)
	default:
		b.WriteString("Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
		for len(body) > 0 {
			n := rapid.IntRange(1, len(body)).Draw(r, "chunk")
			fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
			body = body[n:]
		}
		b.WriteString("0\r\nX-Sum: 7\r\n\r\n")
	}
	return b.String()
}

// outcome is what a client says about an answer.
func outcome(status int, body []byte, trailer string, err error) string {
	if err != nil {
		return fmt.Sprintf("%d, broken", status)
	}
	return fmt.Sprintf("%d, %d bytes, trailer %q, %x", status, len(body), trailer, body[:min(8, len(body))])
}

func viaTransport(t *testing.T, rt http.RoundTripper, method, addr string) string {
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := rt.RoundTrip(r)
	if err != nil {
		return outcome(0, nil, "", err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	return outcome(res.StatusCode, b, res.Trailer.Get("X-Sum"), err)
}

func viaClient(t *testing.T, c *Client, method string) string {
	k, err := c.GetFresh(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer k.Discard()
	r := plain(patience)
	r.Method, r.Head = method, []byte(method+" / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	res, err := k.Do(t.Context(), r)
	if err != nil {
		return outcome(0, nil, "", err)
	}
	status := res.Status
	b, err := io.ReadAll(k.Body())
	trailer := ""
	for _, f := range k.Body().Trailer() {
		if wire.Is(f.Name, "x-sum") {
			trailer = string(f.Value)
		}
	}
	return outcome(status, b, trailer, err)
}
