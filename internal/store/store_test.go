package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// noon is the time of everything that needs one.
var noon = time.Date(2026, 3, 14, 12, 0, 0, 123456000, time.UTC)

func openStore(t testing.TB) *Store {
	t.Helper()
	return reopen(t, filepath.Join(t.TempDir(), "slipway.db"))
}

func reopen(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// write writes and records it.
func write(t testing.TB, s *Store, fn func(*Tx) error) {
	t.Helper()
	if err := record(t, s, fn); err != nil {
		t.Fatal(err)
	}
}

func record(t testing.TB, s *Store, fn func(*Tx) error) error {
	t.Helper()
	return s.Write(t.Context(), func(tx *Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		_, err := tx.Append(delivery.Event{At: noon, Kind: delivery.EventServer, Text: "test"})
		return err
	})
}

// must returns v of a call that has to work.
func must[T any](t interface {
	Helper()
	Fatal(...any)
},
) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// same compares two values as documents.
func same(t interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}, what string, got, want any,
) {
	t.Helper()
	g, errG := json.Marshal(got)
	w, errW := json.Marshal(want)
	if errG != nil || errW != nil {
		t.Fatal(errG, errW)
	}
	if string(g) != string(w) {
		t.Fatalf("%s = %s, want %s", what, g, w)
	}
}

func release(service, version string) delivery.Release {
	return delivery.Release{
		Service: service, Version: version, Created: noon,
		Artifacts: []delivery.Artifact{{Kind: delivery.Code, Digest: delivery.DigestOf([]byte(service + version))}},
		Run:       delivery.RunSpec{Command: []string{"./" + service}, Health: delivery.Health{HTTP: "/health"}},
		Config:    map[string]string{"VERSION": version},
	}.Seal()
}

func rollout(c delivery.ChangeID, service, env string) delivery.Rollout {
	return delivery.Rollout{
		ID: delivery.RolloutID(fmt.Sprintf("%d/%s", c, env)), Change: c, Kind: delivery.Code, Service: service, Env: env,
		To: release(service, "v2").ID, Version: "v2", State: delivery.Queued, Created: noon, Entered: noon,
		Plan: delivery.Plan{Strategy: delivery.Canary, Steps: []delivery.Step{{Do: delivery.DoWeight, Weight: 500}, {Do: delivery.DoPromote}}},
	}
}

// start keeps a change and one rollout of it.
func start(t testing.TB, s *Store, service, env string) delivery.Rollout {
	t.Helper()
	var r delivery.Rollout
	write(t, s, func(tx *Tx) error {
		c, err := tx.CreateChange(delivery.Change{Kind: delivery.Code, Members: []delivery.Member{{Service: service, To: release(service, "v2").ID}}, Submitted: noon})
		if err != nil {
			return err
		}
		r, err = tx.CreateRollout(rollout(c.ID, service, env))
		return err
	})
	return r
}

func TestProject(t *testing.T) {
	s := openStore(t)
	_, _, err := s.Project(t.Context())
	if refusal, ok := errors.AsType[*delivery.Refusal](err); !ok || refusal.Code != delivery.CodeNoProject || !errors.Is(err, delivery.ErrNotFound) {
		t.Fatalf("Project of an empty store = %v, want CodeNoProject", err)
	}
	want := delivery.Project{Name: "shop", Services: []delivery.Service{{Name: "cart", Config: map[string]string{"A": "ü\x00"}}}, Environments: []delivery.Environment{{Name: "prod"}}}
	for _, yaml := range []string{"name: shop\n", "name: shop # again\n"} {
		write(t, s, func(tx *Tx) error { return tx.SaveProject(want, []byte(yaml)) })
		got, text, err := s.Project(t.Context())
		if err != nil || string(text) != yaml {
			t.Fatalf("Project = %q, %v, want %q", text, err, yaml)
		}
		same(t, "Project", got, want)
	}
	for _, bad := range []string{"\xff", "a\x00b"} {
		if err := record(t, s, func(tx *Tx) error { return tx.SaveProject(want, []byte(bad)) }); !errors.Is(err, delivery.ErrInvalid) {
			t.Errorf("SaveProject with %q = %v, want ErrInvalid", bad, err)
		}
	}
}

