package process

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/slipway-cd/slipway/internal/workload"
)

const (
	defaultTail = 100
	followEvery = 100 * time.Millisecond
	mostFiles   = 100       // rotated files looked for
	chunk       = 256 << 10 // bytes read from the end of a file at first
)

// Logs implements workload.Driver. Lines of several instances are merged by
// time. With Follow it returns nil when ctx ends; instances that appear later
// are followed from their first line.
func (d *Driver) Logs(ctx context.Context, q workload.LogQuery, line func(workload.LogLine) bool) error {
	if q.Tail <= 0 {
		q.Tail = defaultTail
	}
	cursors := map[folder]*cursor{}
	for first := true; ; first = false {
		lines, err := d.news(q, cursors, first)
		if err != nil {
			return fmt.Errorf("process: logs: %w", err)
		}
		for _, l := range lines {
			if ctx.Err() != nil || !line(l) {
				return ended(ctx, q)
			}
		}
		if !q.Follow || pause(ctx, cmp.Or(q.Every, followEvery)) != nil {
			return ended(ctx, q)
		}
	}
}

func ended(ctx context.Context, q workload.LogQuery) error {
	if q.Follow {
		return nil
	}
	return ctx.Err()
}

// news returns what was written since the cursors were there, in order of time.
func (d *Driver) news(q workload.LogQuery, cursors map[folder]*cursor, first bool) ([]workload.LogLine, error) {
	all, err := d.folders()
	if err != nil {
		return nil, err
	}
	var lines []workload.LogLine
	for _, f := range all {
		c := cursors[f]
		if c == nil {
			w, err := f.wish()
			if err != nil || !selects(q, w.Spec) {
				continue
			}
			c = &cursor{path: f.path(logFile), id: w.Spec.ID, want: q.Want}
			cursors[f] = c
		}
		read := c.read
		if first {
			read = func() ([]workload.LogLine, error) { return c.last(q.Tail) }
		}
		fresh, err := read()
		if err != nil {
			return nil, err
		}
		lines = append(lines, fresh...)
	}
	slices.SortStableFunc(lines, func(a, b workload.LogLine) int { return a.At.Compare(b.At) })
	return lines, nil
}

func selects(q workload.LogQuery, s workload.Spec) bool {
	return (q.Service == "" || q.Service == s.Service) &&
		(q.Env == "" || q.Env == s.Env) &&
		(q.Release == "" || q.Release == s.Release)
}

// cursor is a place in the rotating files of one instance.
type cursor struct {
	path string
	id   workload.ID
	at   os.FileInfo // file it is in; nil before the first
	off  int64
	want func(workload.LogLine) bool // nil wants all
}

// read returns the whole lines after the cursor and moves it behind them.
func (c *cursor) read() ([]workload.LogLine, error) {
	files, err := c.files()
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, f := range files {
			f.Close() //nolint:errcheck // read only
		}
	}()
	var lines []workload.LogLine
	for _, f := range files {
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		if c.at == nil || !os.SameFile(c.at, info) {
			c.off = 0
		}
		c.at = info
		b, err := io.ReadAll(io.NewSectionReader(f, c.off, info.Size()-c.off))
		if err != nil {
			return nil, err
		}
		b = b[:bytes.LastIndexByte(b, '\n')+1]
		c.off += int64(len(b))
		lines = append(lines, c.parse(b)...)
	}
	return lines, nil
}

// last returns the last n lines and moves the cursor behind them. It reads no
// more of the files than it must.
func (c *cursor) last(n int) (lines []workload.LogLine, err error) {
	files, err := c.files()
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, f := range files {
			f.Close() //nolint:errcheck // read only
		}
	}()
	for i := len(files) - 1; i >= 0 && len(lines) < n; i-- {
		info, err := files[i].Stat()
		if err != nil {
			return nil, err
		}
		end := info.Size()
		for span := int64(chunk); ; span *= 4 {
			from := max(0, end-span)
			b, err := io.ReadAll(io.NewSectionReader(files[i], from, end-from))
			if err != nil {
				return nil, err
			}
			b = b[:bytes.LastIndexByte(b, '\n')+1]
			if i == len(files)-1 {
				c.at, c.off = info, from+int64(len(b))
			}
			found := c.parse(b)
			if from == 0 || len(found)+len(lines) > n {
				lines = append(found, lines...)
				break
			}
		}
	}
	return lines[max(0, len(lines)-n):], nil
}

// files opens the file the cursor is in and every newer one, oldest first. If
// its file was rotated away it opens all.
func (c *cursor) files() ([]*os.File, error) {
	var files []*os.File
	for i := range mostFiles {
		f, err := os.Open(rotated(c.path, i))
		if errors.Is(err, fs.ErrNotExist) {
			if i == 0 {
				continue // between two renames of a rotation
			}
			break
		}
		if err != nil {
			return files, err
		}
		info, err := f.Stat()
		if err != nil {
			return append(files, f), err
		}
		if n := len(files); n > 0 {
			if newer, err := files[n-1].Stat(); err == nil && os.SameFile(newer, info) {
				f.Close() //nolint:errcheck // the same file again: it was renamed between two opens
				continue
			}
		}
		files = append(files, f)
		if c.at != nil && os.SameFile(c.at, info) {
			break
		}
	}
	slices.Reverse(files)
	return files, nil
}

func (c *cursor) parse(b []byte) []workload.LogLine {
	var lines []workload.LogLine
	for raw := range bytes.Lines(b) {
		var e entry
		if json.Unmarshal(raw, &e) != nil || e.Time.IsZero() {
			continue // half a line of a shim that was killed
		}
		l := workload.LogLine{At: e.Time, ID: c.id, Stream: e.Stream, Text: e.Text}
		if c.want == nil || c.want(l) {
			lines = append(lines, l)
		}
	}
	return lines
}
