package store

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
)

// addLines writes n lines at once.
func addLines(t *testing.T, s *Store, n int) {
	t.Helper()
	if err := s.Write(t.Context(), func(tx *Tx) error {
		for i := range n {
			if err := appendLine(fmt.Sprint("line ", i+1))(tx); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// Asking again reads what is new, and says when all of it was read.
func TestProvenReadsWhatIsNew(t *testing.T) {
	s := openStore(t)
	addLines(t, s, 1200) // more than a page
	first := must[Proof](t)(s.Proven(t.Context()))
	if first.read != 1200 || first.Lines != 1200 || first.Whole != 1200 || first.Walked.IsZero() || first.Broken != nil {
		t.Fatalf("the first proof = %+v, want all 1200 lines", first)
	}
	for _, n := range []int{0, 3, 0, 1} {
		before := must[Proof](t)(s.Proven(t.Context()))
		addLines(t, s, n)
		p := must[Proof](t)(s.Proven(t.Context()))
		if p.read != int64(n) || p.Lines != before.Lines+int64(n) || p.Whole != 1200 || !p.Walked.Equal(first.Walked) || p.Broken != nil {
			t.Errorf("after %d lines more the proof = %+v, want them alone to be read", n, p)
		}
	}
	report := must[Report](t)(s.Verify(t.Context()))
	p := must[Proof](t)(s.Proven(t.Context()))
	if same(t, "Proven after Verify", p.Report, report); p.read != 0 || p.Whole != 1204 || !p.Walked.After(first.Walked) {
		t.Errorf("after Verify the proof = %+v, want that all 1204 lines were walked then", p)
	}
}

// What was tampered with after it was proven is found by Verify, by the next proof
// if it is at its end, and once found it stays said.
func TestProvenFindsWhatIsBroken(t *testing.T) {
	const (
		free    = `DROP TRIGGER events_never_change; DROP TRIGGER events_never_go; `
		line4   = `UPDATE events SET doc = replace(doc, 'line 4', 'line X') WHERE seq = 4; `
		rewound = `DELETE FROM events WHERE seq = 10; UPDATE ledger_heads SET seq = 9, hash = (SELECT hash FROM events WHERE seq = 9); `
	)
	for name, c := range map[string]struct {
		tamper string
		late   bool // only Verify finds it
		want   Break
	}{
		"an old line":                {line4, true, Break{Seq: 4, Fault: Changed}},
		"the last line":              {`DELETE FROM events WHERE seq = 10`, false, Break{Seq: 10, Fault: Cut}},
		"the last line, and the end": {rewound, false, Break{Seq: 10, Fault: Cut}},
		"another last line": {
			rewound + `INSERT INTO events (seq, change_id, rollout_id, service, env, doc, hash) VALUES (10, 0, '', '', '', '', 'ab'); UPDATE ledger_heads SET seq = 10, hash = 'ab'`,
			false,
			Break{Seq: 10, Fault: Changed},
		},
		"an old line and the end": {line4 + `UPDATE ledger_heads SET hash = 'ab'`, false, Break{Seq: 4, Fault: Changed}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "slipway.db")
			s := reopen(t, path)
			addLines(t, s, 10)
			if p := must[Proof](t)(s.Proven(t.Context())); p.Broken != nil {
				t.Fatalf("a whole ledger = %+v", p.Broken)
			}
			db, err := sql.Open("sqlite", dsn(path, writing))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if _, err := db.Exec(free + c.tamper); err != nil {
				t.Fatal(err)
			}
			if c.late {
				if p := must[Proof](t)(s.Proven(t.Context())); p.Broken != nil || p.read != 0 {
					t.Errorf("Proven = %+v, which read %d lines, want nothing new", p.Broken, p.read)
				}
				if r := must[Report](t)(s.Verify(t.Context())); r.Broken == nil {
					t.Error("Verify found nothing")
				}
			}
			for range 2 {
				p := must[Proof](t)(s.Proven(t.Context()))
				if p.Broken == nil || p.Broken.Seq != c.want.Seq || p.Broken.Fault != c.want.Fault || p.Broken.Why == "" {
					t.Errorf("Proven = %+v, want %+v", p.Broken, c.want)
				}
			}
		})
	}
}
