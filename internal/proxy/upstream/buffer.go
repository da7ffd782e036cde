package upstream

import "sync"

// Sizes of buffers. An answer of a few kilobytes fits whole beside its head.
const (
	readSize  = 8 << 10
	writeSize = 4 << 10
	copySize  = 32 << 10
)

// Buffers are shared by the exchanges of any number of clients. An idle
// connection holds none.
type Buffers struct{ reads, writes, copies sync.Pool }

// NewBuffers returns an empty pool.
func NewBuffers() *Buffers {
	return &Buffers{
		reads:  sync.Pool{New: func() any { return new([readSize]byte) }},
		writes: sync.Pool{New: func() any { return new([writeSize]byte) }},
		copies: sync.Pool{New: func() any { return new([copySize]byte) }},
	}
}
