// Package otlp sends spans and log records to an OpenTelemetry collector over
// HTTP, as protobuf. It knows no requests and samples nothing: what it is given it
// sends, or drops and counts when the collector is slower. Its tests are a real
// receiver.
//
// Sources: https://opentelemetry.io/docs/specs/otlp/ and opentelemetry-proto
// v1 (collector/{trace,logs}/v1, trace/v1/trace.proto, logs/v1/logs.proto).
package otlp

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"
	"time"
)

// Kind says on which side of a call a span is.
type Kind int

// The kinds that we have, by their numbers in trace.proto.
const (
	Internal Kind = 1
	Server   Kind = 2
	Client   Kind = 3
)

// Span is one operation of a trace.
type Span struct {
	Trace      [16]byte
	ID         [8]byte
	Parent     [8]byte // zero for the first of a trace
	Remote     bool    // the parent is of another process
	Name       string
	Kind       Kind
	Start, End time.Time
	Attrs      []Attr
	Failed     bool   // the operation went wrong
	Why        string // it did, when the attributes do not say
}

// Attr is one attribute: a text, or a number when it has none.
type Attr struct {
	Key    string
	Text   string
	Number int64
}

// Protobuf wire types (https://protobuf.dev/programming-guides/encoding/).
const (
	varint  = 0
	fixed64 = 1
	counted = 2
	fixed32 = 5
)

// Numbers in trace.proto, of Span.flags and Status.code.
const (
	flagSampled   = 0x001
	flagHasRemote = 0x100 // whether the parent is remote is known
	flagIsRemote  = 0x200
	statusError   = 2
)

// schema is the version of the semantic conventions that attributes follow.
const schema = "https://opentelemetry.io/schemas/1.37.0"

// request appends an ExportTraceServiceRequest, or of logs, with one resource and
// one scope: messages of the same shape, but for the items.
func request[T item](dst []byte, from From, items []T) []byte {
	all := len(dst)
	{
		resource := len(dst)
		dst = attribute(dst, 1, Attr{Key: "service.name", Text: from.Service})
		dst = attribute(dst, 1, Attr{Key: "service.version", Text: from.Version})
		dst = nest(dst, resource, 1)

		scope := len(dst)
		{
			name := len(dst)
			dst = text(dst, 1, from.Scope)
			dst = text(dst, 2, from.Version)
			dst = nest(dst, name, 1)
			for _, i := range items {
				dst = i.append(dst, 2)
			}
			dst = text(dst, 3, schema)
		}
		dst = nest(dst, scope, 2)
		dst = text(dst, 3, schema)
	}
	return nest(dst, all, 1)
}

// append appends the span as a field of the message around it.
func (s *Span) append(dst []byte, field int) []byte {
	at := len(dst)
	dst = raw(dst, 1, s.Trace[:])
	dst = raw(dst, 2, s.ID[:])
	flags := uint32(flagSampled)
	if s.Parent != [8]byte{} {
		dst = raw(dst, 4, s.Parent[:])
		flags |= flagHasRemote
		if s.Remote {
			flags |= flagIsRemote
		}
	}
	dst = text(dst, 5, s.Name)
	dst = number(dst, 6, uint64(s.Kind))
	dst = tag(dst, 7, fixed64)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(s.Start.UnixNano()))
	dst = tag(dst, 8, fixed64)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(s.End.UnixNano()))
	for _, a := range s.Attrs {
		dst = attribute(dst, 9, a)
	}
	if s.Failed {
		status := len(dst)
		dst = text(dst, 2, s.Why)
		dst = number(dst, 3, statusError)
		dst = nest(dst, status, 15)
	}
	dst = tag(dst, 16, fixed32)
	dst = binary.LittleEndian.AppendUint32(dst, flags)
	return nest(dst, at, field)
}

// attribute appends a KeyValue with an AnyValue in it.
func attribute(dst []byte, field int, a Attr) []byte {
	at := len(dst)
	dst = text(dst, 1, a.Key)
	value := len(dst)
	if a.Text != "" {
		dst = text(dst, 1, a.Text)
	} else {
		dst = tag(dst, 3, varint) // also when it is 0: it is one of several, and would be missing
		dst = binary.AppendUvarint(dst, uint64(a.Number))
	}
	dst = nest(dst, value, 2)
	return nest(dst, at, field)
}

func tag(dst []byte, field, wire int) []byte {
	return binary.AppendUvarint(dst, uint64(field<<3|wire))
}

func text(dst []byte, field int, s string) []byte {
	if s == "" {
		return dst
	}
	s = strings.ToValidUTF8(s, "\ufffd") // else the whole request is refused
	dst = tag(dst, field, counted)
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func raw(dst []byte, field int, b []byte) []byte {
	dst = tag(dst, field, counted)
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

func number(dst []byte, field int, n uint64) []byte {
	dst = tag(dst, field, varint)
	return binary.AppendUvarint(dst, n)
}

// nest makes what stands in dst from at on a message in that field.
func nest(dst []byte, at, field int) []byte {
	n := len(dst) - at
	var head [2 * binary.MaxVarintLen64]byte
	h := tag(head[:0], field, counted)
	h = binary.AppendUvarint(h, uint64(n))
	return slices.Insert(dst, at, h...)
}

// rejected reads how many items a collector did not take from its
// ExportTraceServiceResponse, or of logs, and why.
func rejected(b []byte) (n uint64, why string) {
	partial := field(b, 1)
	for b := partial.bytes; len(b) > 0; {
		f := next(b)
		switch {
		case f.size == 0:
			return n, why
		case f.number == 1 && f.wire == varint:
			n = f.value
		case f.number == 2 && f.wire == counted:
			why = string(f.bytes)
		}
		b = b[f.size:]
	}
	return n, why
}

// piece is one field of a message.
type piece struct {
	number, wire int
	value        uint64
	bytes        []byte
	size         int // of the whole piece; 0 when it is malformed
}

// field returns the first counted piece of that number.
func field(b []byte, number int) piece {
	for len(b) > 0 {
		f := next(b)
		if f.size == 0 || f.number == number && f.wire == counted {
			return f
		}
		b = b[f.size:]
	}
	return piece{}
}

// next reads the first piece of b.
func next(b []byte) piece {
	head, n := binary.Uvarint(b)
	if n <= 0 || bits.Len64(head) > 32 {
		return piece{}
	}
	f := piece{number: int(head >> 3), wire: int(head & 7)}
	rest := b[n:]
	switch f.wire {
	case varint:
		v, m := binary.Uvarint(rest)
		if m <= 0 {
			return piece{}
		}
		f.value, f.size = v, n+m
	case fixed64:
		if len(rest) < 8 {
			return piece{}
		}
		f.value, f.size = binary.LittleEndian.Uint64(rest), n+8
	case fixed32:
		if len(rest) < 4 {
			return piece{}
		}
		f.value, f.size = uint64(binary.LittleEndian.Uint32(rest)), n+4
	case counted:
		v, m := binary.Uvarint(rest)
		if m <= 0 || v > uint64(len(rest)-m) {
			return piece{}
		}
		f.bytes, f.size = rest[m:m+int(v)], n+m+int(v)
	}
	return f
}
