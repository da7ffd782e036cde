package limit

import (
	"hash/maphash"
	"math"
	"net/netip"
	"net/textproto"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Bounds of what one rate remembers of its callers: 64 Ki buckets of about 40
// bytes. Of more callers than that within the time a bucket needs to fill, the
// ones that used least of theirs are forgotten, and start again with a full one.
const (
	shards   = 16
	perShard = 4 << 10
	looked   = 8 // buckets compared when one has to go
)

// Asker is what a rate looks at to know whose request it is.
type Asker interface {
	Value(name string, i int) (value string, there bool) // of the i-th header line of that canonical name
	Peer() netip.Addr
}

// Rates are the token buckets of one route. They outlive the table that asked
// for them: nobody gets a full bucket by a change of weight.
type Rates struct {
	spec  []delivery.Rate
	all   []*rate
	seed  maphash.Seed
	epoch time.Time // what times are counted from
}

// rate is a token bucket in the form of the generic cell rate algorithm (ITU-T
// I.371, virtual scheduling): all it keeps of a caller is when the bucket will
// be full again, in nanoseconds since the epoch. A bucket that is full is like
// none, so to forget it gives nothing away.
type rate struct {
	per    delivery.RatePer
	header string
	each   int64        // nanoseconds for one token
	depth  int64        // nanoseconds for a whole bucket
	one    atomic.Int64 // the bucket of a delivery.PerRoute
	many   *buckets     // those of the others
}

type buckets [shards]struct {
	mu   sync.Mutex
	full map[uint64]int64 // guarded by mu: hash of the key -> when it is full
	_    [48]byte         // a cache line each
}

// NewRates returns the buckets of a route's rates, which have passed
// delivery.Traffic.Check, or nil when there are none. If old was made for the
// same rates it is returned as it stands.
func NewRates(spec []delivery.Rate, old *Rates, now time.Time) *Rates {
	if len(spec) == 0 {
		return nil
	}
	if old != nil && slices.Equal(old.spec, spec) {
		return old
	}
	r := &Rates{spec: spec, seed: maphash.MakeSeed(), epoch: now}
	for _, s := range spec {
		b := &rate{per: s.Per, each: max(1, int64(math.Round(float64(time.Second)/s.Rate)))}
		burst := s.Burst
		if burst == 0 {
			burst = max(1, int(s.Rate))
		}
		b.depth = b.each * int64(burst)
		if s.Per == delivery.PerHeader {
			b.header = textproto.CanonicalMIMEHeaderKey(s.Name)
		}
		if s.Per != delivery.PerRoute {
			b.many = &buckets{}
			for i := range b.many {
				b.many[i].full = map[uint64]int64{}
			}
		}
		r.all = append(r.all, b)
	}
	return r
}

// Caller is whom a request is from.
type Caller struct {
	Key    string // the sticky key; "" for one who has none yet
	Inside bool   // a service of ours, which has no address of its own
}

// Take asks every rate for a token and takes one of each, or none. When one has
// none, over is its index and wait how long until it has one; else over is -1.
//
// A caller without a key is known by its address where a key is asked for, so
// that keeping no cookie gains nothing. Services of ours are not told apart by
// address: there, all of them and everybody whom they serve would be one.
func (r *Rates) Take(now time.Time, from Asker, who Caller) (over int, wait time.Duration) {
	at := int64(now.Sub(r.epoch))
	for i, b := range r.all {
		key, counts := r.hash(b, from, who)
		if !counts {
			continue
		}
		ns := b.take(at, key)
		if ns == 0 {
			continue
		}
		for _, paid := range r.all[:i] {
			if key, counts := r.hash(paid, from, who); counts {
				paid.giveBack(key)
			}
		}
		return i, time.Duration(ns)
	}
	return -1, 0
}

// hash tells callers apart, or says that the rate is not for this one. All who
// lack the header share one bucket: that is no way around the rate either.
func (r *Rates) hash(b *rate, from Asker, who Caller) (key uint64, counts bool) {
	switch {
	case b.per == delivery.PerRoute:
		return 0, true
	case b.per == delivery.PerHeader:
		v, _ := from.Value(b.header, 0)
		return maphash.String(r.seed, v), true
	case b.per == delivery.PerKey && who.Key != "":
		return maphash.String(r.seed, who.Key), true
	case who.Inside:
		return 0, false
	}
	return r.address(from.Peer().Unmap()), true
}

func (r *Rates) address(a netip.Addr) uint64 {
	if a.Is4() {
		v4 := a.As4()
		return maphash.Bytes(r.seed, v4[:])
	}
	v6 := a.As16() // its /64: the least that one host is given (RFC 6177, 2)
	return maphash.Bytes(r.seed, v6[:8])
}

// take takes a token and returns 0, or how long until there is one.
func (b *rate) take(now int64, key uint64) int64 {
	if b.many == nil {
		for {
			was := b.one.Load()
			full := max(was, now) + b.each
			if over := full - now - b.depth; over > 0 {
				return over
			}
			if b.one.CompareAndSwap(was, full) {
				return 0
			}
		}
	}
	s := &b.many[key%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	was, known := s.full[key]
	full := max(was, now) + b.each
	if over := full - now - b.depth; over > 0 {
		return over
	}
	if !known && len(s.full) >= perShard {
		makeRoom(s.full, now)
	}
	s.full[key] = full
	return 0
}

// giveBack returns a token that was taken just now.
func (b *rate) giveBack(key uint64) {
	if b.many == nil {
		b.one.Add(-b.each)
		return
	}
	s := &b.many[key%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if full, known := s.full[key]; known {
		s.full[key] = full - b.each
	}
}

// makeRoom looks at a few buckets, wherever the map begins today. It forgets
// those that are full, or else the fullest.
func makeRoom(all map[uint64]int64, now int64) {
	var fullest uint64
	soonest, seen, room := int64(math.MaxInt64), 0, false
	for key, full := range all {
		switch {
		case full <= now:
			delete(all, key)
			room = true
		case full < soonest:
			fullest, soonest = key, full
		}
		if seen++; seen == looked {
			break
		}
	}
	if !room {
		delete(all, fullest)
	}
}
