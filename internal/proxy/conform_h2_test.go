package proxy_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/porttest"
	"github.com/slipway-cd/slipway/internal/traffic"
	driver "github.com/slipway-cd/slipway/internal/traffic/proxy"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

// TestConformHTTP2InFront plays every answer of the corpus to callers of HTTP/2,
// who must get the same of it as callers of HTTP/1.1.
func TestConformHTTP2InFront(t *testing.T) {
	t.Parallel()
	f := planeFront(t, "full", false)
	client := overH2C(t)
	n := 0
	for _, c := range answerCases() {
		if len(c.sends) != 1 || c.sends[0] != getA && c.sends[0] != headA {
			continue
		}
		n++
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := <-f.lanes
			defer func() { f.lanes <- l }()
			l.begin(c.play)
			method := strings.Fields(c.sends[0])[0]
			got := askHTTP2(t, client, method, "http://"+l.addr+"/a")
			if err := l.settle(t.Context()); err != nil {
				t.Fatalf("%v, after %s", err, got)
			}
			var want []string
			for one := range strings.SplitSeq(c.want, otherwise) {
				head, _, _ := strings.Cut(one, "; ")
				parts := strings.Split(head, ", ")
				want = append(want, parts[len(parts)-1]) // interim answers are asked about elsewhere
			}
			if !matches(strings.Join(want, otherwise), got) {
				t.Errorf("answer = %s, want %s", got, strings.Join(want, otherwise))
			}
			if got := askHTTP2(t, client, http.MethodGet, "http://"+l.addr+"/end"); got != "200 /end" {
				t.Errorf("the next answer = %s, want that of /end", got)
			}
		})
	}
	if n < 100 {
		t.Errorf("%d answers of the corpus were played", n)
	}
}

// askHTTP2 returns an answer as an outcome has it.
func askHTTP2(t *testing.T, client http.RoundTripper, method, url string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = usualHost
	res, err := client.RoundTrip(r)
	if err != nil {
		return "no answer"
	}
	a := &heard{Response: res}
	a.body, err = io.ReadAll(res.Body)
	a.cut = err != nil && res.StatusCode != http.StatusNotModified // whose length the client waits for in vain
	_ = res.Body.Close()
	return printable(a.String())
}

// h2Instance is an instance whose frames a test writes.
type h2Instance struct {
	addr  string
	conns atomic.Int32
	calls atomic.Int32
}

// h2Call is one request that an h2Instance got the head of.
type h2Call struct {
	net.Conn
	stream uint32
	number int  // among all of the instance, from 1
	first  bool // of its connection
}

// frame writes one frame of the call's stream.
func (c *h2Call) frame(kind, flags byte, payload []byte) {
	_, _ = c.Write(h2Frame(kind, flags, c.stream, payload))
}

// More frames and flags of RFC 9113, 6, and error codes of section 7.
const (
	h2Data, h2Ping, h2GoAway         = 0x0, 0x6, 0x7
	h2Ack                            = 0x1
	h2NoError, h2Internal, h2Refused = 0x0, 0x2, 0x7
)

// h2Block is a block of fields without Huffman codes or indices (RFC 7541, 6.2.2).
func h2Block(fields ...string) []byte {
	var b []byte
	for i := 0; i < len(fields); i += 2 {
		b = append(b, 0, byte(len(fields[i])))
		b = append(b, fields[i]...)
		b = append(b, byte(len(fields[i+1])))
		b = append(b, fields[i+1]...)
	}
	return b
}

