package prometheustest

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"
)

// Native is a native histogram of schema 0, whose edges are the powers of two:
// how many values so far are in (2^(i-1), 2^i] for each i from Offset on.
type Native struct {
	Offset int
	Counts []uint64
	Sum    float64
}

// writeRequest encodes a WriteRequest of remote write 1.0
// (https://prometheus.io/docs/specs/prw/remote_write_spec/).
func writeRequest(all []Series) []byte {
	var b []byte
	for _, s := range all {
		var one []byte
		for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
			one = message(one, 1, message(message(nil, 1, []byte(name)), 2, []byte(s.Labels[name])))
		}
		for i, v := range s.Values {
			one = message(one, 2, varint(double(nil, 1, v), 2, uint64(s.Times[i].UnixMilli())))
		}
		for i, h := range s.Natives {
			one = message(one, 4, varint(h.encode(), 15, uint64(s.Times[i].UnixMilli())))
		}
		b = message(b, 1, one)
	}
	return b
}

// encode writes a prompb.Histogram with whole counts.
func (h Native) encode() []byte {
	var total uint64
	var deltas []byte
	before := int64(0)
	for _, n := range h.Counts {
		total += n
		deltas = binary.AppendVarint(deltas, int64(n)-before) // sint64, zigzag
		before = int64(n)
	}
	b := varint(nil, 1, total)
	b = double(b, 3, h.Sum)
	// schema 0 is the default; a zero threshold and count too
	span := varint(nil, 1, uint64(uint32(h.Offset<<1)^uint32(h.Offset>>31))) // sint32, zigzag
	span = varint(span, 2, uint64(len(h.Counts)))
	b = message(b, 11, span)
	return message(b, 12, deltas)
}

func varint(b []byte, field int, v uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, uint64(field<<3)), v)
}

func double(b []byte, field int, v float64) []byte {
	return binary.LittleEndian.AppendUint64(binary.AppendUvarint(b, uint64(field<<3|1)), math.Float64bits(v))
}

func message(b []byte, field int, m []byte) []byte {
	b = binary.AppendUvarint(b, uint64(field<<3|2))
	return append(binary.AppendUvarint(b, uint64(len(m))), m...)
}

// snappy is the block format (https://github.com/google/snappy/blob/main/format_description.txt)
// with literals only: nothing is compressed, and every reader understands it.
func snappy(b []byte) []byte {
	out := binary.AppendUvarint(nil, uint64(len(b)))
	for len(b) > 0 {
		n := min(len(b), 1<<16)
		out = append(out, 61<<2)
		out = binary.LittleEndian.AppendUint16(out, uint16(n-1))
		out = append(out, b[:n]...)
		b = b[n:]
	}
	return out
}
