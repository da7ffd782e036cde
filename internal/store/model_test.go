package store

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// model is what a store has to remember, kept in plain maps.
type model struct {
	changes  []delivery.Change
	rollouts []delivery.Rollout
	stables  map[string]delivery.Stable
	holds    []HoldRecord
	routes   map[string]delivery.Route
	wants    map[string]delivery.Want
	releases map[delivery.ReleaseID]delivery.Release
	allotted map[string]int
	counter  int64
	keys     map[string]bool
	minutes  map[string]Minute
	tapes    map[delivery.RolloutID][][]byte
	lines    int64
}

func (m model) clone() model {
	m.changes, m.rollouts, m.holds = slices.Clone(m.changes), slices.Clone(m.rollouts), slices.Clone(m.holds)
	m.stables, m.routes, m.wants = maps.Clone(m.stables), maps.Clone(m.routes), maps.Clone(m.wants)
	m.releases, m.allotted, m.keys = maps.Clone(m.releases), maps.Clone(m.allotted), maps.Clone(m.keys)
	m.minutes, m.tapes = maps.Clone(m.minutes), maps.Clone(m.tapes)
	return m
}

func (m model) active(service, env string, but delivery.RolloutID) bool {
	return slices.ContainsFunc(m.rollouts, func(r delivery.Rollout) bool {
		return r.Service == service && r.Env == env && r.State.Active() && r.ID != but
	})
}

// ordered returns the values of m in the order of its keys.
func ordered[T any](m map[string]T) []T {
	var out []T
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[k])
	}
	return out
}

var (
	services = rapid.SampledFrom([]string{"cart", "pay", "shop"})
	places   = rapid.SampledFrom([]string{"dev", "prod"})
	versions = rapid.SampledFrom([]string{"v1", "v2", "v3"})
	errUser  = errors.New("the function gave up")
)

// step does one random thing to a write and to the model, and says whether both agree.
func (m *model) step(t *rapid.T, tx *Tx) error {
	service, env, version := services.Draw(t, "service"), places.Draw(t, "env"), versions.Draw(t, "version")
	at := service + "/" + env
	rel := release(service, version)
	switch rapid.IntRange(0, 12).Draw(t, "what") {
	case 0:
		m.releases[rel.ID] = rel
		return tx.PutRelease(rel)
	case 1:
		return m.submit(t, tx, service, env)
	case 2, 3:
		return m.move(t, tx)
	case 4:
		st := delivery.Stable{Service: service, Env: env, Release: rel.ID, Version: version}
		m.stables[at] = st
		return tx.SetStable(st)
	case 5:
		return m.hold(tx, delivery.Hold{Kind: delivery.Pinned, Service: service, Env: env, Why: version})
	case 6:
		return m.lift(t, tx)
	case 7:
		return m.route(t, tx, delivery.Route{Service: service, Env: env, Split: []delivery.Share{{Release: rel.ID, Weight: delivery.Full}}})
	case 8:
		w := delivery.Want{Service: service, Env: env, Release: rel.ID, Count: rapid.IntRange(0, 2).Draw(t, "count")}
		m.wants[at+"/"+string(rel.ID)] = w
		if w.Count == 0 {
			delete(m.wants, at+"/"+string(rel.ID))
		}
		return tx.SetWant(w)
	case 9:
		return m.allot(t, tx, at)
	case 10:
		mi := minuteOf(service, rapid.IntRange(0, 3).Draw(t, "minute"), fmt.Sprintf(`{"n":%d}`, rapid.IntRange(0, 9).Draw(t, "n")))
		m.minutes[fmt.Sprint(mi.At.Unix(), service)] = mi
		return tx.PutMinutes([]Minute{mi})
	case 11:
		return m.tape(t, tx)
	default:
		return m.intend(t, tx, at)
	}
}

func (m *model) submit(t *rapid.T, tx *Tx, service, env string) error {
	c, err := tx.CreateChange(delivery.Change{Kind: delivery.Code, Members: []delivery.Member{{Service: service, To: release(service, "v2").ID}}})
	if err != nil {
		return err
	}
	if c.ID != delivery.ChangeID(len(m.changes)+1) {
		t.Fatalf("change %d after %d changes", c.ID, len(m.changes))
	}
	m.changes = append(m.changes, c)
	r, err := tx.CreateRollout(rollout(c.ID, service, env))
	if r.Seq != int64(len(m.rollouts)+1) {
		t.Fatalf("rollout %d after %d rollouts", r.Seq, len(m.rollouts))
	}
	m.rollouts = append(m.rollouts, r)
	return err
}