func uint32s(all ...uint32) []byte {
	var b []byte
	for _, n := range all {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return b
}

// newH2Instance starts an instance that answers each head with frames.
func newH2Instance(t *testing.T, answer func(*h2Call)) *h2Instance {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	in := &h2Instance{addr: ln.Addr().String()}
	var all sync.WaitGroup
	open := make(chan net.Conn, 100)
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			open <- c
			all.Go(func() { in.serve(c, answer) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		for len(open) > 0 {
			_ = (<-open).Close()
		}
		all.Wait()
	})
	return in
}

func (in *h2Instance) serve(c net.Conn, answer func(*h2Call)) {
	defer c.Close()
	r := bufio.NewReader(c)
	if _, err := r.Discard(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")); err != nil {
		return
	}
	in.conns.Add(1)
	_, _ = c.Write(h2Frame(h2Settings, 0, 0, nil))
	for first := true; ; {
		var head [9]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(r, payload); err != nil {
			return
		}
		switch kind, flags := head[3], head[4]; {
		case kind == h2Settings && flags&h2Ack == 0:
			_, _ = c.Write(h2Frame(h2Settings, h2Ack, 0, nil))
		case kind == h2Ping && flags&h2Ack == 0:
			_, _ = c.Write(h2Frame(h2Ping, h2Ack, 0, payload))
		case kind == h2Headers:
			answer(&h2Call{Conn: c, stream: binary.BigEndian.Uint32(head[5:]), number: int(in.calls.Add(1)), first: first})
			first = false
		}
	}
}

// TestConformHTTP2Instance writes the frames of an instance by hand.
func TestConformHTTP2Instance(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	serve(t, dir)
	good := func(c *h2Call) {
		c.frame(h2Headers, h2EndHeaders, h2Block(":status", "200", "x-answer", "x"))
		c.frame(h2Data, h2EndStream, []byte("hi"))
	}
	w := traffictest.NewWorld(t, driver.New(filepath.Join(dir, "s")))
	w.Listeners, w.Routes = nil, nil
	cases := []struct {
		name   string
		method string
		answer func(*h2Call)
		want   string
		calls  int32 // that the instance got of it; 0 is not asked about
		conns  int32 // that the instance had after another request
	}{
		{name: "plain", answer: good, want: `200 x "hi"`, calls: 1, conns: 1},
		{name: "no body", answer: func(c *h2Call) {
			c.frame(h2Headers, h2EndHeaders|h2EndStream, h2Block(":status", "204", "x-answer", "x"))
		}, want: "204 x"},
		{name: "trailers", answer: func(c *h2Call) {
			c.frame(h2Headers, h2EndHeaders, h2Block(":status", "200", "x-answer", "x", "trailer", "grpc-status"))
			c.frame(h2Data, 0, []byte("hi"))
			c.frame(h2Headers, h2EndHeaders|h2EndStream, h2Block("grpc-status", "5"))
		}, want: `200 x "hi" +Grpc-Status:5`},
		{name: "trailers that were not announced", answer: func(c *h2Call) {
			c.frame(h2Headers, h2EndHeaders, h2Block(":status", "200", "x-answer", "x"))
			c.frame(h2Data, 0, []byte("hi"))
			c.frame(h2Headers, h2EndHeaders|h2EndStream, h2Block("grpc-status", "5"))
		}, want: `200 x "hi" +Grpc-Status:5`},
		{name: "trailers only", answer: func(c *h2Call) {
			c.frame(h2Headers, h2EndHeaders|h2EndStream, h2Block(":status", "200", "x-answer", "x", "grpc-status", "5"))
		}, want: "200 x"},
		{name: "reset inside the body", answer: func(c *h2Call) {
			c.frame(h2Headers, h2EndHeaders, h2Block(":status", "200", "x-answer", "x"))
			c.frame(h2Data, 0, []byte("h"))
			c.frame(h2Reset, 0, uint32s(h2Internal))
		}, want: "200 x cut or no answer"},
		{name: "reset after the head", answer: func(c *h2Call) {
			c.frame(h2Headers, h2EndHeaders, h2Block(":status", "200", "x-answer", "x"))
			c.frame(h2Reset, 0, uint32s(h2Internal))
		}, want: "200 x cut or no answer"},
		{name: "reset at once", method: http.MethodPost, answer: func(c *h2Call) {
			c.frame(h2Reset, 0, uint32s(h2Internal))
		}, want: "502", calls: 1},
		{name: "connection lost inside the body", answer: func(c *h2Call) {
			c.frame(h2Headers, h2EndHeaders, h2Block(":status", "200", "x-answer", "x"))
			c.frame(h2Data, 0, []byte("h"))
			_ = c.Close()
		}, want: "200 x cut or no answer"},
		{name: "refused once", method: http.MethodPost, answer: func(c *h2Call) {
			if c.number > 1 {
				good(c)
				return
			}
			c.frame(h2Reset, 0, uint32s(h2Refused)) // was not looked at, so any request goes again
		}, want: `200 x "hi"`, calls: 2},
		{name: "going away before it looked", method: http.MethodPost, answer: func(c *h2Call) {
			if c.number > 1 {
				good(c)
				return
			}
			_, _ = c.Write(h2Frame(h2GoAway, 0, 0, uint32s(0, h2NoError)))
		}, want: `200 x "hi"`, calls: 2, conns: 2},
		{name: "going away under the answer", answer: func(c *h2Call) {
			if c.number == 1 {
				_, _ = c.Write(h2Frame(h2GoAway, 0, 0, uint32s(c.stream, h2NoError)))
			}
			good(c)
		}, want: `200 x "hi"`, calls: 1, conns: 2},
		{name: "no HTTP/2 behind the preface", method: http.MethodPost, answer: func(c *h2Call) {
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
			_ = c.Close()
		}, want: "502"},
	}
	addrs := map[string]*h2Instance{}
	for _, c := range cases {
		in := newH2Instance(t, c.answer)
		addrs[c.name] = in
		env := strings.ReplaceAll(c.name, " ", "-")
		env = strings.ToLower(strings.ReplaceAll(env, "/", "-"))
		w.Listeners = append(w.Listeners, traffic.Listener{Name: env, Addr: porttest.Free(t), Env: env})
		w.Routes = append(w.Routes, traffic.Route{
			Name: env + "/echo", Env: env, Service: "echo", Gen: 1, Hosts: []string{""}, Salt: "s",
			Pools: []traffic.Pool{{
				Release: "r1", Version: "v1", Weight: delivery.Full, Protocol: delivery.H2C,
				Endpoints: []traffic.Endpoint{{ID: env, Addr: in.addr}}, Check: traffic.Check{Interval: conformLimit},
			}},
			Traffic: delivery.Traffic{Timeout: conformLimit},
		})
	}
	w.MustApply()
	for i, c := range cases {
		addr := "http://" + w.Listeners[i].Addr
		t.Run(c.name, func(t *testing.T) {
			in := addrs[c.name]
			method := c.method
			if method == "" {
				method = http.MethodGet
			}
			if got := askHTTP2(t, overH2C(t), method, addr+"/a"); !matches(c.want, got) {
				t.Errorf("answer = %s, want %s", got, c.want)
			}
			if n := in.calls.Load(); c.calls > 0 && n != c.calls {
				t.Errorf("the instance got %d requests, want %d", n, c.calls)
			}
			if c.conns == 0 {
				return
			}
			_ = askHTTP2(t, overH2C(t), http.MethodGet, addr+"/end")
			if n := in.conns.Load(); c.conns > 0 && n != c.conns {
				t.Errorf("over %d connections, want %d", n, c.conns)
			}
		})
	}
}