func TestReleases(t *testing.T) {
	s := openStore(t)
	v1, v2, again := release("cart", "v1"), release("cart", "v2"), release("cart", "v2")
	again.Config = map[string]string{"VERSION": "v2", "EXTRA": "1"}
	again = again.Seal()
	write(t, s, func(tx *Tx) error {
		return errors.Join(tx.PutRelease(v1), tx.PutRelease(v2), tx.PutRelease(release("pay", "v2")), tx.PutRelease(again))
	})
	later := v1
	later.Created, later.CreatedBy = noon.Add(time.Hour), "ann"
	write(t, s, func(tx *Tx) error { return tx.PutRelease(later) })
	same(t, "Release", must[delivery.Release](t)(s.Release(t.Context(), v1.ID)), v1)
	same(t, "ReleaseNamed", must[delivery.Release](t)(s.ReleaseNamed(t.Context(), "cart", "v2")), again)
	same(t, "Releases", must[[]delivery.Release](t)(s.Releases(t.Context(), "cart", 2)), []delivery.Release{again, v2})
	if _, err := s.Release(t.Context(), "r0"); !errors.Is(err, delivery.ErrNotFound) {
		t.Errorf("Release of an unknown id = %v, want ErrNotFound", err)
	}
	if _, err := s.ReleaseNamed(t.Context(), "pay", "v1"); !errors.Is(err, delivery.ErrNotFound) {
		t.Errorf("ReleaseNamed of an unknown version = %v, want ErrNotFound", err)
	}
	forged := v1
	forged.Version = "v9"
	if err := record(t, s, func(tx *Tx) error { return tx.PutRelease(forged) }); !errors.Is(err, delivery.ErrInvalid) {
		t.Errorf("PutRelease of a forged release = %v, want ErrInvalid", err)
	}
}

func TestChanges(t *testing.T) {
	s := openStore(t)
	var all []delivery.Change
	for i, services := range [][]string{{"cart"}, {"pay"}, {"cart", "pay", "cart"}} {
		c := delivery.Change{Kind: delivery.Code, Reason: fmt.Sprint(i), Submitted: noon}
		for _, name := range services {
			c.Members = append(c.Members, delivery.Member{Service: name, To: "r1"})
		}
		write(t, s, func(tx *Tx) (err error) {
			c, err = tx.CreateChange(c)
			return err
		})
		if c.ID != delivery.ChangeID(i+1) {
			t.Fatalf("ID = %d, want %d", c.ID, i+1)
		}
		same(t, "Change", must[delivery.Change](t)(s.Change(t.Context(), c.ID)), c)
		all = append(all, c)
	}
	list := must[[]delivery.Change](t)
	same(t, "Changes", list(s.Changes(t.Context(), ChangeQuery{})), []delivery.Change{all[2], all[1], all[0]})
	same(t, "Changes of cart", list(s.Changes(t.Context(), ChangeQuery{Service: "cart"})), []delivery.Change{all[2], all[0]})
	same(t, "Changes of pay before 3", list(s.Changes(t.Context(), ChangeQuery{Service: "pay", Before: 3, Limit: 5})), []delivery.Change{all[1]})
	if _, err := s.Change(t.Context(), 9); !errors.Is(err, delivery.ErrNotFound) {
		t.Errorf("Change(9) = %v, want ErrNotFound", err)
	}
	if err := record(t, s, func(tx *Tx) error { _, err := tx.CreateChange(delivery.Change{}); return err }); !errors.Is(err, delivery.ErrInvalid) {
		t.Errorf("CreateChange without members = %v, want ErrInvalid", err)
	}
}

func TestRollouts(t *testing.T) {
	s := openStore(t)
	a, b, c := start(t, s, "cart", "prod"), start(t, s, "pay", "prod"), start(t, s, "cart", "dev")
	if a.Seq != 1 || c.Seq != 3 || a.Gen != 1 {
		t.Fatalf("seq %d and %d, gen %d, want 1, 3 and 1", a.Seq, c.Seq, a.Gen)
	}
	b.State, b.Reason = delivery.Cancelled, "nobody wants it"
	write(t, s, func(tx *Tx) (err error) {
		if b, err = tx.SaveRollout(b); err != nil {
			return err
		}
		same(t, "Rollout within the write", must[delivery.Rollout](t)(tx.Rollout(t.Context(), b.ID)), b)
		return nil
	})
	if b.Gen != 2 {
		t.Errorf("gen = %d, want 2", b.Gen)
	}
	same(t, "Rollout", must[delivery.Rollout](t)(s.Rollout(t.Context(), b.ID)), b)
	for _, q := range []struct {
		q    RolloutQuery
		want []delivery.Rollout
	}{
		{RolloutQuery{}, []delivery.Rollout{c, b, a}},
		{RolloutQuery{Open: true}, []delivery.Rollout{c, a}},
		{RolloutQuery{Service: "cart"}, []delivery.Rollout{c, a}},
		{RolloutQuery{Env: "prod", Limit: 1}, []delivery.Rollout{b}},
		{RolloutQuery{Change: 1}, []delivery.Rollout{a}},
		{RolloutQuery{BeforeSeq: 3}, []delivery.Rollout{b, a}},
		{RolloutQuery{Service: "cart", Env: "prod", Change: 1, Open: true, BeforeSeq: 2}, []delivery.Rollout{a}},
	} {
		same(t, fmt.Sprintf("Rollouts(%+v)", q.q), must[[]delivery.Rollout](t)(s.Rollouts(t.Context(), q.q)), q.want)
	}
	if _, err := s.Rollout(t.Context(), "9/prod"); !errors.Is(err, delivery.ErrNotFound) {
		t.Errorf("Rollout of an unknown id = %v, want ErrNotFound", err)
	}
}

