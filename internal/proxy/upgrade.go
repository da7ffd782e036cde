package proxy

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// upgrade hands the two connections to each other after 101. The request is
// counted as answered now; its instance stays claimed, and so is drained, until
// both sides are done.
func (x *exchange) upgrade(p *endpoint, res *http.Response) {
	instance, both := res.Body.(io.ReadWriteCloser)
	if !both || !strings.EqualFold(upgradeOf(res.Header), upgradeOf(x.r.Header)) {
		x.refuse(failure{broken, errors.New("switched to a protocol that was not asked for")})
		return
	}
	x.e.upgrades.Add(1)
	defer x.e.upgrades.Done()
	conn, client, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		x.refuse(failure{broken, err})
		return
	}
	openGate(conn)
	defer func() { _ = conn.Close() }()
	// The server's head is ours to write now: what it would have sent, and 101.
	head := x.w.Header()
	head.Del("Connection")
	for name, values := range res.Header {
		head[name] = append(head[name], values...)
	}
	res.Header, res.Body = head, nil
	err = errors.Join(conn.SetDeadline(time.Time{}), res.Write(client), client.Flush())
	res.Body = instance // for its Close
	if err != nil {
		x.end(failure{cancelled, err}, http.StatusSwitchingProtocols, 0)
		return
	}
	p.answered()
	x.end(failure{how: finished}, http.StatusSwitchingProtocols, 0)
	two := &tunnel{conn, instance}
	p.streams.add(two)
	defer p.streams.remove(two)
	var in, out int64
	up, down := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(up)
		in, _ = io.Copy(instance, client)
	}()
	go func() {
		defer close(down)
		out, _ = io.Copy(conn, instance)
	}()
	// When one side is done the other has nothing more to wait for.
	select {
	case <-up:
	case <-down:
	}
	_ = conn.Close()
	_ = instance.Close()
	<-up
	<-down
	x.ticket.more(in, out)
}

// tunnel is two connections that are each other's.
type tunnel struct{ caller, instance io.Closer }

// cut ends both, and with them what copies between them.
func (t *tunnel) cut() {
	_ = t.caller.Close()
	_ = t.instance.Close()
}
