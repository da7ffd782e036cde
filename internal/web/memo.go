package web

import (
	"context"
	"sync"
	"time"
)

// shared lets all who watch a page share one look at it a second. A page itself is
// always read afresh: who has just done something sees it done.
func (w *Web) shared(show show) show {
	m := &memo{of: map[string]*glance{}}
	return func(ctx context.Context, q request) (page, error) {
		if !wantsStream(q.Request) {
			return show(ctx, q)
		}
		return m.look(ctx, q, show)
	}
}

// fresh is for how long a look may be shared: a little less than the time between two.
const fresh = lookTime - lookTime/10

// maxGlances is how many pages are remembered.
const maxGlances = 200

// memo keeps the last look at each page, by its address, by what who looks may do, and
// by what they are told of what they may not do: that calls them by their name.
type memo struct {
	mu sync.Mutex
	of map[string]*glance
}

// glance is one look at a page. Whoever comes while it is taken waits for it.
type glance struct {
	mu   sync.Mutex
	at   time.Time
	page page
}

func (m *memo) look(ctx context.Context, q request, show show) (page, error) {
	g := m.take(string(q.Who.Access) + " " + mayNot(q.Who) + " " + q.URL.RequestURI())
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.at) < fresh {
		return g.page, nil
	}
	p, err := show(ctx, q)
	if err != nil {
		return p, err // it may be that of this one alone: who went away
	}
	g.at, g.page = time.Now(), p
	return p, nil
}

func (m *memo) take(key string) *glance {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of[key] == nil {
		if len(m.of) >= maxGlances {
			clear(m.of) // those who hold one go on with it
		}
		m.of[key] = &glance{}
	}
	return m.of[key]
}
