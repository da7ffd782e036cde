package wire

import (
	"encoding/binary"
	"math/bits"
)

// Field is one header or trailer field. Name and Value lie in the buffer that was parsed.
type Field struct {
	Name  []byte // a token, as it was sent
	Value []byte // without the white space around it; no control character but HTAB
	Kind  Kind
}

// Limits bound a head.
type Limits struct {
	Head   int // bytes, with the empty line; 0 is 64 KiB
	Fields int // 0 is 100
}

func (l Limits) orDefaults() Limits {
	if l.Head <= 0 {
		l.Head = 64 << 10
	}
	if l.Fields <= 0 {
		l.Fields = 100
	}
	return l
}

// Body lengths that are no number of bytes.
const (
	Chunked    int64 = -1
	UntilClose int64 = -2 // of an answer only
)

// Head is what heads of requests and answers have in common.
type Head struct {
	Fields []Field
	Minor  int   // of the version: HTTP/1.Minor, 0 or 1
	Length int64 // bytes of the body that follows, Chunked or UntilClose
	Close  bool  // no other message follows on the connection

	seen      uint64 // bit per Kind
	length    int64  // value of Content-Length
	options   int    // names in Connection that are none of the three below
	closing   bool   // Connection: close
	keeping   bool   // Connection: keep-alive
	upgrading bool   // Connection: upgrade
}

// maxOptions is how many fields Connection may name; each is looked for among all.
const maxOptions = 32

func (h *Head) reset() {
	*h = Head{Fields: h.Fields[:0]}
}

// Has says whether a field of a kind is there; KindOther and KindNamed are never.
func (h *Head) Has(k Kind) bool { return h.seen&(1<<k) != 0 }

// First returns the value of the first field of a kind, nil if there is none. A
// field that Connection names has lost its kind.
func (h *Head) First(k Kind) []byte {
	if !h.Has(k) {
		return nil
	}
	for i := range h.Fields {
		if h.Fields[i].Kind == k {
			return h.Fields[i].Value
		}
	}
	return nil
}

// Lookup returns the value of the first field with a lower-case name.
func (h *Head) Lookup(lower string) (value []byte, found bool) {
	for i := range h.Fields {
		if Is(h.Fields[i].Name, lower) {
			return h.Fields[i].Value, true
		}
	}
	return nil, false
}

// readFields parses field lines from at on and the empty line after them, and
// returns where the next byte is; 0 means that b ends before.
func (h *Head) readFields(b []byte, at, most int) (int, error) {
	for at < len(b) {
		if b[at] == '\r' {
			return lineEnd(b, at)
		}
		if len(h.Fields) == most {
			return 0, refuse(tooLarge, whyManyFields)
		}
		f, next, err := readField(b, at)
		if next == 0 {
			return 0, err
		}
		if f.Kind != KindOther {
			if err := h.note(&f); err != nil {
				return 0, err
			}
		}
		h.Fields = append(h.Fields, f)
		at = next
	}
	return 0, nil
}

// readField parses one field line and returns where the next one begins, 0 if b
// ends before.
func readField(b []byte, at int) (f Field, next int, err error) {
	start := at
	for at < len(b) && class[b[at]]&isToken != 0 {
		at++
	}
	if at == len(b) {
		return f, 0, nil
	}
	if b[at] != ':' || at == start {
		return f, 0, badName(b, start, at)
	}
	f.Name = b[start:at:at]
	at++
	for at < len(b) && (b[at] == ' ' || b[at] == '\t') {
		at++
	}
	end := control(b, at)
	if end == len(b) {
		return f, 0, nil
	}
	if next, err = lineEnd(b, end); next == 0 {
		return f, 0, err
	}
	for end > at && (b[end-1] == ' ' || b[end-1] == '\t') {
		end--
	}
	f.Value, f.Kind = b[at:end:end], KindOf(f.Name)
	return f, next, nil
}

// badName says what is wrong with the line at start, whose first character that
// is no token's is at at.
func badName(b []byte, start, at int) error {
	switch c := b[at]; {
	case c == '\n':
		return refuse(badRequest, whyBareLF)
	case at == start && (c == ' ' || c == '\t'):
		return refuse(badRequest, whyFold)
	case c == ' ' || c == '\t':
		return refuse(badRequest, whySpaceColon)
	case c == '\r':
		return refuse(badRequest, whyNoColon)
	}
	return refuse(badRequest, whyName)
}

