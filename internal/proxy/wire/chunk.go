package wire

import "strconv"

// Bounds of a chunked body beside its data.
const (
	maxExtension  = 256      // bytes of one chunk's extensions
	maxExtensions = 16 << 10 // bytes of extensions beyond twice the data
	maxTrailers   = 16 << 10 // bytes of the trailer section
	maxTrailer    = 100      // trailer fields
)

// Chunks decodes a chunked body (RFC 9112, 7.1). The zero value is at its start;
// it allocates only for trailers.
type Chunks struct {
	state    chunkState
	digits   int8
	ext      int   // bytes of extensions of the chunk at hand
	excess   int   // bytes of extensions that data has not made up for
	left     int64 // of the chunk at hand
	section  []byte
	trailers []Field
}

type chunkState uint8

const (
	atSize   chunkState = iota
	inExt               // behind ';'
	atSizeLF            // behind the CR of the size line
	inData
	atDataCR
	atDataLF
	atTrailers
	atLastLF // behind the CR of a trailer section without a field
	inTrailers
	atEnd
)

// Done says whether the end of the body was read, trailers and all.
func (c *Chunks) Done() bool { return c.state == atEnd }

// Left is how much of the chunk at hand has not been returned: so many bytes of
// data come next, without a size line between them. Skip takes them without Next.
func (c *Chunks) Left() int64 {
	if c.state != inData {
		return 0
	}
	return c.left
}

// Skip tells that the next n bytes of data, at most Left, went another way.
func (c *Chunks) Skip(n int64) {
	if c.state != inData || n < 0 || n > c.left {
		panic("wire: skip beyond the chunk")
	}
	c.take(n)
}

// Trailers returns the trailer fields once Done. Fields that a trailer may not
// have (RFC 9110, 6.5.1) are left out.
func (c *Chunks) Trailers() []Field { return c.trailers }

// Next decodes from b, the bytes not consumed yet. It returns the first run of
// data in b, which may be empty, and how many bytes of b it has consumed: up to
// the end of that run, or all of b, or up to the end of the body.
func (c *Chunks) Next(b []byte) (data []byte, n int, err error) {
	for n < len(b) && c.state != atEnd {
		if c.state == inData {
			size := min(c.left, int64(len(b)-n))
			data = b[n : n+int(size)]
			c.take(size)
			return data, n + int(size), nil
		}
		if err := c.step(b[n]); err != nil {
			return nil, n, err
		}
		n++
	}
	return nil, n, nil
}

func (c *Chunks) take(n int64) {
	if c.left -= n; c.left == 0 {
		c.state = atDataCR
	}
}

// step takes one byte that is not data.
func (c *Chunks) step(b byte) error {
	switch c.state {
	case atSize:
		return c.size(b)
	case inExt:
		return c.extension(b)
	case atSizeLF:
		if b != '\n' {
			return refuse(badRequest, whyBareCR)
		}
		return c.begin()
	case atDataCR:
		if b != '\r' {
			return refuse(badRequest, whyChunkEnd)
		}
		c.state = atDataLF
	case atDataLF:
		if b != '\n' {
			return refuse(badRequest, whyChunkEnd)
		}
		c.state = atSize
	case atTrailers:
		if b == '\r' {
			c.state = atLastLF
			return nil
		}
		c.state = inTrailers
		return c.trailer(b)
	case atLastLF:
		if b != '\n' {
			return refuse(badRequest, whyBareCR)
		}
		c.state = atEnd
	case inTrailers:
		return c.trailer(b)
	case inData, atEnd:
	}
	return nil
}

func (c *Chunks) size(b byte) error {
	switch {
	case class[b]&isHex != 0:
		if c.digits == 16 || c.left >= 1<<59 {
			return refuse(badRequest, whyChunkSize)
		}
		c.left = c.left<<4 | int64(unhex(b))
		c.digits++
	case c.digits == 0:
		return refuse(badRequest, whyChunkSize)
	case b == ';':
		c.state = inExt
	case b == '\r':
		c.state = atSizeLF
	case b == '\n':
		return refuse(badRequest, whyBareLF)
	default:
		return refuse(badRequest, whyChunkLine)
	}
	return nil
}

