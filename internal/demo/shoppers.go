package demo

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

const (
	defaultRate   = 40
	maxRate       = 2000
	defaultFlight = 128
	think         = 2500 * time.Millisecond // mean time between two requests of one shopper
	lateLimit     = time.Second             // a generator that is further behind its plan drops the arrears
	leaveLimit    = 3 * time.Second         // for requests under way at the end
	keptFailures  = 20
)

// Shoppers are people in a shop: an open-loop load, which keeps its rate however
// slow the answers are. Each shopper is a session with cookies of its own that
// browses, fills a basket, checks out and leaves after some steps, or when
// something fails; nothing is tried twice. They go to this machine only. The
// zero value but for URL works; it is run once.
type Shoppers struct {
	URL      string       // of the shop; its host must be a loopback address
	Rate     float64      // requests a second, on average; 0 means 40, at most 2000
	InFlight int          // most requests under way; 0 means 128
	Log      *slog.Logger // nil says nothing

	mu     sync.Mutex
	counts Counts
}

// Counts is what shoppers met.
type Counts struct {
	Requests uint64            `json:"requests"` // that ended
	Failed   uint64            `json:"failed"`   // no answer, a broken one, or a 5xx
	Refused  uint64            `json:"refused"`  // 4xx: the shopper was in the wrong
	Skipped  uint64            `json:"skipped"`  // not sent, because InFlight were under way
	Shoppers uint64            `json:"shoppers"` // who came
	Releases map[string]Tally  `json:"releases"` // by who answered: the Slipway-Release header, or else "shop v1"; "" when nobody did
	Steps    map[string]Tally  `json:"steps"`    // by what was asked: "GET /", "POST /cart", "POST /checkout"
	Causes   map[string]uint64 `json:"causes"`   // failed requests by where it began: "payment v3-bad"; "" when nobody said
	Last     []Mishap          `json:"last"`     // the last failed requests, oldest first, at most 20
}

// Tally counts requests of one sort.
type Tally struct {
	Requests uint64 `json:"requests"`
	Failed   uint64 `json:"failed"`
}

// Mishap is one failed request, for people.
type Mishap struct {
	At      time.Time `json:"at"`
	Step    string    `json:"step"`
	Status  int       `json:"status,omitempty"` // 0 when there was no answer
	Release string    `json:"release,omitempty"`
	Cause   string    `json:"cause,omitempty"`
	Error   string    `json:"error"`
}

// Snapshot returns the counts so far. It may be called at any time.
func (s *Shoppers) Snapshot() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts
	c.Releases, c.Steps, c.Causes = maps.Clone(c.Releases), maps.Clone(c.Steps), maps.Clone(c.Causes)
	c.Last = slices.Clone(c.Last)
	return c
}

// Run sends shoppers until ctx ends, waits up to 3 s for the requests under
// way, and returns nil. It returns an error at once when URL is not on this
// machine or Rate or InFlight are out of range.
func (s *Shoppers) Run(ctx context.Context) error {
	shop, err := onThisMachine(s.URL)
	if err != nil {
		return err
	}
	rate, limit, log := s.Rate, s.InFlight, s.Log
	if rate == 0 {
		rate = defaultRate
	}
	if !(rate > 0 && rate <= maxRate) {
		return delivery.Invalid("rate", fmt.Sprintf("must be above 0 and at most %d requests a second", maxRate))
	}
	if limit == 0 {
		limit = defaultFlight
	}
	if limit < 0 {
		return delivery.Invalid("in_flight", "must be above 0")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	log.Info("shoppers come", "url", s.URL, "rate", rate)
	c := &crowd{
		shop: shop, size: int(math.Ceil(rate * think.Seconds())), tell: s.count,
		wire: &http.Transport{DialContext: dialHere, MaxIdleConnsPerHost: limit, IdleConnTimeout: 30 * time.Second},
		back: make(chan *shopper, limit),
	}
	defer c.wire.CloseIdleConnections()
	flight, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	s.arrive(ctx, flight, c, rate)
	defer time.AfterFunc(leaveLimit, cut).Stop()
	c.away.Wait()
	log.Info("shoppers left", "requests", s.Snapshot().Requests)
	return nil
}

// arrive sends requests at random moments, rate a second on average, until ctx
// ends. The requests themselves live as long as flight.
func (s *Shoppers) arrive(ctx, flight context.Context, c *crowd, rate float64) {
	next := time.Now()
	bell := time.NewTimer(0)
	defer bell.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case one := <-c.back:
			c.home(one)
			continue
		case <-bell.C:
		}
		if one, isNew := c.send(); one == nil {
			s.add(func(n *Counts) { n.Skipped++ })
		} else {
			if isNew {
				s.add(func(n *Counts) { n.Shoppers++ })
			}
			c.away.Go(func() { c.walk(flight, one) })
		}
		if now := time.Now(); now.Sub(next) > lateLimit {
			next = now
		}
		next = next.Add(time.Duration(rand.ExpFloat64() / rate * float64(time.Second)))
		bell.Reset(time.Until(next))
	}
}

// add changes the counts.
func (s *Shoppers) add(change func(*Counts)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.counts)
}

// count notes how one request ended.
func (s *Shoppers) count(o outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := &s.counts
	if n.Releases == nil {
		n.Releases, n.Steps, n.Causes = map[string]Tally{}, map[string]Tally{}, map[string]uint64{}
	}
	n.Requests++
	if o.refused() {
		n.Refused++
	}
	failed := uint64(0)
	if o.failed() {
		failed = 1
		n.Causes[o.Cause]++
		n.Last = append(n.Last, Mishap(o))
		n.Last = n.Last[max(0, len(n.Last)-keptFailures):]
	}
	n.Failed += failed
	n.Releases[o.Release] = n.Releases[o.Release].plus(failed)
	n.Steps[o.Step] = n.Steps[o.Step].plus(failed)
}

// plus returns t with one more request, of which failed failed.
func (t Tally) plus(failed uint64) Tally { return Tally{t.Requests + 1, t.Failed + failed} }

// onThisMachine reads the shop's address, and refuses one that may be elsewhere.
func onThisMachine(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" || u.Host == "" {
		return nil, delivery.Invalid("url", fmt.Sprintf("must be like http://127.0.0.1:7580, not %q", text))
	}
	if _, err := here(u.Hostname()); err != nil {
		return nil, err
	}
	return u, nil
}

// here returns the loopback address a host stands for, without asking a name server.
func here(host string) (net.IP, error) {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return net.IPv4(127, 0, 0, 1), nil
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		return ip, nil
	}
	return nil, delivery.Invalid("url", fmt.Sprintf("shoppers stay on this machine, and %q is not a loopback address", host))
}

// dialHere connects to loopback addresses and to nothing else.
func dialHere(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	ip, err := here(host)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	return d.DialContext(ctx, network, net.JoinHostPort(ip.String(), port))
}
