package store

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// What says who may ask is refused where it is not whole, and a token that is made or
// taken back without a line in the ledger is not kept.
func TestAccessIsWholeAndRecorded(t *testing.T) {
	s := openStore(t)
	tok := delivery.Token{Name: "ci", Access: delivery.Reader, By: "ann", Created: noon}
	if err := s.Write(t.Context(), func(tx *Tx) error { return tx.PutToken("h", tok) }); !errors.Is(err, ErrUnrecorded) {
		t.Errorf("PutToken without a line = %v, want ErrUnrecorded", err)
	}
	write(t, s, func(tx *Tx) error { return tx.PutToken("h", tok) })
	if err := s.Write(t.Context(), func(tx *Tx) error { _, err := tx.RevokeToken("ci", delivery.Revoked{By: "ann", At: noon}); return err }); !errors.Is(err, ErrUnrecorded) {
		t.Errorf("RevokeToken without a line = %v, want ErrUnrecorded", err)
	}
	if got, found, err := s.Token(t.Context(), "h"); err != nil || !found || got.Revoked != nil {
		t.Errorf("Token = %+v %v %v, want it in force", got, found, err)
	}
	for name, fn := range map[string]func(tx *Tx) error{
		"no hash": func(tx *Tx) error {
			return tx.PutToken("", delivery.Token{Name: "x", Access: delivery.Reader, Created: noon})
		},
		"no name":           func(tx *Tx) error { return tx.PutToken("x", delivery.Token{Access: delivery.Reader, Created: noon}) },
		"no access":         func(tx *Tx) error { return tx.PutToken("x", delivery.Token{Name: "x", Created: noon}) },
		"name taken":        func(tx *Tx) error { return tx.PutToken("x", tok) },
		"session of nobody": func(tx *Tx) error { return tx.PutSession(Session{ID: "s", Value: "v", Seen: noon}, noon) },
		"session of no value": func(tx *Tx) error {
			return tx.PutSession(Session{ID: "s", Token: "h", Seen: noon}, noon)
		},
		"link of nobody": func(tx *Tx) error { return tx.PutLink("c", Link{Name: "ann", Ends: noon}, noon) },
	} {
		if err := record(t, s, fn); !errors.Is(err, delivery.ErrInvalid) {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
}

// Sessions and links need no line; what has ended goes by itself, and a token has at
// most MaxSessions.
func TestSessionsGo(t *testing.T) {
	s := openStore(t)
	put := func(id, token string, seen, ends time.Time) {
		t.Helper()
		if err := s.Write(t.Context(), func(tx *Tx) error {
			return tx.PutSession(Session{ID: id, Token: token, Value: "v" + id, Seen: seen, Opened: noon, Turned: noon}, ends)
		}); err != nil {
			t.Fatal(err)
		}
	}
	there := func(id string) bool {
		t.Helper()
		_, found, err := s.SessionOf(t.Context(), "v"+id)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	put("short", "h", noon, noon.Add(time.Hour))
	put("other", "g", noon, noon.Add(1000*time.Hour))
	for i := range MaxSessions + 5 {
		at := noon.Add(time.Duration(i+1) * time.Minute)
		put(fmt.Sprint(i), "h", at, at.Add(time.Hour*1000))
	}
	for id, want := range map[string]bool{"short": false, "other": true, "4": false, "5": true, fmt.Sprint(MaxSessions + 4): true} {
		if there(id) != want {
			t.Errorf("session %s is there: %v, want %v", id, !want, want)
		}
	}
	if err := s.Write(t.Context(), func(tx *Tx) error { return tx.DropSession("other") }); err != nil || there("other") {
		t.Errorf("DropSession = %v, and it is there: %v", err, there("other"))
	}

	write(t, s, func(tx *Tx) error {
		return errors.Join(tx.PutLink("old", Link{Token: "h", Ends: noon}, noon), tx.PutLink("new", Link{Token: "h", Ends: noon.Add(time.Hour)}, noon.Add(time.Minute)))
	})
	for hash, want := range map[string]bool{"old": false, "new": true, "other": false} {
		for range 2 {
			write(t, s, func(tx *Tx) error {
				l, found, err := tx.TakeLink(hash)
				if found != want || found && l.Token != "h" {
					t.Errorf("TakeLink(%s) = %+v %v, want %v", hash, l, found, want)
				}
				return err
			})
			want = false
		}
	}
}
