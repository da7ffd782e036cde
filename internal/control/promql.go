package control

import (
	"context"
	"sync"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric/prometheus"
)

// maxAsking is how many questions of people are before the server that answers
// PromQL at a time.
const maxAsking = 4

// people is the server that answers PromQL, as people ask it beside the loop.
type people struct {
	slots chan struct{}

	mu     sync.Mutex
	at     delivery.Prometheus // guarded by mu
	driver *prometheus.Driver  // guarded by mu
}

// server returns who answers at an address. What was asked elsewhere goes on until
// it is answered.
func (p *people) server(at delivery.Prometheus) (*prometheus.Driver, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.driver != nil && p.at == at {
		return p.driver, nil
	}
	d, err := prometheus.New(at)
	if err != nil {
		return nil, err
	}
	if p.driver != nil {
		p.driver.Close()
	}
	p.at, p.driver = at, d
	return d, nil
}

// PromQL asks the server that the project names. It changes nothing there.
func (l *Loop) PromQL(ctx context.Context, q prometheus.RangeQuery) (prometheus.RangeAnswer, error) {
	project, _, err := l.d.Store.Project(ctx)
	if err != nil {
		return prometheus.RangeAnswer{}, err
	}
	if project.Prometheus == (delivery.Prometheus{}) {
		return prometheus.RangeAnswer{}, delivery.InvalidNext("query", "no server that answers PromQL is named", "name it at the top of slipway.yaml: prometheus: {url: http://127.0.0.1:9090}")
	}
	d, err := l.people.server(project.Prometheus)
	if err != nil {
		return prometheus.RangeAnswer{}, err
	}
	select {
	case l.people.slots <- struct{}{}:
		defer func() { <-l.people.slots }()
		return d.Range(ctx, q)
	case <-ctx.Done():
		return prometheus.RangeAnswer{}, ctx.Err()
	}
}
