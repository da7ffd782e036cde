package proxy

import (
	"maps"
	"slices"
	"sync"
)

// set is what is there now, of things that come and go by themselves. The zero
// value is empty.
type set[T comparable] struct {
	mu  sync.Mutex
	all map[T]struct{} // guarded by mu
}

func (s *set[T]) add(one T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[T]struct{}{}
	}
	s.all[one] = struct{}{}
}

func (s *set[T]) remove(one T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, one)
}

func (s *set[T]) list() []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.all))
}
