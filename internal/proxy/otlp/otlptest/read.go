// Package otlptest reads what an exporter of spans sends, for tests. It is a
// receiver's half of the protocol, written apart from the sender's, and refuses
// whatever a Span of ours does not have.
package otlptest

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Span is a span as a collector sees it.
type Span struct {
	Trace, ID, Parent string // hex; Parent is empty for the first of a trace
	Name              string
	Kind              uint64
	Start, End        uint64            // Unix nanoseconds
	Attrs             map[string]string // numbers as decimals
	Status            uint64            // 2 is an error
	Flags             uint64
}

// Request is an ExportTraceServiceRequest with one resource.
type Request struct {
	Resource map[string]string
	Schema   string
	Spans    []Span
}

var errUnknown = errors.New("otlptest: not what a request of ours is made of")

// Read decodes a request. The error says what of it nobody would understand.
func Read(b []byte) (r Request, err error) {
	r.Resource = map[string]string{}
	err = each(b, func(n int, all value) error {
		if n != 1 {
			return errUnknown
		}
		return each(all.bytes, r.part)
	})
	return r, err
}

// part reads a field of ResourceSpans.
func (r *Request) part(n int, v value) error {
	switch n {
	case 1:
		return each(v.bytes, func(n int, v value) error { return attribute(r.Resource, n == 1, v) })
	case 2:
		return each(v.bytes, func(n int, v value) error {
			if n != 2 {
				return nil // the scope, and its schema
			}
			s, err := span(v.bytes)
			r.Spans = append(r.Spans, s)
			return err
		})
	case 3:
		r.Schema = string(v.bytes)
		return nil
	}
	return errUnknown
}

func span(b []byte) (Span, error) {
	s := Span{Attrs: map[string]string{}}
	err := each(b, func(n int, v value) error {
		switch n {
		case 1:
			s.Trace = hex.EncodeToString(v.bytes)
		case 2:
			s.ID = hex.EncodeToString(v.bytes)
		case 4:
			s.Parent = hex.EncodeToString(v.bytes)
		case 5:
			s.Name = string(v.bytes)
		case 6:
			s.Kind = v.number
		case 7:
			s.Start = v.number
		case 8:
			s.End = v.number
		case 9:
			return attribute(s.Attrs, true, v)
		case 15:
			return each(v.bytes, func(n int, v value) error {
				if n == 3 {
					s.Status = v.number
				}
				return nil
			})
		case 16:
			s.Flags = v.number
		default:
			return errUnknown
		}
		return nil
	})
	if err == nil && (len(s.Trace) != 32 || len(s.ID) != 16 || s.Name == "" || !utf8.ValidString(s.Name)) {
		err = fmt.Errorf("otlptest: span %+v lacks what it must have", s)
	}
	return s, err
}

// attribute reads a KeyValue.
func attribute(to map[string]string, known bool, v value) error {
	if !known {
		return errUnknown
	}
	var key, text string
	err := each(v.bytes, func(n int, v value) error {
		if n == 1 {
			key = string(v.bytes)
			return nil
		}
		return each(v.bytes, func(n int, v value) error {
			switch n {
			case 1:
				text = string(v.bytes)
			case 3:
				text = fmt.Sprint(int64(v.number))
			default:
				return errUnknown
			}
			return nil
		})
	})
	if _, twice := to[key]; err == nil && (twice || key == "" || text == "" || !utf8.ValidString(text)) {
		return fmt.Errorf("otlptest: attribute %q = %q is empty, no text, or there twice", key, text)
	}
	to[key] = text
	return err
}

// value is what a field holds, by its wire type.
type value struct {
	number uint64
	bytes  []byte
}

var errTorn = errors.New("otlptest: the request is torn")

// each reads the fields of a message.
func each(b []byte, field func(number int, v value) error) error {
	for len(b) > 0 {
		head, n := binary.Uvarint(b)
		if n <= 0 {
			return errTorn
		}
		b = b[n:]
		var v value
		switch wire := head & 7; {
		case wire == 1 && len(b) >= 8:
			v.number, n = binary.LittleEndian.Uint64(b), 8
		case wire == 5 && len(b) >= 4:
			v.number, n = uint64(binary.LittleEndian.Uint32(b)), 4
		case wire == 0 || wire == 2:
			if v.number, n = binary.Uvarint(b); n <= 0 {
				return errTorn
			}
		default:
			return errTorn
		}
		b = b[n:]
		if head&7 == 2 {
			if v.number > uint64(len(b)) {
				return errTorn
			}
			v.bytes, b = b[:v.number], b[v.number:]
		}
		if err := field(int(head>>3), v); err != nil {
			return err
		}
	}
	return nil
}