// lineEnd returns what is behind the CR LF at at, 0 if b ends before.
func lineEnd(b []byte, at int) (int, error) {
	switch {
	case b[at] == '\n':
		return 0, refuse(badRequest, whyBareLF)
	case b[at] != '\r':
		return 0, refuse(badRequest, whyControl)
	case at+1 == len(b):
		return 0, nil
	case b[at+1] != '\n':
		return 0, refuse(badRequest, whyBareCR)
	}
	return at + 2, nil
}

// note keeps what a well-known field says about the message.
func (h *Head) note(f *Field) error {
	again := h.Has(f.Kind)
	h.seen |= 1 << f.Kind
	switch f.Kind { //nolint:exhaustive // the others say nothing about framing
	case KindHost:
		if again {
			return refuse(badRequest, whyHostTwice)
		}
	case KindContentLength:
		if again {
			return refuse(badRequest, whyLengthTwice)
		}
		n, ok := number(f.Value)
		if !ok {
			return refuse(badRequest, whyLengthNumber)
		}
		h.length = n
	case KindTransferEncoding:
		if h.Minor == 0 {
			return refuse(badRequest, whyCodingOld)
		}
		if again {
			return refuse(badRequest, whyCodingTwice)
		}
		if !Is(f.Value, "chunked") {
			return refuse(unknown, whyCoding)
		}
	case KindConnection:
		h.connection(f.Value)
		if h.options > maxOptions {
			return refuse(badRequest, whyManyOptions)
		}
	}
	return nil
}

// connection reads the options of one Connection field.
func (h *Head) connection(list []byte) {
	for len(list) > 0 {
		var option []byte
		option, list = cut(list)
		switch {
		case len(option) == 0:
		case Is(option, "close"):
			h.closing = true
		case Is(option, "keep-alive"):
			h.keeping = true
		case Is(option, "upgrade"):
			h.upgrading = true
		default:
			h.options++
		}
	}
}

// frame checks what the fields say together, once all are read.
func (h *Head) frame() error {
	if h.Has(KindTransferEncoding) && h.Has(KindContentLength) {
		return refuse(badRequest, whyBothLengths)
	}
	h.Close = h.closing || h.Minor == 0 && !h.keeping
	if h.options > 0 {
		h.mark()
	}
	return nil
}

// mark gives the fields that Connection names their kind. Host, Content-Length
// and Expect stay: to strip them would change where a message goes, where it ends
// or who waits for whom (RFC 9110, 7.6.1, forbids to name what is meant for every
// recipient).
func (h *Head) mark() {
	for i := range h.Fields {
		if h.Fields[i].Kind != KindConnection {
			continue
		}
		for list := h.Fields[i].Value; len(list) > 0; {
			var option []byte
			option, list = cut(list)
			for j := range h.Fields {
				f := &h.Fields[j]
				if !f.Kind.HopByHop() && !f.Kind.fixed() && sameName(f.Name, option) {
					h.seen &^= 1 << f.Kind
					f.Kind = KindNamed
				}
			}
		}
	}
}

// sameName compares a token and whatever stands in Connection.
func sameName(token, option []byte) bool {
	if len(token) != len(option) {
		return false
	}
	for i, c := range option {
		if lower(c) != lower(token[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// cut splits the first element off a comma-separated list.
func cut(list []byte) (first, rest []byte) {
	for i, c := range list {
		if c == ',' {
			return trim(list[:i]), list[i+1:]
		}
	}
	return trim(list), nil
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// Length reads the value of a Content-Length, as the parsers do.
func Length(value string) (n int64, ok bool) { return number(value) }

// number reads 1*DIGIT below 2^63.
func number[text []byte | string](b text) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 19 {
		return 0, false
	}
	for i := range len(b) {
		c := b[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0') // 19 digits are below 2^64: an overflow is negative
	}
	return n, n >= 0
}

// control returns where the first control character other than HTAB is, or len(b).
func control(b []byte, at int) int {
	const (
		ones  = 0x0101010101010101
		highs = 0x80 * ones
	)
	for at+8 <= len(b) {
		x := binary.LittleEndian.Uint64(b[at:])
		del := x ^ 0x7f*ones
		// A borrow marks only bytes above a true one, and the lowest is taken.
		m := ((x-0x20*ones)&^x | (del-ones)&^del) & highs
		if m == 0 {
			at += 8
			continue
		}
		at += bits.TrailingZeros64(m) >> 3
		if b[at] != '\t' {
			return at
		}
		at++
	}
	for at < len(b) && (b[at] >= ' ' && b[at] != 0x7f || b[at] == '\t') {
		at++
	}
	return at
}
