package limit

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// slots are what a Queue's callers take.
type slots struct {
	q     Queue
	free  atomic.Int64
	looks atomic.Int64
}

func (s *slots) look() Found {
	s.looks.Add(1)
	for {
		n := s.free.Load()
		if n <= 0 {
			return Full
		}
		if s.free.CompareAndSwap(n, n-1) {
			return Taken
		}
	}
}

func (s *slots) giveBack() {
	s.free.Add(1)
	s.q.Freed()
}

// request is one caller of the model.
type request struct {
	id   int
	stop context.CancelFunc
	done chan error
}

// world is a queue and everybody around it.
type world struct {
	slots
	ctx     context.Context
	bound   Bound
	next    int
	waiting []*request // in the order they came
	holding []*request
}

func (w *world) arrive(t *rapid.T) {
	ctx, stop := context.WithCancel(w.ctx)
	r := &request{id: w.next, stop: stop, done: make(chan error, 1)}
	w.next++
	go func() { r.done <- w.q.Acquire(ctx, w.bound, w.look) }()
	full := len(w.waiting) == w.bound.Max && w.free.Load() <= 0
	synctest.Wait()
	select {
	case err := <-r.done:
		switch {
		case err == nil && len(w.waiting) == 0 && !full:
			w.holding = append(w.holding, r)
		case errors.Is(err, ErrFull) && full:
			stop()
		default:
			t.Fatalf("request %d came back with %v while %d waited and full was %v", r.id, err, len(w.waiting), full)
		}
	default:
		w.waiting = append(w.waiting, r)
	}
}

// settle moves whoever got a slot, who must be the first ones.
func (w *world) settle(t *rapid.T) (served int) {
	synctest.Wait()
	for len(w.waiting) > 0 {
		first := w.waiting[0]
		select {
		case err := <-first.done:
			if err != nil {
				t.Fatalf("request %d: %v", first.id, err)
			}
			w.waiting, w.holding = w.waiting[1:], append(w.holding, first)
			served++
			continue
		default:
		}
		break
	}
	for _, r := range w.waiting {
		if len(r.done) > 0 {
			t.Fatalf("request %d was served before %d", r.id, w.waiting[0].id)
		}
	}
	if got := w.q.Waiting(); got != len(w.waiting) {
		t.Fatalf("Waiting() = %d, want %d", got, len(w.waiting))
	}
	if free := w.free.Load(); free > 0 && len(w.waiting) > 0 {
		t.Fatalf("%d slots are free while %d wait", free, len(w.waiting))
	}
	return served
}

func (w *world) release(t *rapid.T) {
	if len(w.holding) == 0 {
		return
	}
	i := rapid.IntRange(0, len(w.holding)-1).Draw(t, "who ends")
	w.holding[i].stop()
	w.holding = slices.Delete(w.holding, i, i+1)
	before, waited := w.looks.Load(), len(w.waiting)
	w.giveBack()
	synctest.Wait()
	woken := w.looks.Load() - before
	if waited == 0 && woken != 0 || waited > 0 && woken != 1 {
		t.Fatalf("one freed slot made %d of %d look, want 1", woken, waited)
	}
	w.settle(t)
}

func (w *world) cancel(t *rapid.T) {
	if len(w.waiting) == 0 {
		return
	}
	i := rapid.IntRange(0, len(w.waiting)-1).Draw(t, "who goes away")
	w.waiting[i].stop()
	if err := <-w.waiting[i].done; !errors.Is(err, context.Canceled) {
		t.Fatalf("a request that went away got %v", err)
	}
	w.waiting = slices.Delete(w.waiting, i, i+1)
	w.settle(t)
}

// several lets things happen at the same time, where the order is anybody's.
func (w *world) several(t *rapid.T) {
	for range rapid.IntRange(0, min(3, len(w.holding))).Draw(t, "end together") {
		w.holding[0].stop()
		w.holding = w.holding[1:]
		w.free.Add(1)
		go w.q.Freed()
	}
	if len(w.waiting) > 0 && rapid.Bool().Draw(t, "first goes away") {
		w.waiting[0].stop()
		if err := <-w.waiting[0].done; err == nil { // it was served just before
			w.holding = append(w.holding, w.waiting[0])
		}
		w.waiting = w.waiting[1:]
	}
	w.settle(t)
}

// Whatever happens in whatever order, nobody waits beside a free slot, no slot
// is lost or given twice, and waiters are served in the order they came.
func TestQueueModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(struct{ rapid.TB }{t}, func(t *rapid.T) { // a bubble has no deadline to be asked for
			ctx, stop := context.WithCancel(context.Background())
			defer synctest.Wait() // also when it failed: a bubble leaves nobody behind
			defer stop()
			w := &world{ctx: ctx, bound: Bound{Max: rapid.IntRange(0, 5).Draw(t, "max"), Wait: time.Hour}}
			n := rapid.Int64Range(0, 4).Draw(t, "slots")
			w.free.Store(n)
			t.Repeat(map[string]func(*rapid.T){
				"arrive":  w.arrive,
				"release": w.release,
				"cancel":  w.cancel,
				"several": w.several,
				"more": func(t *rapid.T) {
					more := rapid.Int64Range(0, 3).Draw(t, "more")
					n += more
					w.free.Add(more)
					w.q.Stir()
					w.settle(t)
				},
				"": func(t *rapid.T) {
					if free := w.free.Load(); free+int64(len(w.holding)) != n {
						t.Fatalf("%d slots are free and %d taken, want %d in all", free, len(w.holding), n)
					}
				},
			})
			stop()
			synctest.Wait()
			if got := w.q.Waiting(); got != 0 {
				t.Fatalf("Waiting() = %d after everybody went away", got)
			}
		})
	})
}

func TestQueueDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s slots
		began := time.Now()
		if err := s.q.Acquire(t.Context(), Bound{Max: 1, Wait: 3 * time.Second}, s.look); !errors.Is(err, ErrLate) {
			t.Errorf("Acquire() = %v, want ErrLate", err)
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("waited %s, want 3s", took)
		}
		if err := s.q.Acquire(t.Context(), Bound{Wait: time.Second}, s.look); !errors.Is(err, ErrFull) || time.Since(began) != 3*time.Second {
			t.Errorf("Acquire() without a queue = %v after %s, want ErrFull at once", err, time.Since(began))
		}
	})
}

// A look that is moot ends the wait without using up what was freed.
func TestQueueMoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s slots
		var gone atomic.Bool
		back := make(chan error, 3)
		for i := range 3 {
			go func() {
				back <- s.q.Acquire(t.Context(), Bound{Max: 3, Wait: time.Hour}, func() Found {
					if gone.Load() && i < 2 {
						return Moot
					}
					return s.look()
				})
			}()
			synctest.Wait()
		}
		gone.Store(true)
		s.giveBack()
		s.q.Stir()
		synctest.Wait()
		if len(back) != 3 || s.free.Load() != 0 {
			t.Errorf("%d of 3 are back and %d slots are free, want all three and none", len(back), s.free.Load())
		}
		if s.q.Stir(); s.q.Waiting() != 0 {
			t.Error("somebody still waits")
		}
	})
}

// Slots that are freed while the first one looks, and are not seen by that look,
// go to the first one and the one behind it.
func TestQueueFreedDuringALook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s slots
		bound := Bound{Max: 2, Wait: time.Hour}
		back := make(chan error, 2)
		looks, meanwhile := 0, make(chan struct{})
		go func() {
			back <- s.q.Acquire(t.Context(), bound, func() Found {
				looks++
				found := s.look()
				if looks == 2 { // the first one that is its turn
					<-meanwhile
				}
				return found
			})
		}()
		synctest.Wait()
		go func() { back <- s.q.Acquire(t.Context(), bound, s.look) }()
		synctest.Wait()
		s.giveBack()
		s.giveBack()
		close(meanwhile)
		synctest.Wait()
		if len(back) != 2 {
			t.Errorf("%d of 2 got the 2 slots", len(back))
		}
		s.free.Store(2)
		s.q.Stir()
	})
}

// Slots freed while the first one joins are told to nobody: whoever joins behind
// it gets what it leaves.
func TestQueueFreedDuringAJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s slots
		bound := Bound{Max: 2, Wait: time.Hour}
		second := make(chan error, 1)
		looks := 0
		err := s.q.Acquire(t.Context(), bound, func() Found {
			looks++
			if looks == 1 {
				found := s.look()
				s.giveBack()
				s.giveBack()
				return found
			}
			go func() { second <- s.q.Acquire(t.Context(), bound, s.look) }()
			synctest.Wait()
			if n := s.q.Waiting(); n != 2 {
				t.Errorf("%d wait, want the second behind the first", n)
			}
			return s.look()
		})
		if err != nil {
			t.Errorf("the first: %v", err)
		}
		if err := <-second; err != nil {
			t.Errorf("the second: %v, want the slot that was left", err)
		}
	})
}

// Real goroutines, callers that go away at any moment: every slot comes back and
// everybody gets an answer.
func TestQueueUnderLoad(t *testing.T) {
	const at = 3
	var s slots
	s.free.Store(at)
	var all sync.WaitGroup
	var inside, served, shed, gone atomic.Int64
	for range 32 {
		all.Go(func() {
			for range 300 {
				ctx, stop := context.WithCancel(t.Context())
				if rand.IntN(3) == 0 {
					go stop()
				}
				switch err := s.q.Acquire(ctx, Bound{Max: 16, Wait: time.Minute}, s.look); {
				case err == nil:
					if n := inside.Add(1); n > at {
						t.Errorf("%d are inside, want at most %d", n, at)
					}
					served.Add(1)
					for range rand.IntN(100) {
						runtime.Gosched()
					}
					inside.Add(-1)
					s.giveBack()
				case errors.Is(err, ErrFull):
					shed.Add(1)
				case errors.Is(err, context.Canceled):
					gone.Add(1)
				default:
					t.Errorf("Acquire() = %v", err)
				}
				stop()
			}
		})
	}
	all.Wait()
	if s.free.Load() != at || s.q.Waiting() != 0 {
		t.Errorf("%d slots and %d waiters are left, want %d and none", s.free.Load(), s.q.Waiting(), at)
	}
	if served.Load() == 0 || shed.Load() == 0 || gone.Load() == 0 {
		t.Errorf("served %d, shed %d, gone %d: the test did not try all three", served.Load(), shed.Load(), gone.Load())
	}
}

func BenchmarkFreedNobodyWaits(b *testing.B) {
	var q Queue
	b.ReportAllocs()
	for b.Loop() {
		q.Freed()
	}
}