func TestRolloutRefusals(t *testing.T) {
	s := openStore(t)
	a, b := start(t, s, "cart", "prod"), start(t, s, "cart", "dev")
	active := a
	active.State = delivery.Preparing
	write(t, s, func(tx *Tx) (err error) { active, err = tx.SaveRollout(active); return err })
	next := start(t, s, "cart", "prod")
	for name, try := range map[string]struct {
		fn   func(*Tx) error
		want error
	}{
		"stale generation": {func(tx *Tx) error { _, err := tx.SaveRollout(a); return err }, delivery.ErrConflict},
		"taken id":         {func(tx *Tx) error { _, err := tx.CreateRollout(b); return err }, delivery.ErrConflict},
		"unknown change":   {func(tx *Tx) error { _, err := tx.CreateRollout(rollout(99, "cart", "prod")); return err }, delivery.ErrNotFound},
		"unknown rollout":  {func(tx *Tx) error { _, err := tx.SaveRollout(rollout(99, "cart", "prod")); return err }, delivery.ErrNotFound},
		"no id":            {func(tx *Tx) error { _, err := tx.CreateRollout(delivery.Rollout{Change: 1}); return err }, delivery.ErrInvalid},
		"no service":       {func(tx *Tx) error { _, err := tx.CreateRollout(delivery.Rollout{ID: "x", Change: 1}); return err }, delivery.ErrInvalid},
		"no such edge":     {func(tx *Tx) error { r := b; r.State = delivery.Done; _, err := tx.SaveRollout(r); return err }, delivery.ErrInvalid},
		"another service":  {func(tx *Tx) error { r := b; r.Service = "pay"; _, err := tx.SaveRollout(r); return err }, delivery.ErrInvalid},
		"second active":    {func(tx *Tx) error { r := next; r.State = delivery.Preparing; _, err := tx.SaveRollout(r); return err }, delivery.ErrConflict},
		"second born active": {func(tx *Tx) error {
			r := rollout(1, "cart", "prod")
			r.ID, r.State = "1/prod.2", delivery.Starting
			_, err := tx.CreateRollout(r)
			return err
		}, delivery.ErrConflict},
	} {
		if err := record(t, s, try.fn); !errors.Is(err, try.want) {
			t.Errorf("%s: %v, want %v", name, err, try.want)
		}
	}
	same(t, "rollouts after refusals", must[[]delivery.Rollout](t)(s.Rollouts(t.Context(), RolloutQuery{})), []delivery.Rollout{next, b, active})
}

func TestStables(t *testing.T) {
	s := openStore(t)
	a := delivery.Stable{Service: "cart", Env: "prod", Release: "r1", Since: noon}
	b := delivery.Stable{Service: "cart", Env: "dev", Release: "r2", Previous: "r1", Warm: noon}
	write(t, s, func(tx *Tx) error { return errors.Join(tx.SetStable(a), tx.SetStable(b)) })
	a.Release, a.Previous = "r2", "r1"
	write(t, s, func(tx *Tx) error { return tx.SetStable(a) })
	same(t, "Stables", must[[]delivery.Stable](t)(s.Stables(t.Context())), []delivery.Stable{b, a})
	if err := record(t, s, func(tx *Tx) error { return tx.SetStable(delivery.Stable{Service: "cart"}) }); !errors.Is(err, delivery.ErrInvalid) {
		t.Errorf("SetStable of nothing = %v, want ErrInvalid", err)
	}
}

