package embedded

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// How long the counts of single seconds are kept, in seconds, and how often what
// is older is forgotten.
const (
	keptSeconds = 900
	strideAge   = 30
)

// settle is how long after its end a second may still change: a request that
// arrived in it and takes longer counts as unfinished.
const settle = 2 * time.Second

// stepBack is how much earlier than the one before a frame is made if the clock
// was set back meanwhile.
const stepBack = time.Minute

// maxFailed bounds the failed requests kept for people.
const maxFailed = 2000

// frames keeps what the data plane pushed: the last blocks of every route.
type frames struct {
	mu     sync.Mutex
	routes map[string][]*line  // by Route.Name
	tracks map[string][]*track // by Route.Name
	folded int64               // minute that was added up last
	boots  map[string]int32    // Frame.Boot -> the number it is kept under
	newest int64               // second of the newest block
	oldest int64               // no block is older
	heard  time.Time           // when the data plane made its last frame
	failed []traffic.Sample
	pack   packing // for the block at hand
}

// line is the blocks of one route, release and caller, by second.
type line struct {
	release delivery.ReleaseID
	caller  string
	marks   []mark
}

// mark is one block. A data plane that starts anew counts from zero: within a
// second it adds to what the one before had counted, and takes nothing back.
type mark struct {
	second int64
	boot   int32
	data   []byte
}

func newFrames() frames {
	return frames{routes: map[string][]*line{}, tracks: map[string][]*track{}, boots: map[string]int32{}}
}

// Take keeps one frame, that came at now. A block that is sent again replaces
// what was known of it.
func (s *Store) Take(f traffic.Frame, now time.Time) {
	c := &s.frames
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.heard.Sub(f.At) > stepBack {
		c.rewind(f.At)
	}
	if f.At.After(c.heard) {
		c.heard = f.At
	}
	boot, known := c.boots[f.Boot]
	if !known {
		boot = int32(len(c.boots))
		c.boots[f.Boot] = boot
	}
	for i := range f.Blocks {
		if b := &f.Blocks[i]; evidence(b.Caller) && b.Second >= c.oldest {
			c.put(b, boot)
		}
	}
	c.failed = append(c.failed, f.Failed...)
	if over := len(c.failed) - maxFailed; over > 0 {
		c.failed = slices.Clone(c.failed[over:])
	}
	c.fold(now.Unix())
	if limit := now.Unix() - keptSeconds; limit > c.oldest+strideAge {
		c.forget(limit)
		c.forgetMinutes(now.Unix())
	}
}

// rewind drops what is later than at: the clock was set back, and its seconds
// come again.
func (c *frames) rewind(at time.Time) {
	c.heard, c.newest, c.oldest = at, min(c.newest, at.Unix()), min(c.oldest, at.Unix()-keptSeconds)
	for _, lines := range c.routes {
		for _, l := range lines {
			l.marks = slices.DeleteFunc(l.marks, func(m mark) bool { return m.second > at.Unix() })
		}
	}
	for _, tracks := range c.tracks {
		for _, t := range tracks {
			if t.minutes.last > at.Unix()/60 {
				t.minutes = column{}
			}
		}
	}
}

// evidence says whether a block says anything on a release: who was not drawn by
// the split does not, but callers that are drawn as their callee is, and copies
// beside their originals do.
func evidence(caller string) bool {
	return traffic.Drawn(caller) || caller == traffic.MirrorCaller || strings.HasPrefix(caller, traffic.ArmCaller)
}

// put keeps one block.
func (c *frames) put(b *traffic.Block, boot int32) {
	lines := c.routes[b.Route]
	i := slices.IndexFunc(lines, func(l *line) bool { return l.release == b.Release && l.caller == b.Caller })
	if i < 0 {
		i = len(lines)
		lines = append(lines, &line{release: b.Release, caller: b.Caller})
		c.routes[b.Route] = lines
	}
	c.pack = packBlock(c.pack[:0], b)
	lines[i].put(b.Second, boot, c.pack)
	c.newest = max(c.newest, b.Second)
}

// put keeps a packed block at its place, which is nearly always the last or new.
func (l *line) put(second int64, boot int32, data []byte) {
	i := len(l.marks)
	for i > 0 && (l.marks[i-1].second > second || l.marks[i-1].second == second && l.marks[i-1].boot > boot) {
		i--
	}
	if i > 0 && l.marks[i-1].second == second && l.marks[i-1].boot == boot {
		if m := &l.marks[i-1]; !bytes.Equal(m.data, data) {
			m.data = bytes.Clone(data)
		}
		return
	}
	l.marks = slices.Insert(l.marks, i, mark{second: second, boot: boot, data: bytes.Clone(data)})
}

// between returns the marks from first to last.
func (l *line) between(first, last int64) []mark {
	from, _ := slices.BinarySearchFunc(l.marks, first, func(m mark, s int64) int { return cmp.Compare(m.second, s) })
	to, _ := slices.BinarySearchFunc(l.marks, last+1, func(m mark, s int64) int { return cmp.Compare(m.second, s) })
	return l.marks[from:max(from, to)]
}

// forget drops what is older than a second.
func (c *frames) forget(limit int64) {
	c.oldest = limit
	for route, lines := range c.routes {
		for _, l := range lines {
			if n := len(l.marks) - len(l.between(limit, c.newest)); n > 0 {
				l.marks = slices.Clone(l.marks[n:])
			}
		}
		lines = slices.DeleteFunc(lines, func(l *line) bool { return len(l.marks) == 0 })
		if c.routes[route] = lines; len(lines) == 0 {
			delete(c.routes, route)
		}
	}
}

// earliest is the second of the oldest block that is kept.
func (c *frames) earliest() int64 {
	first := c.newest
	for _, lines := range c.routes {
		for _, l := range lines {
			if len(l.marks) > 0 {
				first = min(first, l.marks[0].second)
			}
		}
	}
	return first
}

// each calls fn with the blocks of a route from first to last, of the lines that
// want picks. The block is fn's until it returns.
func (c *frames) each(route string, first, last int64, want func(*line) bool, fn func(*traffic.Block)) {
	for _, l := range c.routes[route] {
		if !want(l) {
			continue
		}
		for _, m := range l.between(first, last) {
			b := traffic.Block{Route: route, Release: l.release, Caller: l.caller, Second: m.second}
			unpackBlock(m.data, &b)
			fn(&b)
		}
	}
}

// Closed is the last second of which everything was heard and nothing changes
// any more. Without any frame yet it is false.
func (s *Store) Closed() (int64, bool) {
	s.frames.mu.Lock()
	defer s.frames.mu.Unlock()
	return s.frames.heard.Add(-settle).Unix() - 1, !s.frames.heard.IsZero()
}

// Since is the second from which the data plane shall send again.
func (s *Store) Since() int64 {
	s.frames.mu.Lock()
	defer s.frames.mu.Unlock()
	return max(s.frames.newest-5, 0)
}

// Failed returns the failed requests that are kept and wanted, oldest first.
func (s *Store) Failed(want func(traffic.Sample) bool) []traffic.Sample {
	s.frames.mu.Lock()
	defer s.frames.mu.Unlock()
	var out []traffic.Sample
	for _, x := range s.frames.failed {
		if want(x) {
			out = append(out, x)
		}
	}
	return out
}
