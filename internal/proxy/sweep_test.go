package proxy

import (
	"testing"
	"time"
)

// A request that comes while connections are looked through is not taken for one
// that has stood still for as long as its connection was idle before.
func TestSweepSeesAPhaseWithItsOwnTime(t *testing.T) {
	g, _ := guestOfTest(t)
	c := newRawConn(&front{engine: newEngine(Options{Log: quiet}, "boot", 1000)}, g)
	c.patience.Store(int64(time.Minute))
	var conns rawSet
	conns.add(c)
	looks, looked := make(chan struct{}), make(chan struct{})
	go func() {
		for range looks {
			conns.sweep(time.Now(), silence{idle: 24 * time.Hour, head: time.Hour, body: time.Hour})
			looked <- struct{}{}
		}
	}()
	for range 20_000 {
		c.enters(rawIdle, time.Now().Add(-time.Hour))
		looks <- struct{}{}
		c.enters(rawBusy, time.Now())
		<-looked
	}
	close(looks)
	if _, err := g.Write([]byte("x")); err != nil { // it was shut
		t.Errorf("the connection was cut: %v", err)
	}
	_ = g.Close()
}
