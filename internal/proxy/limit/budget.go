package limit

import (
	"sync/atomic"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// The window of a Budget, and what is free in it: a route with little traffic
// may always repeat a few.
const (
	window      = 10 // seconds
	freeRetries = 10
	cells       = 16 // a power of two above window, so that the oldest is never also the newest
)

// Budget bounds repeated attempts to a share of a route's requests within ten
// seconds, so that retries cannot multiply an overload. It is one word a second,
// and takes no lock. The zero value is not ready; see NewBudget.
type Budget struct {
	epoch time.Time
	cells [cells]atomic.Uint64
}

// A cell is its second, the requests and the retries of it. The second is kept
// modulo 2^20 and a cell counts up to 2^24 requests and 2^20 retries: 12 days of
// silence, and a hundred times what one machine carries.
const (
	retryBits   = 20
	requestBits = 24
	secondMask  = 1<<20 - 1
)

func cell(word uint64) (second, requests, retries uint64) {
	return word >> (requestBits + retryBits), word >> retryBits & (1<<requestBits - 1), word & (1<<retryBits - 1)
}

// NewBudget returns a budget that has seen nothing yet.
func NewBudget(now time.Time) *Budget {
	return &Budget{epoch: now.Add(-cells * time.Second)} // cells that were never written are too old to count
}

func (b *Budget) second(now time.Time) uint64 {
	return uint64(now.Sub(b.epoch)/time.Second) & secondMask
}

// Asked counts one request.
func (b *Budget) Asked(now time.Time) {
	second := b.second(now)
	c := &b.cells[second%cells]
	for {
		word := c.Load()
		if at, _, _ := cell(word); at == second {
			c.Add(1 << retryBits)
			return
		}
		if c.CompareAndSwap(word, second<<(requestBits+retryBits)|1<<retryBits) {
			return
		}
	}
}

// Retry takes leave for one more attempt, or says no. All of a second's retries
// go through its one word, so they cannot overtake each other past the share.
func (b *Budget) Retry(now time.Time, share delivery.Weight) bool {
	second := b.second(now)
	mine := &b.cells[second%cells]
	for {
		word := mine.Load()
		var requests, retries uint64
		for i := range b.cells {
			w := b.cells[i].Load()
			if i == int(second%cells) {
				w = word
			}
			at, q, r := cell(w)
			if (second-at)&secondMask < window {
				requests, retries = requests+q, retries+r
			}
		}
		if retries >= freeRetries+requests*uint64(share)/uint64(delivery.Full) {
			return false
		}
		next := word + 1
		if at, _, _ := cell(word); at != second {
			next = second<<(requestBits+retryBits) | 1
		}
		if mine.CompareAndSwap(word, next) {
			return true
		}
	}
}
