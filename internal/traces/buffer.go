// Package traces holds the traces of the last minutes, and keeps those of failed
// requests of a release that is being rolled out. It samples and judges nothing;
// its tests flood it.
package traces

import (
	"cmp"
	"slices"
	"sync"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Bounds of what is held.
const (
	maxTraces = 10_000   // held at a time
	maxSpans  = 200      // of one trace
	maxBytes  = 32 << 20 // of all spans, roughly
	maxPinned = 500      // traces that somebody waits for
)

// Buffer holds recent traces. When it is full the oldest go, but for those that
// somebody waits for. The zero value is not usable; NewBuffer makes one.
type Buffer struct {
	mu     sync.Mutex
	held   map[string]*entry
	order  []string // the held ones, by age
	pinned map[string]bool
	bytes  int
}

// entry is one trace as far as it is known.
type entry struct {
	spans   []delivery.Span
	bytes   int
	missing int
}

// NewBuffer returns an empty buffer.
func NewBuffer() *Buffer {
	return &Buffer{held: map[string]*entry{}, pinned: map[string]bool{}}
}

// Add takes in one span, or says that its trace has no room for more. The same
// span again is taken and changes nothing.
func (b *Buffer) Add(trace string, s delivery.Span) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.held[trace]
	if e == nil {
		e = &entry{}
		b.held[trace] = e
		b.order = append(b.order, trace)
	}
	if slices.ContainsFunc(e.spans, func(o delivery.Span) bool { return o.ID == s.ID }) {
		return true
	}
	n := size(s)
	if len(e.spans) >= maxSpans || b.bytes+n > 2*maxBytes {
		e.missing++
		return false
	}
	e.spans = append(e.spans, s)
	e.bytes += n
	b.bytes += n
	b.evict(trace)
	return true
}

// evict lets the oldest go until there is room. The one that was just added to
// stays, and so do those that are waited for.
func (b *Buffer) evict(last string) {
	for n := len(b.order); n > 0 && (len(b.held) > maxTraces || b.bytes > maxBytes); n-- {
		id := b.order[0]
		b.order = b.order[1:]
		if b.pinned[id] || id == last {
			b.order = append(b.order, id)
			continue
		}
		b.bytes -= b.held[id].bytes
		delete(b.held, id)
	}
}

// Pin keeps a trace from being let go, until Unpin. It returns false when too
// many are waited for already.
func (b *Buffer) Pin(trace string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.pinned) >= maxPinned && !b.pinned[trace] {
		return false
	}
	b.pinned[trace] = true
	return true
}

// Unpin undoes Pin.
func (b *Buffer) Unpin(trace string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.pinned, trace)
}

// Trace returns what is known of a trace.
func (b *Buffer) Trace(id string) (delivery.Trace, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.held[id]
	if e == nil || len(e.spans) == 0 {
		return delivery.Trace{}, false
	}
	t := delivery.Trace{ID: id, Spans: slices.Clone(e.spans), Missing: e.missing}
	slices.SortStableFunc(t.Spans, func(a, b delivery.Span) int { return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(b.Took, a.Took)) })
	t.At = t.Spans[0].Start
	return t, true
}

// size is roughly what a span takes, in bytes.
func size(s delivery.Span) int {
	n := 300 + len(s.Name) + len(s.Why) + len(s.Service) + len(s.Instance)
	for k, v := range s.Attrs {
		n += 48 + len(k) + len(v)
	}
	for _, e := range s.Events {
		n += 100 + len(e.Name)
		for k, v := range e.Attrs {
			n += 48 + len(k) + len(v)
		}
	}
	return n
}