func (c *Chunks) extension(b byte) error {
	switch {
	case b == '\r':
		c.state = atSizeLF
		return nil
	case b == '\n':
		return refuse(badRequest, whyBareLF)
	case b < ' ' && b != '\t', b == 0x7f, c.ext == maxExtension:
		return refuse(badRequest, whyExtension)
	}
	c.ext++
	return nil
}

// begin starts the data of a chunk, or the trailers.
func (c *Chunks) begin() error {
	// What is not data must not come for free: a byte in each chunk with a long
	// extension would make the reader do hundreds of times the work it counts.
	c.excess += c.ext
	if c.left < maxExtensions {
		c.excess = max(0, c.excess-2*int(c.left))
	} else {
		c.excess = 0
	}
	if c.excess > maxExtensions {
		return refuse(badRequest, whyExtensions)
	}
	c.ext, c.digits = 0, 0
	c.state = inData
	if c.left == 0 {
		c.state = atTrailers
	}
	return nil
}

// trailer collects the trailer section, and parses it at its end: two CR LF.
func (c *Chunks) trailer(b byte) error {
	if len(c.section) == maxTrailers {
		return refuse(tooLarge, whyTrailers)
	}
	c.section = append(c.section, b)
	if b != '\n' {
		return nil
	}
	n := len(c.section)
	if n < 2 || c.section[n-2] != '\r' {
		return refuse(badRequest, whyBareLF)
	}
	if n < 4 || c.section[n-4] != '\r' || c.section[n-3] != '\n' {
		return nil
	}
	h := Head{Minor: 1}
	end, err := h.readFields(c.section, 0, maxTrailer)
	if err != nil {
		return err
	}
	if end != n {
		return refuse(badRequest, whyBareCR)
	}
	for _, f := range h.Fields {
		if !ForbiddenTrailer(f.Name) {
			c.trailers = append(c.trailers, f)
		}
	}
	c.state = atEnd
	return nil
}

// ForbiddenTrailer says whether a field may not come behind a body, for it frames
// or routes the message, says who sends it, or how to read what has been read by
// then (RFC 9110, 6.5.1).
func ForbiddenTrailer(name []byte) bool {
	switch k := KindOf(name); {
	case k == KindOther, k == KindBaggage, k == KindTraceparent, k == KindTracestate, k == KindUserAgent:
	default:
		return true
	}
	for _, no := range [...]string{
		"age", "cache-control", "content-encoding", "content-range", "date", "expires",
		"if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since",
		"location", "max-forwards", "pragma", "range", "retry-after", "vary", "warning", "www-authenticate",
	} {
		if Is(name, no) {
			return true
		}
	}
	return false
}

// AppendChunk appends data as one chunk; nothing for no data, which would be the
// last chunk.
func AppendChunk(b, data []byte) []byte {
	if len(data) == 0 {
		return b
	}
	b = AppendChunkSize(b, int64(len(data)))
	b = append(b, data...)
	return append(b, "\r\n"...)
}

// AppendChunkSize appends the size line of a chunk of n bytes, n > 0. CR LF must
// follow the data.
func AppendChunkSize(b []byte, n int64) []byte {
	b = strconv.AppendInt(b, n, 16)
	return append(b, "\r\n"...)
}

// AppendLast appends the end of a chunked body with its trailers, but for those
// that are forbidden.
func AppendLast(b []byte, trailers []Field) []byte {
	b = append(b, "0\r\n"...)
	for i := range trailers {
		if !ForbiddenTrailer(trailers[i].Name) {
			b = AppendField(b, trailers[i].Name, trailers[i].Value)
		}
	}
	return append(b, "\r\n"...)
}

// AppendField appends one field line. Name and value must be what a Field holds.
func AppendField(b, name, value []byte) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}
