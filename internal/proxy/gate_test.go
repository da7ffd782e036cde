package proxy

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"
)

// given is a connection that only gives what was written beforehand.
type given struct {
	net.Conn
	io.Reader
}

func (s given) Read(p []byte) (int, error) { return s.Reader.Read(p) }

// What is well formed passes byte for byte, in whatever pieces it comes and is taken.
func TestGateChangesNothing(t *testing.T) {
	messages := []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
		"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;x=y\r\nyou\r\n0\r\nA: b\r\n\r\n",
		"PUT /d HTTP/1.1\r\nHost: a\r\nContent-Length: 3000\r\n\r\n" + strings.Repeat("x", 3000),
		"HEAD /" + strings.Repeat("e", 3000) + " HTTP/1.1\r\nHost: a\r\n\r\n",
	}
	rapid.Check(t, func(t *rapid.T) {
		sent := strings.Join(rapid.SliceOfN(rapid.SampledFrom(messages), 0, 6).Draw(t, "messages"), "")
		size := rapid.IntRange(1, 600).Draw(t, "piece")
		g := gated(given{Reader: pieces(sent, size)}, 8<<10, nil)
		var got bytes.Buffer
		p := make([]byte, rapid.IntRange(1, 5000).Draw(t, "taken"))
		for {
			n, err := g.Read(p)
			got.Write(p[:n])
			if err != nil {
				break
			}
		}
		if got.String() != sent {
			t.Fatalf("%d bytes passed as %d: %.200q", len(sent), got.Len(), got.String())
		}
	})
}

func pieces(s string, size int) io.Reader {
	var all []io.Reader
	for len(s) > 0 {
		n := min(size, len(s))
		all = append(all, strings.NewReader(s[:n]))
		s = s[n:]
	}
	return io.MultiReader(all...)
}

// A head that breaks a rule is refused in its turn, and nothing passes behind it.
func TestGateRefusesInTurn(t *testing.T) {
	good := "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
	for name, bad := range map[string]string{
		"two framings":  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
		"bare LF":       "GET / HTTP/1.1\nHost: a\n\n",
		"two lengths":   "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
		"fold":          "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
		"large":         "GET /" + strings.Repeat("x", 9<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n",
		"signed length": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n",
	} {
		for what, read := range map[string]func(string) io.Reader{
			"at once":       func(s string) io.Reader { return strings.NewReader(s) },
			"byte for byte": func(s string) io.Reader { return iotest.OneByteReader(strings.NewReader(s)) },
		} {
			g := gated(given{Reader: read(good + bad + "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n")}, 8<<10, nil)
			b, err := io.ReadAll(g)
			stands := "GET " + refusedTarget + " HTTP/1.1\r\nHost: " + refusedHost + "\r\nConnection: close\r\n\r\n"
			if err != nil || string(b) != good+stands {
				t.Errorf("%s, %s: passed as %.300q, %v", name, what, b, err)
			}
			if inner, ok := g.(*gate); !ok || inner.why.Load() == nil || inner.why.Load().Status < 400 || inner.why.Load().Status == http.StatusBadGateway {
				t.Errorf("%s, %s: no reason is kept", name, what)
			}
		}
	}
}

// A chunked body that breaks a rule ends with an error, not with its last chunk.
func TestGateBreaksABodyOff(t *testing.T) {
	g := gated(given{Reader: strings.NewReader("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n+3\r\nyou\r\n0\r\n\r\n")}, 8<<10, nil)
	b, err := io.ReadAll(g)
	if err == nil || strings.Contains(string(b), "you") {
		t.Errorf("passed as %q, %v; want an error behind hello", b, err)
	}
}

// once gives all there is and its end in one read, as TLS does.
type once struct{ all string }

func (o *once) Read(p []byte) (int, error) {
	n := copy(p, o.all)
	if o.all = o.all[n:]; o.all == "" {
		return n, io.EOF
	}
	return n, nil
}

// Nobody gets past the gate: not by the first word of HTTP/2's preface, which is a
// method too, not by CONNECT, and not by ending the connection at once.
func TestGateHasNoWayRound(t *testing.T) {
	const lax = "GET /hidden HTTP/1.1\nHost: a\n\n"
	const first = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	for name, sent := range map[string]string{
		"PRI as a method":       "PRI / HTTP/1.1\r\nHost: a\r\n\r\n" + lax,
		"PRI as a later method": first + "PRI / HTTP/1.1\r\nHost: a\r\n\r\n" + lax,
		"half a preface":        "PRI * HTTP/2.0\r\n\r\n" + lax,
		"a late preface":        first + preface + lax,
		"CONNECT":               "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n" + lax,
		"an end at once":        lax,
	} {
		for what, read := range map[string]io.Reader{"at once": &once{sent}, "byte for byte": iotest.OneByteReader(strings.NewReader(sent))} {
			b, err := io.ReadAll(gated(given{Reader: read}, 8<<10, nil))
			if err != nil || strings.Contains(string(b), "hidden") {
				t.Errorf("%s, %s: passed as %q, %v", name, what, b, err)
			}
		}
	}
	b, err := io.ReadAll(gated(given{Reader: iotest.OneByteReader(strings.NewReader(preface + lax))}, 8<<10, nil))
	if err != nil || string(b) != preface+lax {
		t.Errorf("HTTP/2 passed as %q, %v", b, err)
	}
	if g, ok := gated(&tls.Conn{}, 8<<10, nil).(*gate); !ok || g.h2 {
		t.Error("behind TLS, which has chosen HTTP/1.1, HTTP/2 passes too")
	}
}

// A head that comes byte for byte is not parsed again for each: that would be
// half a terabyte here.
func TestGateTakesHeadsByLines(t *testing.T) {
	head := "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n"
	began := time.Now()
	b, err := io.ReadAll(gated(given{Reader: iotest.OneByteReader(strings.NewReader(head))}, 2<<20, nil))
	if err != nil || string(b) != head {
		t.Errorf("%d bytes passed as %d, %v", len(head), len(b), err)
	}
	if took := time.Since(began); took > 2*time.Minute {
		t.Errorf("it took %s", took)
	}
}
