package proxy

import (
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/traffic"
)

// pair is a request and its copy. Once both have ended, and both had an answer, it
// is counted on the copy's release, in the second in which the request arrived.
// One whose caller left, whom a fault disturbed or another release saved, and a
// copy that got no answer, are of no pair.
//
// Both are timed from when their instance was asked, so neither bears the other's
// wait for a body or a turn; a request whose body streams is not timed.
type pair struct {
	s     *series
	b     *block
	timed bool

	mu         sync.Mutex
	orig, copy side // guarded by mu
}

// side is how one of the two ended.
type side struct {
	known, bad bool
	took       time.Duration
}

// newPair opens the block that a pair counts in.
func newPair(s *series, d *draw, at time.Time, timed bool) *pair {
	second := at.Unix()
	mixed := s.of.changedIn(s.split, second)
	s.mu.Lock()
	defer s.mu.Unlock()
	return &pair{s: s, b: s.open(second, d, mixed), timed: timed}
}

// original notes how the request ended; took is negative for one without an answer.
func (p *pair) original(c class, took time.Duration) {
	p.ended(&p.orig, c, took)
}

// copied notes how the copy ended, likewise.
func (p *pair) copied(c class, took time.Duration) {
	if p != nil {
		p.ended(&p.copy, c, took)
	}
}

func (p *pair) ended(which *side, c class, took time.Duration) {
	if took < 0 || c == classCancelled {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	*which = side{known: true, bad: c.bad(), took: took}
	if p.orig.known && p.copy.known {
		p.count()
	}
}

// count counts the pair; p.mu is held.
func (p *pair) count() {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if p.b.Pairs == nil {
		p.b.Pairs = &traffic.Pairs{}
	}
	n := p.b.Pairs
	n.Both++
	switch {
	case p.copy.bad && !p.orig.bad:
		n.CopyBad++
	case p.orig.bad && !p.copy.bad:
		n.OrigBad++
	}
	switch {
	case p.timed && muchLonger(p.copy.took, p.orig.took):
		n.CopySlow++
	case p.timed && muchLonger(p.orig.took, p.copy.took):
		n.OrigSlow++
	}
	p.s.touch(p.b)
}

// muchLonger is more than 1.25 times as long, and more than 1 ms more.
func muchLonger(a, b time.Duration) bool { return a-b > b/4 && a-b > time.Millisecond }