func (m *model) move(t *rapid.T, tx *Tx) error {
	if len(m.rollouts) == 0 {
		return nil
	}
	i := rapid.IntRange(0, len(m.rollouts)-1).Draw(t, "rollout")
	r := m.rollouts[i]
	from := r.State
	r.State = rapid.SampledFrom(delivery.States()).Draw(t, "state")
	if rapid.IntRange(0, 9).Draw(t, "stale") == 0 {
		r.Gen--
	}
	got, err := tx.SaveRollout(r)
	switch {
	case r.Gen != m.rollouts[i].Gen, from.MayMove(r.State) && r.State.Active() && m.active(r.Service, r.Env, r.ID):
		if !errors.Is(err, delivery.ErrConflict) {
			t.Fatalf("SaveRollout = %v, want ErrConflict", err)
		}
		return nil // a refusal that the function can live with
	case !from.MayMove(r.State):
		if !errors.Is(err, delivery.ErrInvalid) {
			t.Fatalf("%s to %s = %v, want ErrInvalid", from, r.State, err)
		}
		return nil
	}
	r.Gen++
	m.rollouts[i] = r
	same(t, "SaveRollout", got, r)
	return err
}

func (m *model) hold(tx *Tx, h delivery.Hold) error {
	for _, old := range m.holds {
		if old.Lifted == nil && old.Service == h.Service && old.Env == h.Env {
			got, err := tx.PutHold(h)
			if got.ID != old.ID {
				return fmt.Errorf("hold %d beside hold %d: %w", got.ID, old.ID, err)
			}
			return err
		}
	}
	h.ID = int64(len(m.holds) + 1)
	m.holds = append(m.holds, HoldRecord{Hold: h})
	_, err := tx.PutHold(h)
	return err
}

func (m *model) lift(t *rapid.T, tx *Tx) error {
	if len(m.holds) == 0 {
		return nil
	}
	i := rapid.IntRange(0, len(m.holds)-1).Draw(t, "hold")
	_, err := tx.LiftHold(m.holds[i].ID, "ann", "why", noon)
	if m.holds[i].Lifted != nil {
		if !errors.Is(err, delivery.ErrNotFound) {
			t.Fatalf("a hold was lifted twice: %v", err)
		}
		return nil
	}
	m.holds[i].Lifted = &Lifted{By: "ann", Why: "why", At: noon}
	return err
}

func (m *model) route(t *rapid.T, tx *Tx, r delivery.Route) error {
	at := r.Service + "/" + r.Env
	old := m.routes[at]
	r.Gen = old.Gen + int64(rapid.IntRange(-1, 2).Draw(t, "generation"))
	err := tx.SaveRoute(r)
	switch {
	case r.Gen < 0: // nothing is acknowledged yet, and Acked 0 is above it
		if !errors.Is(err, delivery.ErrInvalid) {
			t.Fatalf("SaveRoute = %v, want ErrInvalid", err)
		}
		return nil
	case r.Gen < old.Gen, r.Gen == old.Gen && old.Service != "" && r.Split[0] != old.Split[0]:
		if !errors.Is(err, delivery.ErrConflict) {
			t.Fatalf("SaveRoute = %v, want ErrConflict", err)
		}
		return nil
	}
	r.Acked = old.Acked
	if rapid.Bool().Draw(t, "acked") {
		r.Acked = r.Gen
		err = errors.Join(err, tx.MarkAcked(r.Service, r.Env, r.Gen))
	}
	m.routes[at] = r
	return err
}

func (m *model) allot(t *rapid.T, tx *Tx, name string) error {
	n, err := tx.Allot(name, func(taken map[int]bool) (int, error) {
		if len(taken) != len(m.allotted) {
			t.Fatalf("%d are taken, want %d", len(taken), len(m.allotted))
		}
		return 9000 + len(taken), nil
	})
	if want, ok := m.allotted[name]; ok && n != want || !ok && n != 9000+len(m.allotted) {
		t.Fatalf("Allot = %d, want %d", n, want)
	}
	m.allotted[name] = n
	m.counter++
	if c, err := tx.Counter("c"); c != m.counter || err != nil {
		t.Fatalf("Counter = %d, %v, want %d", c, err, m.counter)
	}
	return err
}

func (m *model) intend(t *rapid.T, tx *Tx, key string) error {
	e, err := tx.Append(delivery.Event{At: noon, Kind: delivery.EventIntent, Key: key})
	if m.keys[key] {
		if e.Seq > m.lines {
			t.Fatalf("%s was written twice", key)
		}
		return err
	}
	m.keys[key] = true
	m.lines++
	return err
}

