package control

import (
	"context"
	"errors"
	"sync"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/promotion"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/workload"
)

// overview is what views are made of: the rows as they are now, joined with what
// the last pass saw. Many share it, so nobody changes it.
type overview struct {
	store.World
	pic     live
	board   delivery.Board
	healthy map[place]int // instances that are ready
}

// place is a release of a service in an environment.
type place struct {
	service, env string
	release      delivery.ReleaseID
}

// moment tells one overview from the next: it is as new as the last commit and
// the last pass.
type moment struct{ commits, pass int64 }

// overview returns what is so now. It is worked out once for each commit or pass,
// however many ask: each viewer of a page does so every second.
func (l *Loop) overview(ctx context.Context) (*overview, error) {
	l.mu.Lock()
	at := moment{pass: l.live.pass}
	l.mu.Unlock()
	at.commits = l.d.Store.Commits()
	return l.seen.get(ctx, at, l.survey)
}

// fresh is the world that promotion decides on, and what the last pass saw.
func (l *Loop) fresh(ctx context.Context) (promotion.World, live, error) {
	o, err := l.overview(ctx)
	if err != nil {
		return promotion.World{}, l.picture(), err
	}
	pic := o.pic
	pic.verdicts = l.picture().verdicts // the judge may have said more within the pass
	return o.promotion(), pic, nil
}

// survey works out an overview.
func (l *Loop) survey(ctx context.Context) (*overview, error) {
	o := &overview{pic: l.picture(), healthy: map[place]int{}}
	var err error
	if o.World, err = l.d.Store.Snapshot(ctx); err != nil {
		return nil, err
	}
	if o.Project.Name == "" {
		_, _, err := l.d.Store.Project(ctx) // says what to do
		return nil, err
	}
	for i := range o.pic.statuses {
		if s := &o.pic.statuses[i]; s.Phase == workload.Ready {
			o.healthy[place{s.Spec.Service, s.Spec.Env, s.Spec.Release}]++
		}
	}
	o.board = o.makeBoard()
	return o, nil
}

// promotion is the world that promotion decides on.
func (o *overview) promotion() promotion.World {
	w := worldOf(o.World)
	w.Trouble = o.pic.world.Trouble
	return w
}

func (o *overview) makeBoard() delivery.Board {
	w := o.promotion()
	b := delivery.Board{Project: w.Project.Name, Environments: w.Project.EnvironmentNames(), At: w.Now}
	if w.Trouble != "" {
		b.Trouble = append(b.Trouble, w.Trouble)
	}
	for _, ls := range o.pic.traffic.Listeners {
		if ls.Error != "" {
			b.Trouble = append(b.Trouble, "listener "+ls.Name+" on "+ls.Addr+": "+ls.Error)
		}
	}
	for _, r := range w.Open {
		if !known(r.State) {
			b.Trouble = append(b.Trouble, strange(r))
		}
	}
	want := map[place]int{} // of a service in an environment, whatever the release
	for i := range w.Project.Services {
		for env, d := range w.Project.Services[i].In {
			want[place{service: w.Project.Services[i].Name, env: env}] = d.Replicas
		}
	}
	b.Services = promotion.Rows(w, func(service, env string, id delivery.ReleaseID) (int, int) {
		return o.healthy[place{service, env, id}], want[place{service: service, env: env}]
	})
	for i := range b.Services {
		if b.Services[i].Now {
			b.Deployable++
		}
	}
	return b
}

// Board says what runs where, and what can be deployed right now. Its lists are
// shared with others who ask and must not be changed.
func (l *Loop) Board(ctx context.Context) (delivery.Board, error) {
	o, err := l.overview(ctx)
	if err != nil {
		return delivery.Board{}, err
	}
	b := o.board
	b.At = stamp()
	return b, nil
}

// Project returns the project in force. It is shared with others who ask and must not
// be changed.
func (l *Loop) Project(ctx context.Context) (delivery.Project, error) {
	o, err := l.overview(ctx)
	if err != nil {
		return delivery.Project{}, err
	}
	return o.Project, nil
}

// shared is an answer that many ask for at once. It is worked out once for each
// key; whoever asks meanwhile waits for it.
type shared[K comparable, V any] struct {
	mu  sync.Mutex
	now *answer[K, V]
}

type answer[K comparable, V any] struct {
	key   K
	done  chan struct{} // closed when value and err are there
	value V
	err   error
}

// get returns the answer for a key. Who is the first to ask works it out; when that
// fails, each of those who waited tries for itself, for the first may only have left.
func (s *shared[K, V]) get(ctx context.Context, key K, work func(context.Context) (V, error)) (V, error) {
	var none V
	for {
		s.mu.Lock()
		a := s.now
		if a == nil || a.key != key {
			a = &answer[K, V]{key: key, done: make(chan struct{}), err: errUnanswered}
			s.now = a
			s.mu.Unlock()
			s.answer(ctx, a, work)
			return a.value, a.err
		}
		s.mu.Unlock()
		select {
		case <-a.done:
			if a.err == nil {
				return a.value, nil
			}
		case <-ctx.Done():
			return none, ctx.Err()
		}
	}
}

var errUnanswered = errors.New("control: it was not answered")

// answer works a out. One that failed, or panicked, is not kept.
func (s *shared[K, V]) answer(ctx context.Context, a *answer[K, V], work func(context.Context) (V, error)) {
	defer func() {
		if a.err != nil {
			s.mu.Lock()
			if s.now == a {
				s.now = nil
			}
			s.mu.Unlock()
		}
		close(a.done)
	}()
	a.value, a.err = work(ctx)
}
