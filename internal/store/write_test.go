package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// patience is how long a test waits for what has to come.
const patience = 30 * time.Second

// occupy starts a write that holds the writer until release is called.
func occupy(t testing.TB, s *Store) (release func()) {
	t.Helper()
	began, over, back := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		back <- s.Write(t.Context(), func(*Tx) error {
			close(began)
			<-over
			return nil
		})
	}()
	<-began
	return sync.OnceFunc(func() {
		close(over)
		if err := <-back; err != nil {
			t.Error(err)
		}
	})
}

// crowd starts n writes while the writer is held, so that they share commits,
// and returns their errors.
func crowd(t testing.TB, s *Store, n int, fn func(i int, tx *Tx) error) []error {
	t.Helper()
	release := occupy(t, s)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = s.Write(t.Context(), func(tx *Tx) error { return fn(i, tx) }) })
	}
	release()
	wg.Wait()
	return errs
}

func appendLine(text string) func(*Tx) error {
	return func(tx *Tx) error {
		_, err := tx.Append(delivery.Event{At: noon, Kind: delivery.EventServer, Text: text})
		return err
	}
}

func TestWritesShareCommits(t *testing.T) {
	s := openStore(t)
	const writers, each = 64, 20
	before := s.writer.commits.Load()
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for j := range each {
				if err := s.Write(t.Context(), appendLine(fmt.Sprintf("%d.%d", i, j))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	commits := s.writer.commits.Load() - before
	t.Logf("%d writes took %d commits", writers*each, commits)
	if commits > writers*each/4 {
		t.Errorf("%d writes took %d commits", writers*each, commits)
	}
	report := must[Report](t)(s.Verify(t.Context()))
	if report.Broken != nil || report.Lines != writers*each {
		t.Errorf("Verify = %+v", report)
	}
}

// An error, a panic or the end of a goroutine takes back its own write only.
func TestWritesAreIsolated(t *testing.T) {
	s := openStore(t)
	mine := errors.New("mine")
	var wg sync.WaitGroup
	before := s.writer.commits.Load()
	gone := func(i int) func(*Tx) error {
		return func(tx *Tx) error {
			if err := appendLine(fmt.Sprint(i))(tx); err != nil {
				return err
			}
			runtime.Goexit()
			return nil
		}
	}
	wg.Go(func() { t.Error(s.Write(t.Context(), gone(-1))) })
	wg.Wait()
	errs := crowd(t, s, 40, func(i int, tx *Tx) error {
		if err := tx.SetWant(delivery.Want{Service: fmt.Sprint("s", i), Env: "prod", Release: "r1", Count: 1}); err != nil {
			return err
		}
		if err := appendLine(fmt.Sprint(i))(tx); err != nil {
			return err
		}
		switch i % 4 {
		case 1:
			return mine
		case 2:
			panic("oh")
		case 3:
			_, err := tx.exec("SELECT nonsense")
			_ = err // the write fails even if its function swallows an error of the engine
		}
		return nil
	})
	for i, err := range errs {
		p, panicked := errors.AsType[*PanicError](err)
		switch {
		case i%4 == 0 && err != nil,
			i%4 == 1 && !errors.Is(err, mine),
			i%4 == 2 && (!panicked || p.Value != "oh" || !strings.Contains(string(p.Stack), "TestWritesAreIsolated")),
			i%4 == 3 && (err == nil || !strings.Contains(err.Error(), "nonsense")):
			t.Errorf("write %d = %v", i, err)
		}
	}
	t.Logf("%d commits", s.writer.commits.Load()-before)
	wants := must[[]delivery.Want](t)(s.Wants(t.Context()))
	if len(wants) != 10 {
		t.Errorf("%d wants were kept, want 10", len(wants))
	}
	report := must[Report](t)(s.Verify(t.Context()))
	if report.Broken != nil || report.Lines != 10 {
		t.Errorf("Verify = %+v, want 10 whole lines", report)
	}
}

func TestEveryChangeIsRecorded(t *testing.T) {
	s := openStore(t)
	r := start(t, s, "cart", "prod")
	write(t, s, func(tx *Tx) error {
		return errors.Join(
			tx.SaveRoute(delivery.Route{Service: "cart", Env: "prod", Gen: 1}),
			tx.SetWant(delivery.Want{Service: "cart", Env: "prod", Release: "r1", Count: 1}),
			tx.SetStable(delivery.Stable{Service: "cart", Env: "prod", Release: "r1"}),
			tx.PutRelease(release("cart", "v1")),
			tx.SaveProject(delivery.Project{Name: "shop"}, nil))
	})
	head := must[Report](t)(s.Verify(t.Context())).Head
	for name, fn := range map[string]func(*Tx) error{
		"project": func(tx *Tx) error { return tx.SaveProject(delivery.Project{Name: "x"}, nil) },
		"release": func(tx *Tx) error { return tx.PutRelease(release("cart", "v2")) },
		"change": func(tx *Tx) error {
			_, err := tx.CreateChange(delivery.Change{Members: []delivery.Member{{Service: "cart"}}})
			return err
		},
		"new rollout": func(tx *Tx) error { _, err := tx.CreateRollout(rollout(1, "cart", "dev")); return err },
		"rollout":     func(tx *Tx) error { _, err := tx.SaveRollout(r); return err },
		"stable":      func(tx *Tx) error { return tx.SetStable(delivery.Stable{Service: "cart", Env: "prod", Release: "r2"}) },
		"hold": func(tx *Tx) error {
			_, err := tx.PutHold(delivery.Hold{Kind: delivery.Pinned, Service: "cart", Env: "prod"})
			return err
		},
		"route": func(tx *Tx) error { return tx.SaveRoute(delivery.Route{Service: "cart", Env: "prod", Gen: 2}) },
		"want": func(tx *Tx) error {
			return tx.SetWant(delivery.Want{Service: "cart", Env: "prod", Release: "r1", Count: 2})
		},
		"forget": func(tx *Tx) error { return tx.SetWant(delivery.Want{Service: "cart", Env: "prod", Release: "r1"}) },
	} {
		before := must[World](t)(s.Snapshot(t.Context()))
		if err := s.Write(t.Context(), fn); !errors.Is(err, ErrUnrecorded) {
			t.Errorf("%s without a line = %v, want ErrUnrecorded", name, err)
		}
		same(t, "world after "+name, must[World](t)(s.Snapshot(t.Context())), before)
	}
	for name, fn := range map[string]func(*Tx) error{
		"nothing": func(*Tx) error { return nil },
		"same": func(tx *Tx) error {
			return errors.Join(tx.SaveProject(delivery.Project{Name: "shop"}, nil), tx.PutRelease(release("cart", "v1")),
				tx.SetStable(delivery.Stable{Service: "cart", Env: "prod", Release: "r1"}),
				tx.SetWant(delivery.Want{Service: "cart", Env: "prod", Release: "r1", Count: 1}),
				tx.SaveRoute(delivery.Route{Service: "cart", Env: "prod", Gen: 1}))
		},
		"acked":   func(tx *Tx) error { return tx.MarkAcked("cart", "prod", 1) },
		"counter": func(tx *Tx) error { _, err := tx.Counter("x"); return err },
		"allot": func(tx *Tx) error {
			_, err := tx.Allot("x", func(map[int]bool) (int, error) { return 1, nil })
			return err
		},
		"remember": func(tx *Tx) error { return tx.Remember("k", "f", nil, noon) },
	} {
		if err := s.Write(t.Context(), fn); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := must[Report](t)(s.Verify(t.Context())).Head; got != head {
		t.Errorf("the ledger moved from %s to %s", head, got)
	}
}

// A write whose ctx ends in the queue never happens; one that began tells the truth.
func TestWriteAndContext(t *testing.T) {
	s := openStore(t)
	release := occupy(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	back := make(chan error, 1)
	go func() { back <- s.Write(ctx, appendLine("never")) }()
	cancel()
	if err := <-back; !errors.Is(err, context.Canceled) {
		t.Errorf("Write = %v, want Canceled", err)
	}
	release()
	if err := s.Write(ctx, appendLine("never")); !errors.Is(err, context.Canceled) {
		t.Errorf("Write = %v, want Canceled", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	err := s.Write(ctx, func(tx *Tx) error {
		cancel()
		if _, err := tx.Events(ctx, EventQuery{}); err != nil {
			return err
		}
		return appendLine("kept")(tx)
	})
	if err != nil {
		t.Errorf("Write = %v, want what happened", err)
	}
	lines := must[[]delivery.Event](t)(s.Events(t.Context(), EventQuery{}))
	if len(lines) != 1 || lines[0].Text != "kept" {
		t.Errorf("Events = %v, want the one that was kept", lines)
	}
}

func TestTxIsOverWithItsFunction(t *testing.T) {
	s := openStore(t)
	var kept *Tx
	write(t, s, func(tx *Tx) error { kept = tx; return nil })
	_, err := kept.Append(delivery.Event{At: noon, Kind: delivery.EventServer})
	if _, read := kept.Wants(t.Context()); !errors.Is(err, errOver) || !errors.Is(read, errOver) {
		t.Errorf("a write after the write = %v, a read = %v, want errOver", err, read)
	}
}

func TestCloseWaitsAndRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "slipway.db")
	s := reopen(t, path)
	release := occupy(t, s)
	closed := make(chan error, 2)
	for range cap(closed) {
		go func() { closed <- s.Close() }()
	}
	<-s.closing
	select {
	case err := <-closed:
		t.Fatalf("Close = %v while a write was under way", err)
	default:
	}
	release()
	for range cap(closed) {
		if err := <-closed; err != nil {
			t.Error(err)
		}
	}
	if err := s.Write(t.Context(), appendLine("late")); !errors.Is(err, ErrClosed) {
		t.Errorf("Write after Close = %v, want ErrClosed", err)
	}
	if n := len(must[[]delivery.Event](t)(reopen(t, path).Events(t.Context(), EventQuery{}))); n != 0 {
		t.Errorf("%d lines, want none", n)
	}
}

func TestBell(t *testing.T) {
	s := openStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	var subs []<-chan struct{}
	for range 50 {
		subs = append(subs, s.Subscribe(ctx))
	}
	rung := func(want bool) {
		t.Helper()
		for i, c := range subs {
			// Write rings before it returns.
			select {
			case <-c:
				if !want {
					t.Fatalf("subscriber %d heard a bell that was not rung", i)
				}
			default:
				if want {
					t.Fatalf("subscriber %d did not hear the bell", i)
				}
			}
		}
	}
	for range 3 { // nobody listens; nobody waits
		write(t, s, func(*Tx) error { return nil })
	}
	rung(true)
	if err := s.Write(t.Context(), func(tx *Tx) error { _, err := tx.Wants(t.Context()); return err }); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(t.Context(), func(tx *Tx) error { return tx.SetWant(delivery.Want{}) }); err == nil {
		t.Fatal("an empty want was kept")
	}
	rung(false)
	cancel()
	for deadline := time.Now().Add(patience); ; runtime.Gosched() {
		s.bell.mu.Lock()
		n := len(s.bell.subs)
		s.bell.mu.Unlock()
		if n == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d subscribers are left", n)
		}
	}
}
