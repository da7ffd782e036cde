package web

import (
	"context"
	"html/template"
	"net/http"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Bounds of what is remembered of pages.
const (
	maxGlances = 500              // pages
	maxAddress = 2000             // bytes of the address of one
	glanceTime = 10 * time.Second // after which one that nobody looks at makes room
	lookMost   = 30 * time.Second // that a look for many may take
)

// sight is what a look at a page saw. Many are shown it; it is never changed.
type sight struct {
	page    page          // without what its template shows
	main    template.HTML // rendered: all that its stream renews
	message func() []byte // the same as a stream sends it; made once, if anybody asks
	err     error         // instead of them: why it cannot be shown
}

// look sees a page for one who asks.
type look func(ctx context.Context, q request) *sight

// see takes a look: it reads and renders.
func (w *Web) see(ctx context.Context, q request, show show) *sight {
	p, err := show(ctx, q)
	if err != nil {
		return &sight{err: err}
	}
	main, err := w.render(p)
	if err != nil {
		return &sight{err: err}
	}
	p.View = nil
	return &sight{page: p, main: main, message: sync.OnceValue(func() []byte { return event("", string(main)) })}
}

// alone lets each who asks look for themselves.
func (w *Web) alone(show show) look {
	return func(ctx context.Context, q request) *sight { return w.see(ctx, q, show) }
}

// audience is all to whom a page shows the same: those who may do the same. Nobody
// else's request, name or cookie can be seen in what one of them is shown.
type audience struct {
	access    delivery.Access
	anonymous bool
	address   string
}

func audienceOf(q request) audience {
	return audience{access: q.Who.Access, anonymous: q.Who.Anonymous, address: q.URL.RequestURI()}
}

// request is that of q, as any of the audience makes it.
func (a audience) request(ctx context.Context, q request) request {
	r := q.WithContext(ctx)
	r.Header, r.Host, r.RemoteAddr, r.TLS = http.Header{}, "", "", nil
	return request{Request: r, Who: delivery.Who{Access: a.access, Anonymous: a.anonymous}}
}

// glances are the last looks at pages, each for an audience. The zero value is ready.
type glances struct {
	mu sync.Mutex
	of map[audience]*glance
}

// take returns where looks for an audience are kept. One more than are remembered is
// a look for one alone.
func (m *glances) take(a audience) *glance {
	m.mu.Lock()
	defer m.mu.Unlock()
	if g := m.of[a]; g != nil {
		return g
	}
	if m.of == nil {
		m.of = map[audience]*glance{}
	}
	for other, g := range m.of {
		if g.idle(glanceTime) {
			delete(m.of, other)
		}
	}
	g := &glance{}
	if len(m.of) < maxGlances && len(a.address) <= maxAddress {
		m.of[a] = g
	}
	return g
}

// glance is one look at a page after the other. Whoever asks is shown one that was
// taken for all who ask at that time.
type glance struct {
	mu    sync.Mutex
	begun int           // looks, so far
	over  chan struct{} // closed when the look under way is over; nil is none under way
	last  *sight        // of the last look that is over
	seen  int           // its number
	at    time.Time     // when it was over
}

func (g *glance) idle(d time.Duration) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.over == nil && time.Since(g.at) >= d
}

// now is the number of the next look: it sees all that was done before.
func (g *glance) now() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.begun + 1
}

// lately is the number of a look that is under way, or over for less than old; of the
// next one if there is none.
func (g *glance) lately(old time.Duration) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over != nil || time.Since(g.at) < old {
		return g.begun
	}
	return g.begun + 1
}

// await returns what the look with a number saw, or a later one. Whoever finds none
// under way takes it; whoever waits may leave.
func (g *glance) await(ctx context.Context, n int, take func() *sight) *sight {
	for {
		g.mu.Lock()
		over, last, seen := g.over, g.last, g.seen
		if seen < n && over == nil {
			g.over = make(chan struct{})
			g.begun++
		}
		g.mu.Unlock()
		switch {
		case seen >= n:
			return last
		case over == nil:
			g.keep(take)
			continue
		}
		select {
		case <-over:
		case <-ctx.Done():
			return &sight{err: ctx.Err()}
		}
	}
}

// keep takes the look that was begun. Those who wait are told even if it panics.
func (g *glance) keep(take func() *sight) {
	s := &sight{err: errInside}
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.last != nil && g.last.err == nil && s.err == nil && g.last.main == s.main {
			s.main, s.message = g.last.main, g.last.message // who was sent it holds the same bytes
		}
		g.last, g.seen, g.at = s, g.begun, time.Now()
		close(g.over)
		g.over = nil
	}()
	s = take()
}

// forAll lets all who may do the same share the looks at a page: whoever follows it
// those of each second, whoever loads it those that begin after they asked. A look is
// that of nobody in particular: it goes on when one of them leaves.
func (w *Web) forAll(show show) (now, lately look) {
	at := func(ctx context.Context, q request, number func(*glance) int) *sight {
		a := audienceOf(q)
		g := w.glances.take(a)
		return g.await(ctx, number(g), func() *sight {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookMost)
			defer cancel()
			s := w.see(ctx, a.request(ctx, q), show)
			s.err = w.noted(ctx, s.err) // once, not for each of those who are told
			return s
		})
	}
	now = func(ctx context.Context, q request) *sight { return at(ctx, q, (*glance).now) }
	lately = func(ctx context.Context, q request) *sight {
		return at(ctx, q, func(g *glance) int { return g.lately(w.every - w.every/10) })
	}
	return now, lately
}
