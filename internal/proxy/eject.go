package proxy

import (
	"cmp"
	"log/slog"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/proxy/redact"
)

// ejectForgotten is how long after an ejection the next one is short again.
const ejectForgotten = time.Minute

// ejection is delivery.Ejection with the documented values in place of zero.
type ejection struct{ delivery.Ejection }

func ejectionOf(e delivery.Ejection) ejection {
	e.After = cmp.Or(e.After, 5)
	e.First = cmp.Or(e.First, min(time.Second, cmp.Or(e.Longest, time.Second)))
	e.Longest = max(cmp.Or(e.Longest, 30*time.Second), e.First)
	e.Most = cmp.Or(e.Most, delivery.Percent(50))
	return ejection{e}
}

// most returns how many of n endpoints may be out at once.
func (e ejection) most(n int) int {
	return (n*int(e.Most) + int(delivery.Full) - 1) / int(delivery.Full)
}

// answered ends a row of failures.
func (p *endpoint) answered() {
	if p.failures.Load() != 0 {
		p.failures.Store(0)
	}
}

// failed counts a connect failure or a broken answer. Enough of them in a row
// eject the endpoint from among its fellows, for longer each time, but never more
// of them than the policy allows and never the last healthy one: only the active
// check takes that out. One at a time decides, under turn.
func (p *endpoint) failed(why error, fellows []*endpoint, policy ejection, turn *sync.Mutex) {
	if n := p.failures.Add(1); policy.After < 0 || int(n) < policy.After {
		return
	}
	turn.Lock()
	defer turn.Unlock()
	now := time.Now()
	healthy, out := 0, 0
	for _, f := range fellows {
		switch {
		case f != p && f.healthy(now):
			healthy++
		case f != p && f.ejected.Load() > now.UnixNano():
			out++
		}
	}
	if healthy == 0 || out+1 > policy.most(len(fellows)) || p.ejected.Load() > now.UnixNano() {
		return
	}
	p.mu.Lock()
	if last := p.ejected.Load(); p.wait == 0 || now.UnixNano()-last > int64(ejectForgotten) {
		p.wait = policy.First
	} else {
		p.wait = min(2*p.wait, policy.Longest)
	}
	wait := p.wait
	said := redact.Error(why) // it may quote an answer
	p.why = "ejected after " + said
	p.mu.Unlock()
	p.failures.Store(0)
	p.ejected.Store(now.Add(wait).UnixNano())
	if p.queue.Load() != nil {
		time.AfterFunc(wait, p.stir) // nothing else tells those that wait that it is back
	}
	p.log.Warn("endpoint ejected", slog.Duration("for", wait), slog.String("why", said))
}
