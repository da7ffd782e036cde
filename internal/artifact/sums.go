package artifact

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Bounds of what Sums remembers.
const (
	maxSums = 128
	settled = 2 * time.Second // since the last change: file systems tell no finer whether there was another
)

// Sums remembers digests of folders and files for as long as the name, size, mode and
// time of everything in them stay the same. It is safe for concurrent use, and the zero
// Sums is empty. What is kept as a bundle is read anew all the same: a digest from here
// is good for saying what would happen.
type Sums struct {
	mu sync.Mutex
	of map[string]summed // path -> what it was
}

// summed is what a folder or file was.
type summed struct {
	look   [sha256.Size]byte
	digest delivery.Digest
	asked  time.Time
}

// SumWithin is the function of that name, and reads nothing that it knows.
func (s *Sums) SumWithin(ctx context.Context, path string, l Limits) (delivery.Digest, error) {
	now := time.Now()
	look, last, err := l.orDefaults().look(ctx, path)
	if err != nil {
		return "", fmt.Errorf("artifact: sum %s: %w", path, err)
	}
	if d, known := s.recall(path, look, now); known {
		return d, nil
	}
	d, err := Sum(ctx, path)
	if err == nil && now.Sub(last) >= settled {
		s.remember(path, summed{look, d, now})
	}
	return d, err
}

// look is a hash of all that tells without reading whether something changed, and when
// anything did last.
func (l Limits) look(ctx context.Context, path string) (look [sha256.Size]byte, last time.Time, err error) {
	h := sha256.New()
	err = l.measure(ctx, path, func(full string, info fs.FileInfo) {
		at, size := info.ModTime(), info.Size()
		if info.IsDir() { // what is in it speaks for itself
			at, size = time.Time{}, 0
		}
		if at.After(last) {
			last = at
		}
		fmt.Fprintf(h, "%q %d %d %d\n", full, info.Mode(), size, at.UnixNano())
	})
	h.Sum(look[:0])
	return look, last, err
}

func (s *Sums) recall(path string, look [sha256.Size]byte, now time.Time) (delivery.Digest, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.of[path]
	if !ok || known.look != look {
		return "", false
	}
	known.asked = now
	s.of[path] = known
	return known.digest, true
}

// remember keeps a digest, in the place of the one that was asked for longest ago.
func (s *Sums) remember(path string, was summed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = map[string]summed{}
	}
	if _, there := s.of[path]; !there && len(s.of) >= maxSums {
		oldest := ""
		for p, x := range s.of {
			if oldest == "" || x.asked.Before(s.of[oldest].asked) {
				oldest = p
			}
		}
		delete(s.of, oldest)
	}
	s.of[path] = was
}
