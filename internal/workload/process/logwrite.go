package process

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	longest  = 64 << 10 // bytes of one line; what is longer becomes several
	tailLen  = 20       // lines kept for people in trouble
	tailWide = 512      // bytes of such a line
	runner   = "slipway"
)

// entry is one line on disk.
type entry struct {
	Time   time.Time `json:"time"`
	Stream string    `json:"stream"`
	Text   string    `json:"text"`
}

// logger writes the lines of one instance into files that rotate: log.jsonl is
// the newest, then log.jsonl.1 and so on. It never blocks the application: what
// cannot be written is counted and dropped.
type logger struct {
	path  string
	max   int64 // bytes of one file
	files int   // files kept

	mu   sync.Mutex // guards what follows
	f    *os.File
	size int64
	lost int
	why  error
	tail []string
}

func openLogger(path string, bytes int64, files int) (*logger, error) {
	l := &logger{path: path, max: bytes, files: files}
	if err := l.open(); err != nil {
		return nil, err
	}
	// A shim that was killed may have left half a line.
	last := make([]byte, 1)
	if n, err := l.f.ReadAt(last, l.size-1); n == 1 && err == nil && last[0] != '\n' {
		if _, err := l.f.Write([]byte("\n")); err != nil {
			return nil, errors.Join(err, l.f.Close())
		}
		l.size++
	}
	return l, nil
}

func (l *logger) open() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.f, l.size = f, info.Size()
	return nil
}

// Close ends the file; later lines are lost.
func (l *logger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return nil
	}
	err := l.f.Close()
	l.f = nil
	return err
}

// say writes what the runner did.
func (l *logger) say(format string, args ...any) {
	l.write(runner, []string{fmt.Sprintf(format, args...)})
}

// write adds lines that arrived together.
func (l *logger) write(stream string, lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now().UTC() // under the lock: a file is in the order of time
	if l.lost > 0 {
		lines = append([]string{fmt.Sprintf("%d lines were lost before this one: %v", l.lost, l.why)}, lines...)
	}
	var b []byte
	for _, text := range lines {
		if stream != runner {
			l.remember(text)
		}
		line, err := json.Marshal(entry{now, stream, text})
		if err != nil {
			continue // text always marshals
		}
		b = append(append(b, line...), '\n')
	}
	if err := l.append(b); err != nil {
		l.lost += len(lines)
		l.why = err
		return
	}
	l.lost, l.why = 0, nil
}

func (l *logger) append(b []byte) error {
	if l.f == nil {
		return os.ErrClosed
	}
	if l.size > 0 && l.size+int64(len(b)) > l.max {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	n, err := l.f.Write(b)
	l.size += int64(n)
	return err
}

// rotate moves every file one place on; the last falls off the end.
func (l *logger) rotate() error {
	for i := l.files - 1; i > 0; i-- {
		err := os.Rename(rotated(l.path, i-1), rotated(l.path, i))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if l.files <= 1 {
		if err := os.Remove(l.path); err != nil {
			return err
		}
	}
	old := l.f
	if err := l.open(); err != nil {
		return err
	}
	return old.Close()
}

func rotated(path string, i int) string {
	if i == 0 {
		return path
	}
	return path + "." + strconv.Itoa(i)
}

func (l *logger) remember(text string) {
	if len(text) > tailWide {
		text = strings.ToValidUTF8(text[:tailWide], "") + " …"
	}
	l.tail = append(l.tail, text)
	if len(l.tail) > tailLen {
		l.tail = append([]string(nil), l.tail[len(l.tail)-tailLen:]...)
	}
}

// last returns the last lines the application wrote since forget.
func (l *logger) last() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.tail...)
}

// forget starts the tail anew, so that each start shows its own trouble.
func (l *logger) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tail = nil
}

// pump writes every line of r until it ends. Lines that arrived together are
// written together.
func (l *logger) pump(stream string, r io.Reader) {
	b := bufio.NewReaderSize(r, longest)
	var batch []string
	for {
		line, err := b.ReadSlice('\n')
		if len(line) > 0 {
			batch = append(batch, strings.ToValidUTF8(strings.TrimRight(string(line), "\r\n"), "\uFFFD"))
		}
		waiting, _ := b.Peek(b.Buffered())
		if len(batch) > 0 && (err != nil || len(batch) >= 256 || bytes.IndexByte(waiting, '\n') < 0) {
			l.write(stream, batch)
			batch = batch[:0]
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}