func TestHolds(t *testing.T) {
	s := openStore(t)
	pin := delivery.Hold{Kind: delivery.Pinned, Service: "cart", Env: "prod", Why: "fair", By: "ann", At: noon}
	bad := delivery.Hold{Kind: delivery.Quarantine, Service: "cart", Release: "r2", Version: "v2", Why: "errors", By: "slipway", At: noon}
	put := func(h delivery.Hold) (got delivery.Hold) {
		write(t, s, func(tx *Tx) (err error) { got, err = tx.PutHold(h); return err })
		return got
	}
	pin, bad = put(pin), put(bad)
	if pin.ID == 0 || bad.ID == pin.ID {
		t.Fatalf("ids %d and %d, want two", pin.ID, bad.ID)
	}
	twice := bad
	twice.ID, twice.Why = 0, "again"
	same(t, "PutHold of what is held", put(twice), bad)
	same(t, "Holds", must[[]delivery.Hold](t)(s.Holds(t.Context())), []delivery.Hold{pin, bad})

	var lifted delivery.Hold
	write(t, s, func(tx *Tx) (err error) { lifted, err = tx.LiftHold(bad.ID, "ann", "fixed", noon); return err })
	same(t, "LiftHold", lifted, bad)
	same(t, "Holds", must[[]delivery.Hold](t)(s.Holds(t.Context())), []delivery.Hold{pin})
	for _, id := range []int64{bad.ID, 99} {
		err := record(t, s, func(tx *Tx) error { _, err := tx.LiftHold(id, "ann", "", noon); return err })
		if refusal, ok := errors.AsType[*delivery.Refusal](err); !ok || refusal.Code != delivery.CodeUnknownHold {
			t.Errorf("LiftHold(%d) = %v, want CodeUnknownHold", id, err)
		}
	}
	again := put(twice)
	if again.ID == bad.ID {
		t.Error("a lifted hold came back to life")
	}
	same(t, "HoldsAll", must[[]HoldRecord](t)(s.HoldsAll(t.Context(), 10)), []HoldRecord{
		{Hold: again}, {Hold: bad, Lifted: &Lifted{By: "ann", Why: "fixed", At: noon}}, {Hold: pin},
	})
	for _, h := range []delivery.Hold{{Kind: delivery.Pinned, Service: "cart"}, {Kind: delivery.Quarantine, Service: "cart"}, {Kind: "x", Service: "cart"}, {Kind: delivery.Pinned, Env: "prod"}} {
		if err := record(t, s, func(tx *Tx) error { _, err := tx.PutHold(h); return err }); !errors.Is(err, delivery.ErrInvalid) {
			t.Errorf("PutHold(%+v) = %v, want ErrInvalid", h, err)
		}
	}
}

func TestRoutes(t *testing.T) {
	s := openStore(t)
	split := func(w delivery.Weight) []delivery.Share {
		return []delivery.Share{{Release: "r2", Weight: w}, {Release: "r1", Weight: delivery.Full - w}}
	}
	r := delivery.Route{Service: "cart", Env: "prod", Gen: 3, Split: split(500), Salt: "1/prod", At: noon}
	save := func(r delivery.Route) error { return record(t, s, func(tx *Tx) error { return tx.SaveRoute(r) }) }
	if err := errors.Join(save(r), save(r)); err != nil {
		t.Fatal(err)
	}
	ack := func(gen int64) error {
		return s.Write(t.Context(), func(tx *Tx) error { return tx.MarkAcked("cart", "prod", gen) })
	}
	if err := errors.Join(ack(3), ack(2)); err != nil {
		t.Fatal(err)
	}
	r.Acked = 3
	same(t, "Routes", must[[]delivery.Route](t)(s.Routes(t.Context())), []delivery.Route{r})
	older, other, next := r, r, r
	older.Gen, older.Acked = 2, 0
	other.Split = split(600)
	next.Gen, next.Split, next.Acked = 4, split(1000), 0
	for _, bad := range []delivery.Route{older, other} {
		if err := save(bad); !errors.Is(err, delivery.ErrConflict) {
			t.Errorf("SaveRoute(%+v) = %v, want ErrConflict", bad, err)
		}
	}
	if err := ack(4); !errors.Is(err, delivery.ErrConflict) {
		t.Errorf("MarkAcked of what was never saved = %v, want ErrConflict", err)
	}
	if err := save(next); err != nil {
		t.Fatal(err)
	}
	next.Acked = 3
	same(t, "Routes", must[[]delivery.Route](t)(s.Routes(t.Context())), []delivery.Route{next})
	for _, bad := range []delivery.Route{{Service: "cart"}, {Service: "cart", Env: "x", Acked: 1}, {Service: "cart", Env: "x", Split: split(-1)}} {
		if err := save(bad); !errors.Is(err, delivery.ErrInvalid) {
			t.Errorf("SaveRoute(%+v) = %v, want ErrInvalid", bad, err)
		}
	}
}

