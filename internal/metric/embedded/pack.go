package embedded

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// packing writes numbers one behind the other, small ones in one byte.
type packing []byte

func (p *packing) uint(n uint64) { *p = binary.AppendUvarint(*p, n) }
func (p *packing) int(n int64)   { *p = binary.AppendVarint(*p, n) }

func (p *packing) float(x float64) { *p = binary.LittleEndian.AppendUint64(*p, math.Float64bits(x)) }

func (p *packing) text(s string) {
	p.uint(uint64(len(s)))
	*p = append(*p, s...)
}

// bins writes a histogram as the gaps between its bins, and how much is in each.
func (p *packing) bins(m map[int]uint32) {
	p.uint(uint64(len(m)))
	last := 0
	for _, bin := range slices.Sorted(maps.Keys(m)) {
		p.int(int64(bin - last))
		p.uint(uint64(m[bin]))
		last = bin
	}
}

// unpacking reads what a packing wrote. Of a byte string that is cut off, all
// that is missing reads as zero and ok is false in the end.
type unpacking struct {
	b   []byte
	bad bool
}

func (u *unpacking) uint() uint64 {
	n, size := binary.Uvarint(u.b)
	return n * uint64(u.took(size))
}

func (u *unpacking) int() int64 {
	n, size := binary.Varint(u.b)
	return n * int64(u.took(size))
}

func (u *unpacking) float() float64 {
	if len(u.b) < 8 {
		u.took(0)
		return 0
	}
	x := math.Float64frombits(binary.LittleEndian.Uint64(u.b))
	u.b = u.b[8:]
	return x
}

func (u *unpacking) text() string { return string(u.bytes()) }

// bytes returns what was written with its length before it.
func (u *unpacking) bytes() []byte {
	n := u.uint()
	if n > uint64(len(u.b)) {
		u.took(0)
		return nil
	}
	b := u.b[:n]
	u.b = u.b[n:]
	return b
}

// took passes over size bytes and returns 1, or 0 if there is nothing to read any more.
func (u *unpacking) took(size int) int {
	if size <= 0 || u.bad {
		u.b, u.bad = nil, true
		return 0
	}
	u.b = u.b[size:]
	return 1
}

func (u *unpacking) bins() map[int]uint32 {
	n := u.uint()
	if n == 0 || u.bad {
		return nil
	}
	m := make(map[int]uint32, min(n, uint64(len(u.b))))
	last := 0
	for ; n > 0 && !u.bad; n-- {
		last += int(u.int())
		m[last] += uint32(u.uint())
	}
	return m
}

// The parts of a block that most do not have.
const (
	hasAgain = 1 << iota
	hasPlaces
	hasPairs
	isMixed
)

// packBlock appends a block without its route, release, caller and second, which
// its place says.
func packBlock(p packing, b *traffic.Block) packing {
	flags := uint64(0)
	if b.Again != nil {
		flags |= hasAgain
	}
	if len(b.Places) > 0 {
		flags |= hasPlaces
	}
	if b.Pairs != nil {
		flags |= hasPairs
	}
	if b.Mixed {
		flags |= isMixed
	}
	p.uint(flags)
	p.int(b.Gen)
	p.int(int64(b.Share))
	for _, n := range numbers(b) {
		p.uint(*n)
	}
	p.bins(b.Bins)
	if a := b.Again; a != nil {
		p.uint(a.Units)
		p.uint(a.Bad)
		p.uint(a.Open)
		p.bins(a.Bins)
	}
	if len(b.Places) > 0 {
		p.uint(uint64(len(b.Places)))
		for _, id := range slices.Sorted(maps.Keys(b.Places)) {
			p.text(id)
			p.uint(b.Places[id].Requests)
			p.uint(b.Places[id].Failed)
		}
	}
	if x := b.Pairs; x != nil {
		for _, n := range [...]uint64{x.Both, x.CopyBad, x.OrigBad, x.CopySlow, x.OrigSlow} {
			p.uint(n)
		}
	}
	return p
}

// numbers lists the plain counts of a block, in the order in which they are packed.
func numbers(b *traffic.Block) [19]*uint64 {
	return [...]*uint64{
		&b.Requests, &b.Unfinished, &b.OK, &b.Client, &b.Server, &b.Connect, &b.Timeout, &b.Broken, &b.Cancelled, &b.Shed,
		&b.Retries, &b.Units, &b.UnitsBad, &b.UnitsOpen, &b.BytesIn, &b.BytesOut, &b.Dropped, &b.Drawn, &b.Fields,
	}
}

// unpackBlock reads what packBlock wrote into b.
func unpackBlock(data []byte, b *traffic.Block) {
	u := unpacking{b: data}
	flags := u.uint()
	b.Mixed = flags&isMixed != 0
	b.Gen = u.int()
	b.Share = delivery.Weight(u.int())
	for _, n := range numbers(b) {
		*n = u.uint()
	}
	b.Bins = u.bins()
	if flags&hasAgain != 0 {
		b.Again = &traffic.Again{Units: u.uint(), Bad: u.uint(), Open: u.uint(), Bins: u.bins()}
	}
	if flags&hasPlaces != 0 {
		b.Places = map[string]traffic.Place{}
		for n := u.uint(); n > 0 && !u.bad; n-- {
			b.Places[u.text()] = traffic.Place{Requests: u.uint(), Failed: u.uint()}
		}
	}
	if flags&hasPairs != 0 {
		b.Pairs = &traffic.Pairs{Both: u.uint(), CopyBad: u.uint(), OrigBad: u.uint(), CopySlow: u.uint(), OrigSlow: u.uint()}
	}
}
