package store

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// fleet fills s with n services in three environments.
func fleet(t testing.TB, s *Store, n int) {
	t.Helper()
	envs := []string{"dev", "staging", "prod"}
	p := delivery.Project{Name: "shop"}
	for i := range n {
		p.Services = append(p.Services, delivery.Service{Name: fmt.Sprintf("s%03d", i)})
	}
	write(t, s, func(tx *Tx) error {
		if err := tx.SaveProject(p, nil); err != nil {
			return err
		}
		for _, service := range p.ServiceNames() {
			v1, v2 := release(service, "v1"), release(service, "v2")
			if err := tx.PutRelease(v1); err != nil {
				return err
			}
			if err := tx.PutRelease(v2); err != nil {
				return err
			}
			for _, env := range envs {
				if err := tx.SetStable(delivery.Stable{Service: service, Env: env, Release: v2.ID, Previous: v1.ID, Since: noon}); err != nil {
					return err
				}
				if err := tx.SetWant(delivery.Want{Service: service, Env: env, Release: v2.ID, Count: 3}); err != nil {
					return err
				}
				if err := tx.SaveRoute(delivery.Route{Service: service, Env: env, Gen: 1, Split: []delivery.Share{{Release: v2.ID, Weight: delivery.Full}}}); err != nil {
					return err
				}
			}
		}
		_, err := tx.PutHold(delivery.Hold{Kind: delivery.Quarantine, Service: "s000", Release: release("s000", "v1").ID})
		return err
	})
}

// aside reads the world by the single reads, without what Snapshot remembers.
func aside(t testing.TB, s *Store) World {
	t.Helper()
	w := World{Releases: map[delivery.ReleaseID]delivery.Release{}}
	w.Project, _, _ = s.Project(t.Context())
	w.Stables = must[[]delivery.Stable](t)(s.Stables(t.Context()))
	w.Holds = must[[]delivery.Hold](t)(s.Holds(t.Context()))
	w.Routes = must[[]delivery.Route](t)(s.Routes(t.Context()))
	w.Wants = must[[]delivery.Want](t)(s.Wants(t.Context()))
	open := must[[]delivery.Rollout](t)(s.Rollouts(t.Context(), RolloutQuery{Open: true, Limit: MaxLimit}))
	for _, r := range slices.Backward(open) {
		w.Rollouts = append(w.Rollouts, r)
	}
	changes := map[delivery.ChangeID]bool{}
	for _, s := range w.Stables {
		changes[s.Change] = true
	}
	for _, h := range w.Holds {
		changes[h.Change] = true
	}
	delete(changes, 0)
	for _, id := range slices.Sorted(maps.Keys(changes)) {
		for _, r := range must[[]delivery.Rollout](t)(s.Rollouts(t.Context(), RolloutQuery{Change: id, Limit: MaxLimit})) {
			if r.State.Final() {
				w.Ended = append(w.Ended, r)
			}
		}
	}
	for id := range named(w) {
		if r, err := s.Release(t.Context(), id); err == nil {
			w.Releases[id] = r
		}
	}
	return w
}

func named(w World) map[delivery.ReleaseID]bool {
	return (&world{
		stables: part[delivery.Stable]{list: w.Stables}, holds: part[delivery.Hold]{list: w.Holds}, routes: part[delivery.Route]{list: w.Routes},
		wants: part[delivery.Want]{list: w.Wants}, rollouts: part[delivery.Rollout]{list: w.Rollouts},
	}).named()
}

