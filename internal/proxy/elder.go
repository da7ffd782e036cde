package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/slipway-cd/slipway/internal/traffic"
)

// elderPatience is how long the predecessor may take for an answer. It only has
// its last requests to see to.
const elderPatience = 3 * time.Second

// elder is the predecessor of this data plane for as long as it has requests to
// finish. A nil elder is one that has gone, or never was.
type elder struct {
	pid    int
	log    *slog.Logger
	client *http.ClientConn // whose streams are all calls
	conn   net.Conn
	heard  chan struct{} // closed when its counts so far are ours
	gone   chan struct{} // closed when its process has ended
}

func newElder(ctx context.Context, pid int, conn net.Conn, log *slog.Logger) (*elder, error) {
	tr := &http.Transport{
		DialContext:        func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		Protocols:          h2cOnly(),
		DisableCompression: true,
	}
	client, err := tr.NewClientConn(ctx, "http", "predecessor:80")
	if err != nil {
		return nil, err
	}
	return &elder{pid: pid, log: log, conn: conn, client: client, heard: make(chan struct{}), gone: make(chan struct{})}, nil
}

// mourn follows the predecessor's counts to its end, and then forgets it.
func (e *engine) mourn(ctx context.Context, old *elder) {
	err := old.watch(ctx, func(f traffic.Frame) {
		for _, b := range f.Blocks {
			e.legacy.take(b, e.counts.epoch.Load())
		}
		for _, s := range f.Failed {
			e.counts.sample(s)
		}
	})
	if ctx.Err() == nil {
		e.legacy.settle(e.counts.epoch.Load())
		e.log.Info("the predecessor has gone", slog.Int("pid", old.pid), slog.Any("at", err))
	}
	e.elder.CompareAndSwap(old, nil)
	close(old.gone)
	_ = old.client.Close()
	_ = old.conn.Close()
}

// watch hears the predecessor's counts until its process ends or ctx does.
func (p *elder) watch(ctx context.Context, frame func(traffic.Frame)) error {
	first := true
	defer func() {
		if first {
			close(p.heard)
		}
	}()
	res, err := p.ask(ctx, http.MethodGet, "/v1/stats?since=0", nil)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	for dec := json.NewDecoder(res.Body); ; {
		var f traffic.Frame
		if err := dec.Decode(&f); err != nil {
			return err
		}
		frame(f)
		if first {
			first = false
			close(p.heard)
		}
	}
}

func (p *elder) ask(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://predecessor"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	res, err := p.client.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= http.StatusMultipleChoices && res.StatusCode != http.StatusConflict { // a newer table is there already
		defer func() { _ = res.Body.Close() }()
		b, _ := io.ReadAll(io.LimitReader(res.Body, maxAsk))
		return nil, fmt.Errorf("%s: %s", res.Status, bytes.TrimSpace(b))
	}
	return res, nil
}

// elderError says that the predecessor cannot do what it must before something
// may be acknowledged.
type elderError struct {
	pid int
	err error
}

func (e *elderError) Error() string {
	return fmt.Sprintf("process %d, which served before this one, still has requests and cannot follow: %v", e.pid, e.err)
}

func (e *elderError) Unwrap() error { return e.err }

// living calls ask unless the predecessor has gone, before or meanwhile.
func (p *elder) living(ctx context.Context, ask func(context.Context) error) error {
	if p == nil {
		return nil
	}
	limited, stop := context.WithTimeout(ctx, elderPatience)
	defer stop()
	err := ask(limited)
	if err == nil {
		return nil
	}
	// A process that dies breaks the call a little before its end is seen.
	select {
	case <-p.gone:
		return nil
	case <-limited.Done():
		return &elderError{pid: p.pid, err: err}
	}
}

// apply puts t in force for what is still in flight there. One that cannot, as
// it does not know a field of t, is waited for: it ends soon.
func (p *elder) apply(ctx context.Context, t *table) error {
	return p.living(ctx, func(ctx context.Context) error {
		return p.put(ctx, t)
	})
}

func (p *elder) put(ctx context.Context, t *table) error {
	res, err := p.ask(ctx, http.MethodPut, "/v1/table", t.body)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

func (p *elder) own(ctx context.Context) (traffic.State, error) {
	var theirs traffic.State
	res, err := p.ask(ctx, http.MethodGet, "/v1/state", nil)
	if err != nil {
		return theirs, err
	}
	defer func() { _ = res.Body.Close() }()
	err = json.NewDecoder(res.Body).Decode(&theirs)
	return theirs, err
}

// state adds what is still in flight there to s, which goes by t.
func (p *elder) state(ctx context.Context, s *traffic.State, t *table) error {
	return p.living(ctx, func(ctx context.Context) error {
		theirs, err := p.own(ctx)
		if err == nil && theirs.Generation < s.Generation {
			// t is on its way there. Only a process that goes by it says what is final.
			if err = p.put(ctx, t); err == nil {
				theirs, err = p.own(ctx)
			}
		}
		if err != nil {
			return err
		}
		merge(s, theirs)
		s.Predecessor = p.pid
		return nil
	})
}

// hurry asks the predecessor to end within its grace.
func (p *elder) hurry(ctx context.Context) {
	if p == nil {
		return
	}
	if res, err := p.ask(ctx, http.MethodPost, "/v1/end", nil); err == nil {
		_ = res.Body.Close()
	}
}

// wait returns when the predecessor has gone.
func (p *elder) wait(ctx context.Context) error {
	if p == nil {
		return nil
	}
	select {
	case <-p.gone:
		return nil
	case <-ctx.Done():
		return &elderError{pid: p.pid, err: ctx.Err()}
	}
}

// counted waits until the predecessor's counts so far are ours.
func (p *elder) counted(ctx context.Context) {
	if p == nil {
		return
	}
	select {
	case <-p.heard:
	case <-ctx.Done():
	}
}

// merge adds what another process still has in flight to s. What it has on
// endpoints that are not in s is draining there.
func merge(s *traffic.State, theirs traffic.State) {
	ours := map[endpointKey]*traffic.EndpointState{}
	for i := range s.Routes {
		for j := range s.Routes[i].Pools {
			all := s.Routes[i].Pools[j].Endpoints
			for k := range all {
				ours[endpointKey{all[k].ID, all[k].Addr}] = &all[k]
			}
		}
	}
	var more []traffic.EndpointState
	for i := range s.Draining {
		ours[endpointKey{s.Draining[i].ID, s.Draining[i].Addr}] = &s.Draining[i]
	}
	add := func(es traffic.EndpointState) {
		if es.InFlight == 0 {
			return
		}
		if mine := ours[endpointKey{es.ID, es.Addr}]; mine != nil {
			mine.InFlight += es.InFlight
			return
		}
		more = append(more, es)
	}
	for _, r := range theirs.Routes {
		for _, p := range r.Pools {
			for _, es := range p.Endpoints {
				add(es)
			}
		}
	}
	for _, es := range theirs.Draining {
		add(es)
	}
	s.Draining = append(s.Draining, more...)
}
