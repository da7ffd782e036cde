package store

import (
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
)

func TestAppend(t *testing.T) {
	s := openStore(t)
	var lines []delivery.Event
	add := func(e delivery.Event) (got delivery.Event) {
		t.Helper()
		e.At = noon
		if err := s.Write(t.Context(), func(tx *Tx) (err error) { got, err = tx.Append(e); return err }); err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, e := range []delivery.Event{
		{Kind: delivery.EventSubmitted, Change: 1, Service: "cart", Text: "submitted <b> & \xff \u2028"},
		{Kind: delivery.EventIntent, Change: 1, Rollout: "1/prod", Service: "cart", Env: "prod", Key: "1/prod/weigh/3", Data: json.RawMessage(`{ "weight" : 5 }`)},
		{Kind: delivery.EventMoved, Change: 1, Rollout: "1/prod", Service: "cart", Env: "prod", State: delivery.Shifting, Step: 1},
		{Kind: delivery.EventMoved, Change: 2, Rollout: "2/dev", Service: "pay", Env: "dev", By: "ann"},
		{Kind: delivery.EventServer, Seq: 99, Prev: "forged", Hash: "forged", Text: "started"},
	} {
		lines = append(lines, add(e))
	}
	again := add(delivery.Event{Kind: delivery.EventIntent, Key: "1/prod/weigh/3", Text: "twice"})
	same(t, "Append of a key that is there", again, lines[1])

	prev := ""
	for i, e := range lines {
		if e.Seq != int64(i+1) || e.Prev != prev {
			t.Errorf("line %d has seq %d and prev %s", i+1, e.Seq, e.Prev)
		}
		// The documented recipe, without the code under test.
		hash := e.Hash
		e.Hash = ""
		doc, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 { // the first line holds bytes that JSON writes in two ways
			if sum := sha256.Sum256(append([]byte(prev), doc...)); hex.EncodeToString(sum[:]) != hash {
				t.Errorf("line %d: hash %s is not the SHA-256 of %s", i+1, hash, doc)
			}
		}
		prev = hash
	}
	for _, q := range []struct {
		q    EventQuery
		want []delivery.Event
	}{
		{EventQuery{}, lines},
		{EventQuery{Since: 3}, lines[3:]},
		{EventQuery{Before: 3}, lines[:2]},
		{EventQuery{Since: 1, Limit: 2}, lines[1:3]},
		{EventQuery{Newest: true, Limit: 2}, []delivery.Event{lines[4], lines[3]}},
		{EventQuery{Newest: true, Before: 4, Limit: 1}, lines[2:3]},
		{EventQuery{Change: 1}, lines[:3]},
		{EventQuery{Rollout: "1/prod"}, lines[1:3]},
		{EventQuery{Service: "pay"}, lines[3:4]},
		{EventQuery{Service: "cart", Env: "prod", Change: 1, Rollout: "1/prod", Since: 2, Before: 9}, lines[2:3]},
	} {
		same(t, fmt.Sprintf("Events(%+v)", q.q), must[[]delivery.Event](t)(s.Events(t.Context(), q.q)), q.want)
	}
	for _, bad := range []delivery.Event{{At: noon}, {Kind: delivery.EventServer}, {At: noon, Kind: delivery.EventServer, Data: json.RawMessage("{")}} {
		err := s.Write(t.Context(), func(tx *Tx) error { _, err := tx.Append(bad); return err })
		if !errors.Is(err, delivery.ErrInvalid) {
			t.Errorf("Append(%+v) = %v, want ErrInvalid", bad, err)
		}
	}
	report := must[Report](t)(s.Verify(t.Context()))
	same(t, "Verify", report, Report{Lines: 5, Head: lines[4].Hash})
}

// A state change under a key that is in the ledger already has no line of its own.
func TestAnOldLineRecordsNothingNew(t *testing.T) {
	s := openStore(t)
	want := func(count int) error {
		return s.Write(t.Context(), func(tx *Tx) error {
			if _, err := tx.Append(delivery.Event{At: noon, Kind: delivery.EventIntent, Key: "k"}); err != nil {
				return err
			}
			return tx.SetWant(delivery.Want{Service: "cart", Env: "prod", Release: "r1", Count: count})
		})
	}
	if err := errors.Join(want(1), want(1)); err != nil {
		t.Fatal(err)
	}
	if err := want(2); !errors.Is(err, ErrUnrecorded) {
		t.Errorf("a second effect under one key = %v, want ErrUnrecorded", err)
	}
}

func TestLedgerIsAppendOnly(t *testing.T) {
	s := openStore(t)
	write(t, s, func(*Tx) error { return nil })
	for _, text := range []string{`UPDATE events SET doc = '{}'`, `DELETE FROM events`} {
		if err := s.Write(t.Context(), func(tx *Tx) error { _, err := tx.exec(text); return err }); err == nil {
			t.Errorf("%s was done", text)
		}
	}
}

// Whatever is done to a line, Verify names the first one that does not hold.
func TestVerifyNamesTheFault(t *testing.T) {
	const free = `DROP TRIGGER events_never_change; DROP TRIGGER events_never_go; `
	for name, c := range map[string]struct {
		tamper string
		want   Break
	}{
		"text":       {`UPDATE events SET doc = replace(doc, 'line 4', 'line X') WHERE seq = 4`, Break{Seq: 4, Fault: Changed}},
		"hash":       {`UPDATE events SET hash = 'ab' WHERE seq = 4`, Break{Seq: 4, Fault: Changed}},
		"not JSON":   {`UPDATE events SET doc = '{' WHERE seq = 4`, Break{Seq: 4, Fault: Changed}},
		"column":     {`UPDATE events SET service = 'pay' WHERE seq = 4`, Break{Seq: 4, Fault: Changed}},
		"key":        {`UPDATE events SET event_key = 'k' WHERE seq = 4`, Break{Seq: 4, Fault: Changed}},
		"gone":       {`DELETE FROM events WHERE seq IN (4, 5)`, Break{Seq: 4, Fault: Missing}},
		"first gone": {`DELETE FROM events WHERE seq = 1`, Break{Seq: 1, Fault: Missing}},
		"closed gap": {`DELETE FROM events WHERE seq = 4; UPDATE events SET seq = seq - 1 WHERE seq > 4`, Break{Seq: 4, Fault: Reordered}},
		"swapped":    {`UPDATE events SET seq = -4 WHERE seq = 4; UPDATE events SET seq = 4 WHERE seq = 6; UPDATE events SET seq = 6 WHERE seq = -4`, Break{Seq: 4, Fault: Reordered}},
		"cut":        {`DELETE FROM events WHERE seq > 7`, Break{Seq: 8, Fault: Cut}},
		"all gone":   {`DELETE FROM events`, Break{Seq: 1, Fault: Cut}},
		"slipped in": {`UPDATE ledger_heads SET seq = 8`, Break{Seq: 9, Fault: Changed}},
		"other head": {`UPDATE ledger_heads SET hash = 'ab'`, Break{Seq: 10, Fault: Changed}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "slipway.db")
			s := reopen(t, path)
			for i := 1; i <= 10; i++ {
				if err := s.Write(t.Context(), appendLine(fmt.Sprint("line ", i))); err != nil {
					t.Fatal(err)
				}
			}
			db, err := sql.Open("sqlite", dsn(path, writing))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if _, err := db.Exec(free + c.tamper); err != nil {
				t.Fatal(err)
			}
			report := must[Report](t)(s.Verify(t.Context()))
			if report.Broken == nil {
				t.Fatal("Verify found nothing")
			}
			if got := *report.Broken; got.Seq != c.want.Seq || got.Fault != c.want.Fault || got.Why == "" {
				t.Errorf("Verify = %+v, want %+v", got, c.want)
			}
		})
	}
}
