package store

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// To keep a database of the schema of today for the upgrade test of tomorrow:
//
//	go test ./internal/store -run TestUpgrade -keep
//
// It writes testdata/schemaN.db and testdata/schemaN.json, N being the schema.
// A pair that is there is never written again.
var keep = flag.Bool("keep", false, "keep a database of the present schema in testdata")

// memory is all that a store remembers.
type memory struct {
	World    World
	Changes  []delivery.Change
	Holds    []HoldRecord
	Events   []delivery.Event
	Allotted map[string]int
	Answer   []byte
	Minutes  []Minute         `json:",omitempty"`
	Tape     [][]byte         `json:",omitempty"`
	Traces   []delivery.Trace `json:",omitempty"`
	Tokens   []delivery.Token `json:",omitempty"`
	Session  Session          `json:",omitzero"`
	Link     Link             `json:",omitzero"`
}

func remembered(t *testing.T, s *Store) memory {
	t.Helper()
	answer, _, err := s.Recall(t.Context(), "key", "deploy", noon)
	if err != nil {
		t.Fatal(err)
	}
	session, _, err := s.SessionOf(t.Context(), "value")
	if err != nil {
		t.Fatal(err)
	}
	link, _, err := s.Link(t.Context(), "code")
	if err != nil {
		t.Fatal(err)
	}
	return memory{
		World:    must[World](t)(s.Snapshot(t.Context())),
		Changes:  must[[]delivery.Change](t)(s.Changes(t.Context(), ChangeQuery{})),
		Holds:    must[[]HoldRecord](t)(s.HoldsAll(t.Context(), MaxLimit)),
		Events:   must[[]delivery.Event](t)(s.Events(t.Context(), EventQuery{Limit: MaxLimit})),
		Allotted: must[map[string]int](t)(s.Allotted(t.Context())),
		Answer:   answer,
		Minutes:  must[[]Minute](t)(s.Minutes(t.Context(), MinuteQuery{From: minute, To: minute.Add(time.Hour)})),
		Tape:     must[[][]byte](t)(s.Tape(t.Context(), "1/dev")),
		Traces:   must[[]delivery.Trace](t)(s.Traces(t.Context(), 1)),
		Tokens:   must[[]delivery.Token](t)(s.Tokens(t.Context())),
		Session:  session,
		Link:     link,
	}
}

// lived fills a store with some of everything.
func lived(t *testing.T, s *Store) {
	t.Helper()
	fleet(t, s, 2)
	for _, env := range []string{"dev", "prod"} {
		r := start(t, s, "s001", env)
		write(t, s, func(tx *Tx) error {
			r.State, r.Waiting = delivery.Preparing, &delivery.Blocker{On: "slot", What: "waits", Since: noon}
			_, err := tx.SaveRollout(r)
			return err
		})
	}
	write(t, s, func(tx *Tx) error {
		if _, err := tx.LiftHold(1, "ann", "mended", noon); err != nil {
			return err
		}
		_, err := tx.PutHold(delivery.Hold{Kind: delivery.Pinned, Service: "s001", Env: "prod", Why: "fair", By: "ann", At: noon})
		return err
	})
	write(t, s, func(tx *Tx) error {
		_, allot := tx.Allot("prod/s000>s001", func(map[int]bool) (int, error) { return 9001, nil })
		_, count := tx.Counter("table")
		return errors.Join(allot, count, tx.Remember("key", "deploy", []byte("answer"), noon))
	})
	testified(t, s)
	admitted(t, s)
}

// admitted keeps some of everything that says who may ask.
func admitted(t *testing.T, s *Store) {
	t.Helper()
	write(t, s, func(tx *Tx) error {
		if err := errors.Join(
			tx.PutToken("first", delivery.Token{Name: "ci", Access: delivery.Deployer, By: "ann", Created: noon}),
			tx.PutToken("second", delivery.Token{Name: "wall", Access: delivery.Reader, By: "ann", Created: noon.Add(time.Second)}),
			tx.NoteToken("first", noon.Add(time.Hour)),
			tx.PutSession(Session{ID: "s1", Name: "ann", Token: "first", Value: "value", Opened: noon, Seen: noon, Turned: noon}, noon.Add(time.Hour)),
			tx.PutLink("code", Link{Name: "ann", Token: "first", Ends: noon.Add(time.Minute)}, noon),
		); err != nil {
			return err
		}
		_, err := tx.RevokeToken("wall", delivery.Revoked{By: "ann", At: noon})
		return err
	})
}