func TestWants(t *testing.T) {
	s := openStore(t)
	a := delivery.Want{Service: "cart", Env: "prod", Release: "r1", Count: 2, Change: 1}
	b := delivery.Want{Service: "cart", Env: "prod", Release: "r2", Count: 1, Until: noon}
	write(t, s, func(tx *Tx) error { return errors.Join(tx.SetWant(b), tx.SetWant(a)) })
	same(t, "Wants", must[[]delivery.Want](t)(s.Wants(t.Context())), []delivery.Want{a, b})
	a.Count, b.Count = 0, 5
	write(t, s, func(tx *Tx) error { return errors.Join(tx.SetWant(b), tx.SetWant(a), tx.SetWant(a)) })
	same(t, "Wants", must[[]delivery.Want](t)(s.Wants(t.Context())), []delivery.Want{b})
	a.Count = -1
	if err := record(t, s, func(tx *Tx) error { return tx.SetWant(a) }); !errors.Is(err, delivery.ErrInvalid) {
		t.Errorf("SetWant of -1 = %v, want ErrInvalid", err)
	}
}

func TestAllotAndCount(t *testing.T) {
	s := openStore(t)
	allot := func(name string, pick func(map[int]bool) (int, error)) (n int, err error) {
		err = s.Write(t.Context(), func(tx *Tx) error { n, err = tx.Allot(name, pick); return err })
		return n, err
	}
	from := func(n int) func(map[int]bool) (int, error) {
		return func(taken map[int]bool) (int, error) {
			for taken[n] {
				n++
			}
			return n, nil
		}
	}
	for name, want := range map[string]int{"a": 9000, "b": 9100} {
		for range 2 {
			if n, err := allot(name, from(want)); n != want || err != nil {
				t.Fatalf("Allot(%s) = %d, %v, want %d", name, n, err, want)
			}
		}
	}
	if n, err := allot("c", from(9000)); n != 9001 || err != nil {
		t.Fatalf("Allot(c) = %d, %v, want 9001", n, err)
	}
	if _, err := allot("d", func(map[int]bool) (int, error) { return 9001, nil }); !errors.Is(err, delivery.ErrInvalid) {
		t.Errorf("Allot of a taken number = %v, want ErrInvalid", err)
	}
	full := errors.New("no port is free")
	if _, err := allot("d", func(map[int]bool) (int, error) { return 0, full }); !errors.Is(err, full) {
		t.Errorf("Allot = %v, want the error of pick", err)
	}
	got := must[map[string]int](t)(s.Allotted(t.Context()))
	if want := map[string]int{"a": 9000, "b": 9100, "c": 9001}; !reflect.DeepEqual(got, want) {
		t.Errorf("Allotted = %v, want %v", got, want)
	}
	for want := int64(1); want < 4; want++ {
		var n int64
		if err := s.Write(t.Context(), func(tx *Tx) (err error) { n, err = tx.Counter("table"); return err }); n != want || err != nil {
			t.Fatalf("Counter = %d, %v, want %d", n, err, want)
		}
	}
}

func TestRemember(t *testing.T) {
	s := openStore(t)
	remember := func(key, print, response string, at time.Time) error {
		return s.Write(t.Context(), func(tx *Tx) error { return tx.Remember(key, print, []byte(response), at) })
	}
	recall := func(key, print string, at time.Time) string {
		t.Helper()
		b, found, err := s.Recall(t.Context(), key, print, at)
		if refusal, ok := errors.AsType[*delivery.Refusal](err); ok {
			return string(refusal.Code)
		}
		if err != nil || !found {
			return fmt.Sprint(err)
		}
		return string(b)
	}
	if err := errors.Join(remember("k", "deploy", "\x00first", noon), remember("k", "deploy", "second", noon.Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	day := noon.Add(KeyLife)
	for _, c := range []struct {
		print string
		at    time.Time
		want  string
	}{
		{"deploy", day.Add(-time.Second), "\x00first"},
		{"rollback", noon, string(delivery.CodeKeyReused)},
		{"deploy", day, "<nil>"},
	} {
		if got := recall("k", c.print, c.at); got != c.want {
			t.Errorf("Recall(%s, %s) = %q, want %q", c.print, c.at, got, c.want)
		}
	}
	if err := remember("k", "rollback", "x", noon); !errors.Is(err, delivery.ErrRefused) {
		t.Errorf("Remember for another request = %v, want a refusal", err)
	}
	if err := remember("k", "rollback", "third", day); err != nil {
		t.Fatal(err)
	}
	if got := recall("k", "rollback", day); got != "third" {
		t.Errorf("Recall = %q, want third", got)
	}
}
