package client

import (
	"bufio"
	"bytes"
	"io"
)

// maxLine bounds one line of a stream, in bytes.
const maxLine = 4 << 20

// wholeLines scans the lines of a stream that may break off: what has no end is
// half a line, and is left out.
func wholeLines(r io.Reader) *bufio.Scanner {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	lines.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		if !bytes.ContainsRune(data, '\n') {
			return 0, nil, nil
		}
		return bufio.ScanLines(data, atEOF)
	})
	return lines
}