func TestSnapshot(t *testing.T) {
	s := openStore(t)
	same(t, "Snapshot of an empty store", must[World](t)(s.Snapshot(t.Context())), aside(t, s))
	fleet(t, s, 5)
	r := start(t, s, "s001", "prod")
	same(t, "Snapshot", must[World](t)(s.Snapshot(t.Context())), aside(t, s))
	// A release that comes after it was named is found without anything else moving.
	late := release("late", "v1")
	write(t, s, func(tx *Tx) error {
		return tx.SetWant(delivery.Want{Service: "late", Env: "prod", Release: late.ID, Count: 1})
	})
	if _, ok := must[World](t)(s.Snapshot(t.Context())).Releases[late.ID]; ok {
		t.Fatal("a release that is not there was found")
	}
	write(t, s, func(tx *Tx) error { return tx.PutRelease(late) })
	same(t, "Snapshot", must[World](t)(s.Snapshot(t.Context())), aside(t, s))
	for name, fn := range map[string]func(*Tx) error{
		"project": func(tx *Tx) error { return tx.SaveProject(delivery.Project{Name: "other"}, nil) },
		"stable":  func(tx *Tx) error { return tx.SetStable(delivery.Stable{Service: "s001", Env: "dev", Release: "r9"}) },
		"want":    func(tx *Tx) error { return tx.SetWant(delivery.Want{Service: "late", Env: "prod", Release: late.ID}) },
		"hold":    func(tx *Tx) error { _, err := tx.LiftHold(1, "ann", "", noon); return err },
		"route":   func(tx *Tx) error { return tx.SaveRoute(delivery.Route{Service: "s001", Env: "dev", Gen: 7}) },
		"acked":   func(tx *Tx) error { return tx.MarkAcked("s002", "dev", 1) },
		"rollout": func(tx *Tx) error { r.State = delivery.Cancelled; _, err := tx.SaveRollout(r); return err },
		"change": func(tx *Tx) error {
			return tx.SetStable(delivery.Stable{Service: "s001", Env: "prod", Release: "r9", Change: r.Change})
		},
	} {
		write(t, s, fn)
		same(t, "Snapshot after "+name, must[World](t)(s.Snapshot(t.Context())), aside(t, s))
	}
	if n := len(must[World](t)(s.Snapshot(t.Context())).Ended); n != 1 {
		t.Errorf("%d ended rollouts of the stable change, want 1", n)
	}
	// What has ended is found for who names it next, and lost with who named it last.
	other := start(t, s, "s003", "prod")
	var hold delivery.Hold
	for i, fn := range []func(*Tx) error{
		func(tx *Tx) error { other.State = delivery.Cancelled; _, err := tx.SaveRollout(other); return err },
		func(tx *Tx) (err error) {
			hold, err = tx.PutHold(delivery.Hold{Kind: delivery.Quarantine, Service: "s003", Release: other.To, Change: other.Change})
			return err
		},
		func(tx *Tx) error {
			_, err := tx.PutHold(delivery.Hold{Kind: delivery.Pinned, Service: "s004", Env: "prod"})
			return err
		},
		func(tx *Tx) error { _, err := tx.LiftHold(hold.ID, "ann", "", noon); return err },
	} {
		write(t, s, fn)
		now := must[World](t)(s.Snapshot(t.Context()))
		same(t, fmt.Sprint("Snapshot after step ", i), now, aside(t, s))
		if n, want := len(now.Ended), []int{1, 2, 2, 1}[i]; n != want {
			t.Errorf("step %d: %d have ended, want %d", i, n, want)
		}
	}
}

// Everything a Snapshot returns was true at the same moment, whatever is written meanwhile.
func TestSnapshotIsOneMoment(t *testing.T) {
	s := openStore(t)
	const places = 8
	set := func(n int64) {
		write(t, s, func(tx *Tx) error {
			for i := range places {
				service := fmt.Sprint("s", i)
				if err := tx.SaveRoute(delivery.Route{Service: service, Env: "prod", Gen: n}); err != nil {
					return err
				}
				if err := tx.SetWant(delivery.Want{Service: service, Env: "prod", Release: "r1", Count: int(n)}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	set(1)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			last := 0
			for {
				w, err := s.Snapshot(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				n := w.Wants[0].Count
				for i := range places {
					if w.Wants[i].Count != n || w.Routes[i].Gen != int64(n) {
						t.Errorf("want %d beside route %d, and %d", w.Wants[i].Count, w.Routes[i].Gen, n)
						return
					}
				}
				if n < last {
					t.Errorf("the world went back from %d to %d", last, n)
					return
				}
				last = n
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for n := int64(2); n < 60; n++ {
		set(n)
	}
	close(done)
	wg.Wait()
}

// When every connection is a view, each still reads, whatever it reads.
func TestViewsNeedNoOtherConnection(t *testing.T) {
	s := openStore(t)
	write(t, s, func(*Tx) error { return nil })
	var open, wg sync.WaitGroup
	open.Add(readers)
	for i := range readers {
		wg.Go(func() {
			if err := s.snapshot(t.Context(), func(q querier) error {
				open.Done()
				open.Wait()
				_, err := first(t.Context(), q, []any{new(int)}, fmt.Sprintf("SELECT seq + %d FROM events", i))
				return err
			}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// A clone of a rollout shares no memory with it, whatever fields it will grow.
func TestCloneRolloutSharesNothing(t *testing.T) {
	var r delivery.Rollout
	fill(reflect.ValueOf(&r).Elem())
	c := cloneRollout(r)
	same(t, "clone", c, r)
	shared(t, "Rollout", reflect.ValueOf(r), reflect.ValueOf(c))
}

// fill gives every pointer, slice and map something to point to.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for _, field := range v.Fields() {
			fill(field)
		}
	default:
	}
}

func shared(t *testing.T, path string, a, b reflect.Value) {
	t.Helper()
	switch a.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		if a.IsNil() || a.Pointer() == b.Pointer() {
			t.Errorf("%s is shared", path)
			return
		}
		if a.Kind() == reflect.Pointer {
			shared(t, path, a.Elem(), b.Elem())
		}
		if a.Kind() == reflect.Slice {
			shared(t, path+"[0]", a.Index(0), b.Index(0))
		}
	case reflect.Struct:
		if a.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range a.NumField() {
			shared(t, path+"."+a.Type().Field(i).Name, a.Field(i), b.Field(i))
		}
	default:
	}
}