func (m *model) tape(t *rapid.T, tx *Tx) error {
	if len(m.rollouts) == 0 {
		return nil
	}
	id := m.rollouts[rapid.IntRange(0, len(m.rollouts)-1).Draw(t, "rollout")].ID
	had := m.tapes[id]
	part := len(had) + rapid.IntRange(-1, 1).Draw(t, "part")
	data := []byte{byte(rapid.IntRange(0, 1).Draw(t, "data"))}
	err := tx.AppendTape(id, part, data)
	switch {
	case part == len(had):
		m.tapes[id] = append(slices.Clone(had), data)
		return err
	case part == len(had)-1 && part >= 0 && bytes.Equal(had[part], data):
		return err
	case !errors.Is(err, delivery.ErrConflict):
		t.Fatalf("AppendTape of part %d after %d = %v, want ErrConflict", part, len(had), err)
	}
	return nil
}

// check compares all that s reads with the model.
func (m model) check(t *rapid.T, s *Store) {
	var open []delivery.Rollout
	for _, r := range m.rollouts {
		if !r.State.Final() {
			open = append(open, r)
		}
	}
	var held []delivery.Hold
	for _, h := range m.holds {
		if h.Lifted == nil {
			held = append(held, h.Hold)
		}
	}
	w := must[World](t)(s.Snapshot(t.Context()))
	same(t, "stables", w.Stables, ordered(m.stables))
	same(t, "routes", w.Routes, ordered(m.routes))
	same(t, "wants", w.Wants, ordered(m.wants))
	same(t, "holds", w.Holds, held)
	same(t, "open rollouts", w.Rollouts, open)
	for id := range named(w) {
		got, ok := w.Releases[id]
		if want, has := m.releases[id]; has != ok {
			t.Fatalf("release %s is there: %v, want %v", id, ok, has)
		} else if ok {
			same(t, "release", got, want)
		}
	}
	rollouts := must[[]delivery.Rollout](t)(s.Rollouts(t.Context(), RolloutQuery{Limit: MaxLimit}))
	slices.SortFunc(rollouts, func(a, b delivery.Rollout) int { return cmp.Compare(a.Seq, b.Seq) })
	same(t, "rollouts", rollouts, m.rollouts)
	holds := must[[]HoldRecord](t)(s.HoldsAll(t.Context(), MaxLimit))
	slices.Reverse(holds)
	same(t, "all holds", holds, m.holds)
	if got := must[map[string]int](t)(s.Allotted(t.Context())); !maps.Equal(got, m.allotted) {
		t.Fatalf("Allotted = %v, want %v", got, m.allotted)
	}
	same(t, "minutes", must[[]Minute](t)(s.Minutes(t.Context(), MinuteQuery{From: minute, To: minute.Add(time.Hour)})), ordered(m.minutes))
	for id, parts := range m.tapes {
		same(t, "tape", must[[][]byte](t)(s.Tape(t.Context(), id)), parts)
	}
	if report := must[Report](t)(s.Verify(t.Context())); report.Broken != nil || report.Lines != m.lines {
		t.Fatalf("Verify = %+v, want %d lines", report, m.lines)
	}
}

// Whatever is written, given up and reopened, a store remembers what a plain model remembers.
func TestStoreIsTheModel(t *testing.T) {
	dir := t.TempDir()
	fresh := filepath.Join(dir, "fresh.db") // made once: making one takes longer than all that is done to it
	if err := childOpen(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	empty, err := os.ReadFile(fresh)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		folder, err := os.MkdirTemp(dir, "model") // one for each run of the property, gone with it
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(folder)
		path := filepath.Join(folder, "slipway.db")
		if err := os.WriteFile(path, empty, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { s.Close() }()
		m := model{
			stables: map[string]delivery.Stable{}, routes: map[string]delivery.Route{}, wants: map[string]delivery.Want{},
			releases: map[delivery.ReleaseID]delivery.Release{}, allotted: map[string]int{}, keys: map[string]bool{},
			minutes: map[string]Minute{}, tapes: map[delivery.RolloutID][][]byte{},
		}
		for range rapid.IntRange(1, 12).Draw(t, "writes") {
			next := m.clone()
			giveUp := rapid.IntRange(0, 4).Draw(t, "give up") == 0
			err := s.Write(t.Context(), func(tx *Tx) error {
				for range rapid.IntRange(1, 5).Draw(t, "steps") {
					if err := next.step(t, tx); err != nil {
						return err
					}
				}
				if giveUp {
					return errUser
				}
				next.lines++
				return appendLine("write")(tx)
			})
			if giveUp && !errors.Is(err, errUser) || !giveUp && err != nil {
				t.Fatalf("Write = %v", err)
			}
			if !giveUp {
				m = next
			}
			if rapid.IntRange(0, 5).Draw(t, "reopen") == 0 {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if s, err = Open(t.Context(), path); err != nil {
					t.Fatal(err)
				}
				m.check(t, s)
			}
			if _, err := s.Snapshot(t.Context()); err != nil { // what it remembers must not go stale
				t.Fatal(err)
			}
		}
		m.check(t, s)
	})
}
