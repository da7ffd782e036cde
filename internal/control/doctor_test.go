package control

import (
	"fmt"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

// Doctor walks what is new in the ledger, and says when all of it was walked.
func TestLedgerFinding(t *testing.T) {
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "s.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	l := New(Deps{Store: s})
	add := func() {
		if err := s.Write(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Append(delivery.Event{At: time.Now(), Kind: delivery.EventServer, Text: "started"})
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	says := func(want string) {
		t.Helper()
		if f := l.ledgerFinding(t.Context()); f.Outcome != FindOK || !regexp.MustCompile("^"+want+"$").MatchString(f.What) {
			t.Errorf("finding = %+v, want %q", f, want)
		}
	}
	const at = `20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC`
	says("the ledger is empty")
	add()
	add()
	says("2 lines, chain intact: all were walked at " + at)
	for n := range 2 {
		add()
		says(fmt.Sprintf("%d lines, chain intact: the first 2 were walked at %s, %d since then", n+3, at, n+1))
	}
	if _, err := s.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	says("4 lines, chain intact: all were walked at " + at)
}
