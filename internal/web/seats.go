package web

import (
	"net"
	"net/http"
	"sync"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Bounds of the streams that are open at once: each costs a look a second.
const (
	maxSeats    = 500 // in all
	maxSeatsOne = 100 // of one name from one address: a token may be that of a whole team
)

// seats counts the streams that are open. The zero value is ready.
type seats struct {
	mu  sync.Mutex
	all int
	of  map[string]int
}

// take gives a seat to one who follows a page. Where ok, leave must be called.
func (s *seats) take(who string) (leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= maxSeats || s.of[who] >= maxSeatsOne {
		return nil, false
	}
	if s.of == nil {
		s.of = map[string]int{}
	}
	s.all++
	s.of[who]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all--
		if s.of[who]--; s.of[who] == 0 {
			delete(s.of, who)
		}
	}, true
}

// sitter names one who follows a page, to count what one has open.
func sitter(who delivery.Who, r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return who.Name + " " + host
}

// full answers whoever has to wait for a seat; the page itself can be loaded again.
func full(rw http.ResponseWriter) {
	rw.Header().Set("Retry-After", "10")
	http.Error(rw, "too many pages are followed at once; close some of them", http.StatusTooManyRequests)
}
