package proxy

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/traffic"
)

// legacy is what predecessors have counted, and what the one that still has
// requests goes on counting. It is served together with our own counts as if
// one process had made them.
type legacy struct {
	mu     sync.Mutex
	blocks map[legacyKey]*legacyBlock // guarded by mu
	newest int64                      // guarded by mu: second
}

type legacyKey struct {
	seriesKey
	second int64
}

type legacyBlock struct {
	traffic.Block
	epoch int64 // of counts, when it last changed
}

func newLegacy() *legacy { return &legacy{blocks: map[legacyKey]*legacyBlock{}} }

func legacyKeyOf(b traffic.Block) legacyKey {
	return legacyKey{seriesKey{b.Route, b.Release, b.Caller}, b.Second}
}

// take keeps a block, which replaces what was known of it.
func (l *legacy) take(b traffic.Block, epoch int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blocks[legacyKeyOf(b)] = &legacyBlock{b, epoch}
	l.newest = max(l.newest, b.Second)
	if len(l.blocks)%1024 == 0 {
		l.forget(l.newest - kept)
	}
}

// forget drops what nobody can ask for any more; l.mu is held.
func (l *legacy) forget(upTo int64) {
	maps.DeleteFunc(l.blocks, func(k legacyKey, _ *legacyBlock) bool { return k.second <= upTo })
}

// sweep forgets by the clock.
func (l *legacy) sweep(now int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(now - kept)
}

// settle ends what died with the predecessor unfinished: its callers were cut
// off by us, which says nothing of the release.
func (l *legacy) settle(epoch int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.blocks {
		if b.Unfinished == 0 && b.UnitsOpen == 0 {
			continue
		}
		b.Cancelled += b.Unfinished
		b.Unfinished, b.UnitsOpen = 0, 0
		if b.Again != nil {
			again := *b.Again
			again.Open = 0
			b.Again = &again
		}
		b.epoch = epoch
	}
}

// collect adds what l knows to blocks, which are those of counts that changed
// since the epoch, and what changed of l since then. own returns a block of counts.
func (l *legacy) collect(blocks []traffic.Block, since, fromSecond int64, own func(legacyKey) (traffic.Block, bool)) []traffic.Block {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.blocks) == 0 {
		return blocks
	}
	done := make(map[legacyKey]bool, len(blocks))
	for i, b := range blocks {
		k := legacyKeyOf(b)
		if old := l.blocks[k]; old != nil {
			blocks[i] = sum(old.Block, b)
			done[k] = true
		}
	}
	for k, old := range l.blocks {
		if done[k] || old.epoch < since || k.second < fromSecond {
			continue
		}
		b := old.Block
		if mine, there := own(k); there {
			b = sum(b, mine)
		}
		blocks = append(blocks, b)
	}
	slices.SortFunc(blocks, func(a, b traffic.Block) int { return int(a.Second - b.Second) })
	return blocks
}

// blocks returns what was counted from a second on, here and before.
func (e *engine) blocks(from int64) []traffic.Block {
	own, _, _ := e.counts.collect(0, from)
	return e.legacy.collect(own, 0, from, e.counts.block)
}

// reconnect is how long whoever watches the counts may take to come to the
// successor after a hand-over.
const reconnect = 5 * time.Second

// unseen returns the failed requests that nobody was told of because of a
// hand-over: those of its moment, for the successor, and those of a successor's
// first moments, for who comes over to it.
func (e *engine) unseen(now time.Time) []traffic.Sample {
	switch {
	case e.handed.Load():
		return e.counts.failedSince(e.handedAt.Load())
	case e.succeeds && now.Sub(e.started) < reconnect:
		return e.counts.failedSince(0)
	}
	return nil
}

// sum is what two processes counted of one second, the older first. A key that
// both have seen is two units in it, so such a second is mixed.
func sum(a, b traffic.Block) traffic.Block {
	a.Mixed = a.Mixed || b.Mixed || a.Requests > 0 && b.Requests > 0
	if a.Requests == 0 { // of copies that were not sent, or pairs
		a.Gen, a.Share = b.Gen, b.Share
	}
	a.Requests += b.Requests
	a.Unfinished += b.Unfinished
	a.OK += b.OK
	a.Client += b.Client
	a.Server += b.Server
	a.Connect += b.Connect
	a.Timeout += b.Timeout
	a.Broken += b.Broken
	a.Cancelled += b.Cancelled
	a.Shed += b.Shed
	a.Retries += b.Retries
	a.Units += b.Units
	a.UnitsBad += b.UnitsBad
	a.UnitsOpen += b.UnitsOpen
	a.BytesIn += b.BytesIn
	a.BytesOut += b.BytesOut
	a.Dropped += b.Dropped
	a.Drawn += b.Drawn
	a.Fields += b.Fields
	a.Bins = sumOfBins(a.Bins, b.Bins)
	a.Again = sumOfAgain(a.Again, b.Again)
	a.Places = sumOfPlaces(a.Places, b.Places)
	a.Pairs = sumOfPairs(a.Pairs, b.Pairs)
	return a
}

func sumOfBins(a, b map[int]uint32) map[int]uint32 {
	bins := make(map[int]uint32, len(a)+len(b))
	for _, all := range []map[int]uint32{a, b} {
		for bin, n := range all {
			bins[bin] += n
		}
	}
	return bins
}

func sumOfAgain(a, b *traffic.Again) *traffic.Again {
	if a == nil || b == nil {
		return cmp.Or(a, b)
	}
	return &traffic.Again{Units: a.Units + b.Units, Bad: a.Bad + b.Bad, Open: a.Open + b.Open, Bins: sumOfBins(a.Bins, b.Bins)}
}

func sumOfPlaces(a, b map[string]traffic.Place) map[string]traffic.Place {
	if len(a) == 0 || len(b) == 0 {
		if len(a) == 0 {
			return b
		}
		return a
	}
	sum := maps.Clone(a)
	for id, p := range b {
		p.Requests += a[id].Requests
		p.Failed += a[id].Failed
		sum[id] = p
	}
	return sum
}

func sumOfPairs(a, b *traffic.Pairs) *traffic.Pairs {
	if a == nil || b == nil {
		return cmp.Or(a, b)
	}
	return &traffic.Pairs{
		Both: a.Both + b.Both, CopyBad: a.CopyBad + b.CopyBad, OrigBad: a.OrigBad + b.OrigBad,
		CopySlow: a.CopySlow + b.CopySlow, OrigSlow: a.OrigSlow + b.OrigSlow,
	}
}