// testified keeps some of every kind of evidence.
func testified(t *testing.T, s *Store) {
	t.Helper()
	write(t, s, func(tx *Tx) error {
		return errors.Join(
			tx.PutMinutes([]Minute{minuteOf("s001", 0, `{"n":1}`), minuteOf("s001", 1, `{"n":2}`)}),
			tx.AppendTape("1/dev", 0, []byte{0, 255, 1}),
			tx.PutTrace(delivery.Trace{ID: "4bf92f3577b34da6a3ce929d0e0e4736", Change: 1, Release: "r1", At: minute}),
		)
	})
}

// Every schema that was ever shipped is opened and keeps all it knew.
func TestUpgrade(t *testing.T) {
	kept, err := filepath.Glob("testdata/schema*.db")
	if err != nil {
		t.Fatal(err)
	}
	if *keep {
		keepDatabase(t)
	}
	if len(kept) == 0 && !*keep {
		t.Fatal("testdata holds no database to upgrade")
	}
	for _, name := range kept {
		t.Run(filepath.Base(name), func(t *testing.T) {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			doc, err := os.ReadFile(strings.TrimSuffix(name, ".db") + ".json")
			if err != nil {
				t.Fatal(err)
			}
			var want memory
			if err := json.Unmarshal(doc, &want); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "slipway.db")
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			s := reopen(t, path)
			same(t, "what is remembered", remembered(t, s), want)
			found := must[[]delivery.Change](t)(s.Changes(t.Context(), ChangeQuery{From: noon, To: noon.Add(time.Hour), States: delivery.States()}))
			same(t, "changes that are searched for", found, want.Changes)
			n := int64(len(want.Events))
			write(t, s, func(*Tx) error { return nil })
			r := must[[]delivery.Rollout](t)(s.Rollouts(t.Context(), RolloutQuery{Env: "prod"}))[0]
			r.State = delivery.Starting
			write(t, s, func(tx *Tx) error { _, err := tx.SaveRollout(r); return err })
			if report := must[Report](t)(s.Verify(t.Context())); report.Broken != nil || report.Lines != n+2 {
				t.Errorf("Verify = %+v, want %d whole lines", report, n+2)
			}
		})
	}
}

func keepDatabase(t *testing.T) {
	t.Helper()
	all, err := filepath.Glob("migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	newest, err := goose.NumericComponent(filepath.Base(all[len(all)-1]))
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join("testdata", fmt.Sprint("schema", newest))
	if _, err := os.Stat(name + ".db"); err == nil {
		t.Logf("%s.db is there already", name)
		return
	}
	path := filepath.Join(t.TempDir(), "slipway.db")
	s := reopen(t, path)
	lived(t, s)
	doc, err := json.MarshalIndent(remembered(t, s), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(name+".db", b, 0o644), os.WriteFile(name+".json", doc, 0o644)); err != nil {
		t.Fatal(err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "slipway.db")
	s := reopen(t, path)
	if err := s.Write(t.Context(), func(tx *Tx) error {
		tx.book("")
		_, err := tx.exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, TRUE)`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), path)
	complains(t, err, path, "newer Slipway: its schema is 99, this one knows 1 to 5")
}

// A process that died while it made the database leaves nothing in the way.
func TestInterruptedCreationStartsAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "slipway.db")
	for _, suffix := range []string{".new", ".new-wal", ".lock"} {
		f, err := os.Create(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(f, "half")
		f.Close()
	}
	s := reopen(t, path)
	write(t, s, func(*Tx) error { return nil })
}
