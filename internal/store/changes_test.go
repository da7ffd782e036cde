package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// sought fills a store with changes that differ in all that is searched by.
func sought(t *testing.T, s *Store) {
	t.Helper()
	write(t, s, func(tx *Tx) error {
		for i := range 12 {
			kinds := []delivery.Kind{delivery.Code}
			if i%3 == 0 {
				kinds = append(kinds, delivery.Config)
			}
			service := fmt.Sprintf("s%d", i%2)
			c, err := tx.CreateChange(delivery.Change{
				Kind: kinds[0], Kinds: kinds, By: []string{"ann", "bo"}[i/6], Submitted: noon.Add(time.Duration(i) * time.Hour),
				Members: []delivery.Member{{Service: service, To: "r1"}},
			})
			if err != nil {
				return err
			}
			for _, env := range []string{"dev", "prod"}[:1+i%2] {
				r := rollout(c.ID, service, env)
				if i >= 8 && env == "prod" {
					r.State = delivery.Reverted
				}
				if _, err := tx.CreateRollout(r); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func TestChangesAreFound(t *testing.T) {
	s := openStore(t)
	sought(t, s)
	for name, c := range map[string]struct {
		q    ChangeQuery
		want []delivery.ChangeID
	}{
		"all":                       {ChangeQuery{Limit: 3}, []delivery.ChangeID{12, 11, 10}},
		"of a service":              {ChangeQuery{Service: "s1", Limit: 2}, []delivery.ChangeID{12, 10}},
		"of a kind":                 {ChangeQuery{Kind: delivery.Config}, []delivery.ChangeID{10, 7, 4, 1}},
		"of an environment":         {ChangeQuery{Env: "prod", Before: 5}, []delivery.ChangeID{4, 2}},
		"by a person":               {ChangeQuery{Person: "ann", Before: 3}, []delivery.ChangeID{2, 1}},
		"from a time":               {ChangeQuery{From: noon.Add(10 * time.Hour)}, []delivery.ChangeID{12, 11}},
		"to a time":                 {ChangeQuery{To: noon.Add(time.Hour)}, []delivery.ChangeID{1}},
		"that went back":            {ChangeQuery{States: []delivery.State{delivery.Reverted, delivery.RevertFailed}}, []delivery.ChangeID{12, 10}},
		"that went back in dev":     {ChangeQuery{States: []delivery.State{delivery.Reverted}, Env: "dev"}, nil},
		"by all of it at once":      {ChangeQuery{Service: "s1", Env: "prod", Kind: delivery.Config, Person: "bo", States: []delivery.State{delivery.Reverted}, From: noon, To: noon.Add(24 * time.Hour), Before: 12}, []delivery.ChangeID{10}},
		"of a person nobody knows":  {ChangeQuery{Person: "eve' OR '1'='1"}, nil},
		"of a service nobody knows": {ChangeQuery{Service: "s9"}, nil},
	} {
		var got []delivery.ChangeID
		for _, c := range must[[]delivery.Change](t)(s.Changes(t.Context(), c.q)) {
			got = append(got, c.ID)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("changes %s = %v, want %v", name, got, c.want)
		}
	}
	same(t, "people", must[[]string](t)(s.People(t.Context(), 0)), []string{"ann", "bo"})
	ids := []delivery.ChangeID{12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}
	of := must[map[delivery.ChangeID][]delivery.Rollout](t)(s.RolloutsOf(t.Context(), append(ids, 99)))
	for _, id := range ids {
		var got []string
		for _, r := range of[id] {
			got = append(got, fmt.Sprint(r.Change, " ", r.Env))
		}
		want := []string{fmt.Sprint(id, " dev")}
		if id%2 == 0 {
			want = append(want, fmt.Sprint(id, " prod"))
		}
		if !slices.Equal(got, want) {
			t.Errorf("rollouts of change %d = %q, want %q", id, got, want)
		}
	}
	if len(of) != len(ids) {
		t.Errorf("rollouts of %d changes, want of %d", len(of), len(ids))
	}
}

// A rollout is found by the state that it is in now.
func TestChangesAreFoundByTheStateOfToday(t *testing.T) {
	s := openStore(t)
	r := start(t, s, "cart", "prod")
	find := func(state delivery.State) int {
		return len(must[[]delivery.Change](t)(s.Changes(t.Context(), ChangeQuery{States: []delivery.State{state}})))
	}
	before := r.State
	r.State = delivery.Preparing
	write(t, s, func(tx *Tx) error { _, err := tx.SaveRollout(r); return err })
	if find(before) != 0 || find(delivery.Preparing) != 1 {
		t.Errorf("%d changes are %s and %d are preparing, want 0 and 1", find(before), before, find(delivery.Preparing))
	}
}

func TestExposures(t *testing.T) {
	s := openStore(t)
	r := start(t, s, "cart", "prod")
	put := func(settled bool, doc string) error {
		return s.Write(t.Context(), func(tx *Tx) error { return tx.PutExposure(r.ID, settled, json.RawMessage(doc)) })
	}
	if _, found, err := s.Exposure(t.Context(), r.ID); found || err != nil {
		t.Errorf("Exposure before there is one = %v, %v", found, err)
	}
	for i, settled := range []bool{false, false, true, false} { // the last comes too late
		if err := put(settled, fmt.Sprintf(`{"n":%d}`, i)); err != nil {
			t.Fatal(err)
		}
		open := must[[]delivery.Rollout](t)(s.Unsettled(t.Context()))
		if want := i < 2; (len(open) == 1) != want {
			t.Errorf("after write %d the unsettled are %+v", i, open)
		}
	}
	doc, found, err := s.Exposure(t.Context(), r.ID)
	if !found || err != nil || string(doc) != `{"n":2}` {
		t.Errorf("Exposure = %s, %v, %v; want the settled one", doc, found, err)
	}
	for name, doc := range map[string]string{"no JSON": `{`, "too long": `"` + strings.Repeat("x", MaxExposureBytes) + `"`} {
		if err := put(false, doc); !errors.Is(err, delivery.ErrInvalid) {
			t.Errorf("PutExposure of %s = %v, want ErrInvalid", name, err)
		}
	}
}

// The traces that a page shows as samples outlive the others.
func TestLastingTraces(t *testing.T) {
	s := openStore(t)
	write(t, s, func(tx *Tx) error {
		for i := range 4 {
			if err := tx.PutTrace(delivery.Trace{ID: fmt.Sprint("t", i), Change: 1, At: minute.Add(time.Duration(i) * time.Second)}); err != nil {
				return err
			}
		}
		return errors.Join(tx.LastTrace("t1"), tx.LastTrace("nobody"))
	})
	write(t, s, func(tx *Tx) error {
		n, err := tx.PruneTraces(minute.Add(time.Hour))
		if n != 3 {
			t.Errorf("PruneTraces took %d, want 3", n)
		}
		return err
	})
	same(t, "traces", must[[]string](t)(s.TraceIDs(t.Context(), 1)), []string{"t1"})
}

// A part of a tape is read from where a reader is.
func TestTapeFrom(t *testing.T) {
	s := openStore(t)
	r := start(t, s, "cart", "prod")
	write(t, s, func(tx *Tx) error {
		return errors.Join(tx.AppendTape(r.ID, 0, []byte("a")), tx.AppendTape(r.ID, 1, []byte("b")), tx.AppendTape(r.ID, 2, []byte("c")))
	})
	same(t, "parts", must[[][]byte](t)(s.TapeFrom(t.Context(), r.ID, 1)), [][]byte{[]byte("b"), []byte("c")})
	same(t, "no part", must[[][]byte](t)(s.TapeFrom(t.Context(), r.ID, 3)), [][]byte(nil))
}

func TestHoldsOf(t *testing.T) {
	s := openStore(t)
	write(t, s, func(tx *Tx) error {
		for _, service := range []string{"cart", "pay", "cart"} {
			h, err := tx.PutHold(delivery.Hold{Kind: delivery.Pinned, Service: service, Env: "prod", Why: "fair", By: "ann", At: noon})
			if err != nil {
				return err
			}
			if _, err := tx.LiftHold(h.ID, "ann", "over", noon); err != nil {
				return err
			}
		}
		return nil
	})
	got := must[[]HoldRecord](t)(s.HoldsOf(t.Context(), "cart", 0))
	if len(got) != 2 || got[0].ID != 3 || got[1].ID != 1 || got[0].Lifted == nil {
		t.Errorf("HoldsOf = %+v, want those of cart, newest first", got)
	}
}
