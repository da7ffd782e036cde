package accesslog

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of what waits to be written.
const (
	maxQueued = 4 << 20                // bytes; lines beyond are dropped
	keepSpare = 256 << 10              // bytes of a buffer that is kept for the next lines
	linger    = 50 * time.Millisecond  // lines that come within it are written together
	complain  = time.Minute            // between two complaints about the same file
	firstWait = 100 * time.Millisecond // before a file that could not be written is tried again
	maxWait   = 5 * time.Second
)

// Log is an access log. Add may be called by any number of goroutines at a time.
type Log struct {
	file    file
	log     *slog.Logger
	scratch sync.Pool
	wake    chan struct{}
	dropped atomic.Uint64
	written atomic.Uint64

	complained time.Time // of Run

	mu     sync.Mutex
	queued []byte // guarded by mu: lines
	count  uint64 // guarded by mu: of them
}

// New returns the access log at path. The file is made when the first line comes.
func New(path string, log *slog.Logger) *Log {
	return &Log{
		file: file{path: path, limit: maxSize}, log: log, wake: make(chan struct{}, 1),
		scratch: sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }},
	}
}

// Add queues one line. It never waits for the disk.
func (l *Log) Add(e *Entry) {
	b := l.scratch.Get().(*[]byte)
	*b = e.Append((*b)[:0])
	l.mu.Lock()
	fits := len(l.queued)+len(*b) <= maxQueued
	if fits {
		l.queued = append(l.queued, *b...)
		l.count++
	}
	l.mu.Unlock()
	l.scratch.Put(b)
	if !fits {
		l.dropped.Add(1)
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Dropped returns how many lines were lost: the queue was full, or the file
// could not be written until the end.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Written returns how many lines are in the file.
func (l *Log) Written() uint64 { return l.written.Load() }

// Run writes what is added until ctx ends, and then what is left.
func (l *Log) Run(ctx context.Context) {
	defer l.file.close()
	var spare []byte
	for ctx.Err() == nil || l.pending() {
		select {
		case <-l.wake:
		case <-ctx.Done():
		}
		pause(ctx, linger)
		l.mu.Lock()
		lines, count := l.queued, l.count
		l.queued, l.count = spare, 0
		l.mu.Unlock()
		if l.flush(ctx, lines) {
			l.written.Add(count)
		} else {
			l.dropped.Add(count)
		}
		spare = nil
		if cap(lines) <= keepSpare {
			spare = lines[:0]
		}
	}
}

// flush writes lines, however long it takes while ctx lasts, and says whether
// it could. Meanwhile the queue fills, and what is too much is dropped.
func (l *Log) flush(ctx context.Context, lines []byte) bool {
	wait := firstWait
	for len(lines) > 0 {
		n, err := l.file.write(lines)
		lines = lines[n:]
		if err == nil {
			continue
		}
		if now := time.Now(); now.Sub(l.complained) > complain {
			l.complained = now
			l.log.Error("access log cannot be written", slog.Any("error", err), slog.Uint64("dropped", l.Dropped()))
		}
		if ctx.Err() != nil {
			return false
		}
		pause(ctx, wait)
		wait = min(2*wait, maxWait)
	}
	return true
}

func (l *Log) pending() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queued) > 0
}

// pause lets d pass, or less when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
