package upstream

import (
	"strings"
	"testing"
)

func TestKeepAlive(t *testing.T) {
	addr := serve(t, func(p *peer) {
		for p.head() != "" {
			p.say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
		}
	})
	c := client(t, Options{Addr: addr})
	for i := range 50 {
		k := get(t, c)
		if k.Reused() != (i > 0) {
			t.Errorf("round %d: Reused = %v", i, k.Reused())
		}
		if status, body := round(t, k, plain(patience)); status != 200 || body != "hello" {
			t.Errorf("round %d: %d %q", i, status, body)
		}
		k.Release()
		if all, idle := c.Open(); all != 1 || idle != 1 {
			t.Fatalf("round %d: %d open, %d idle, want one", i, all, idle)
		}
	}
}

func TestBodies(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 100<<10/16)
	for name, c := range map[string]struct {
		method, answer, want string
		kept                 bool
	}{
		"counted":          {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc", true},
		"empty":            {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", true},
		"long":             {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 102400\r\n\r\n" + long, long, true},
		"chunked":          {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n", "abcde", true},
		"long chunk":       {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n19000\r\n" + long + "\r\n1\r\n!\r\n0\r\n\r\n", long + "!", true},
		"trailers":         {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\nContent-Length: 4\r\n\r\n", "a|X-Sum=1", true},
		"head":             {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "", true},
		"no content":       {"GET", "HTTP/1.1 204 No Content\r\n\r\n", "", true},
		"not modified":     {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "", true},
		"close":            {"GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc", "abc", false},
		"until close":      {"GET", "HTTP/1.1 200 OK\r\n\r\nabc", "abc", false},
		"old":              {"GET", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc", false},
		"old, kept":        {"GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc", "abc", true},
		"a byte too many":  {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd", "abc", false},
		"too many, chunks": {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n", "", false},
		"head with a body": {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "", false},
		"hints":            {"GET", "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", "103 100 a", true},
		"large head":       {"GET", "HTTP/1.1 200 OK\r\nX: " + long + "\r\nContent-Length: 1\r\n\r\na", "a", true},
	} {
		for _, pieces := range []int{1 << 30, 7000, 1} {
			if pieces == 1 && len(c.answer) > 1000 {
				continue
			}
			addr := serve(t, func(p *peer) {
				for p.head() != "" {
					for i := 0; i < len(c.answer); i += pieces {
						p.say(c.answer[i:min(i+pieces, len(c.answer))])
					}
					if !c.kept && !strings.Contains(c.answer, "byte") {
						return
					}
				}
			})
			cl := client(t, Options{Addr: addr})
			k := get(t, cl)
			var got strings.Builder
			r := plain(patience)
			r.Method = c.method
			r.Interim = interims(&got)
			_, body := round(t, k, r)
			got.WriteString(body)
			for _, f := range k.Body().Trailer() {
				got.WriteString("|" + string(f.Name) + "=" + string(f.Value))
			}
			if got.String() != c.want || !k.Body().Done() {
				t.Errorf("%s by %d: got %.60q, want %.60q", name, pieces, got.String(), c.want)
			}
			k.Release()
			if _, idle := cl.Open(); pieces > 1 && (idle == 1) != c.kept {
				t.Errorf("%s by %d: kept %v, want %v", name, pieces, idle == 1, c.kept)
			}
		}
	}
}
