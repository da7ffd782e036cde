package wire

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// decode feeds body to a decoder in pieces and returns the data and how much was
// left behind the end.
func decode(c *Chunks, body []byte, piece int) (data []byte, rest int, err error) {
	at := 0
	for end := min(piece, len(body)); ; end = min(end+piece, len(body)) {
		for at < end && !c.Done() {
			d, n, err := c.Next(body[at:end])
			if err != nil {
				return data, 0, err
			}
			data = append(data, d...)
			at += n
		}
		if end == len(body) || c.Done() {
			return data, len(body) - at, nil
		}
	}
}

func TestChunks(t *testing.T) {
	for body, want := range map[string]string{
		"0\r\n\r\n":                            "|",
		"3\r\nabc\r\n0\r\n\r\n":                "abc|",
		"3;x=\"y;\tz\";u\r\nabc\r\n00\r\n\r\n": "abc|",
		"a\r\n0123456789\r\n0000000000000003\r\nabc\r\n0\r\n\r\n":          "0123456789abc|",
		"2\r\n\r\n\r\n0\r\nX: a\r\nY-Z:\tb \r\n\r\n":                       "\r\n|X=a Y-Z=b ",
		"0\r\nHost: a\r\nContent-Length: 3\r\nAge: 1\r\nCookie: b\r\n\r\n": "|",
	} {
		for _, piece := range []int{1, 2, 7, 1000} {
			var c Chunks
			data, rest, err := decode(&c, []byte(body+"GET"), piece)
			got := string(data) + "|"
			for _, f := range c.Trailers() {
				got += fmt.Sprintf("%s=%s ", f.Name, f.Value)
			}
			if err != nil || rest != 3 || !c.Done() || got != want {
				t.Errorf("decode(%q) by %d = %q, rest %d, done %v, %v, want %q", body, piece, got, rest, c.Done(), err, want)
			}
		}
	}
}

// brokenChunks are bodies, and why they are refused.
func brokenChunks() map[string]string {
	return map[string]string{
		"\r\n": whyChunkSize, "g\r\n": whyChunkSize, "+3\r\n": whyChunkSize, "-3\r\n": whyChunkSize, " 3\r\n": whyChunkSize, ";\r\n": whyChunkSize,
		"0x3\r\n": whyChunkLine, "3 \r\n": whyChunkLine, "3 ;a\r\n": whyChunkLine, "3\x00": whyChunkLine,
		"8000000000000000\r\n": whyChunkSize, "00000000000000003\r\n": whyChunkSize, "ffffffffffffffff\r\n": whyChunkSize,
		"3\n": whyBareLF, "3;a\n": whyBareLF, "3\ra": whyBareCR, "3;a\rb": whyBareCR, "3;\x00": whyExtension,
		"3\r\nabcd": whyChunkEnd, "3\r\nabc\n": whyChunkEnd, "3\r\nabc\rX": whyChunkEnd,
		"0\r\n\rX": whyBareCR, "0\r\n\n": whyBareLF, "0\r\nX: a\n": whyBareLF, "0\r\nX: a\r\n b\r\n\r\n": whyFold,
		"0\r\nX : a\r\n\r\n": whySpaceColon, "0\r\nX\r\n\r\n": whyNoColon, "0\r\nX: \x00\r\n\r\n": whyControl, "0\r\nX: a\rb\r\n\r\n": whyBareCR,
		"0\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n":         whyLengthTwice,
		"3;" + strings.Repeat("a", maxExtension+1):                    whyExtension,
		strings.Repeat("1;"+strings.Repeat("a", 200)+"\r\nx\r\n", 90): whyExtensions,
		"0\r\nX: " + strings.Repeat("a", maxTrailers):                 whyTrailers,
		"0\r\n" + strings.Repeat("X: a\r\n", maxTrailer+1) + "\r\n":   whyManyFields,
	}
}

func TestChunksRefused(t *testing.T) {
	for body, want := range brokenChunks() {
		for _, piece := range []int{1, 3, 100_000} {
			var c Chunks
			_, _, err := decode(&c, []byte(body), piece)
			var bad *Error
			if !errors.As(err, &bad) || bad.Reason != want || c.Done() {
				t.Errorf("decode(%.40q) by %d: %v, want %q", body, piece, err, want)
			}
		}
	}
}

func TestChunksSkip(t *testing.T) {
	var c Chunks
	_, n, err := c.Next([]byte("a\r\n01"))
	if n != 5 || err != nil || c.Left() != 8 {
		t.Fatalf("Next = %d, %v, left %d, want 5 and 8", n, err, c.Left())
	}
	c.Skip(8)
	data, rest, err := decode(&c, []byte("\r\n1\r\nx\r\n0\r\n\r\n"), 1)
	if string(data) != "x" || rest != 0 || err != nil || !c.Done() || c.Left() != 0 {
		t.Errorf("after Skip: %q, %d, %v", data, rest, err)
	}
}

func TestAppendChunk(t *testing.T) {
	b := AppendChunk(nil, nil)
	b = AppendChunk(b, bytes.Repeat([]byte("x"), 26))
	b = AppendLast(b, []Field{{Name: []byte("A"), Value: []byte("1")}, {Name: []byte("Content-Length"), Value: []byte("1")}})
	if want := "1a\r\n" + strings.Repeat("x", 26) + "\r\n0\r\nA: 1\r\n\r\n"; string(b) != want {
		t.Errorf("appended %q, want %q", b, want)
	}
}

func BenchmarkChunks(b *testing.B) {
	var body []byte
	for range 16 {
		body = AppendChunk(body, make([]byte, 4096))
	}
	body = AppendLast(body, nil)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		var c Chunks
		for at := 0; !c.Done(); {
			_, n, err := c.Next(body[at:])
			if err != nil {
				b.Fatal(err)
			}
			at += n
		}
	}
}
