package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Head is the end of the ledger. A copy kept elsewhere proves later that
// nothing before it was rewritten.
type Head struct {
	Seq  int64  `json:"seq"`  // 0: the ledger is empty
	Hash string `json:"hash"` // 64 hex digits
}

// Append adds one line to the ledger and returns it with its Seq, Prev and
// Hash. A line whose Key is in the ledger already is not written again: the old
// line is returned, and does not count as the record of what this write changed.
func (t *Tx) Append(e delivery.Event) (delivery.Event, error) {
	if e.Kind == "" || e.At.IsZero() {
		return e, fmt.Errorf("store: append: %w", delivery.Invalid("event", "needs a kind and a time"))
	}
	if e.Key != "" {
		old, err := events(t.w.ctx, t, `SELECT doc, hash FROM events WHERE event_key = $1`, e.Key)
		if err != nil {
			return e, wrap("append", err)
		}
		if len(old) > 0 {
			return old[0], nil
		}
	}
	head := t.w.group.head
	e.At = e.At.UTC()
	e.Seq, e.Prev, e.Hash = head.Seq+1, head.Hash, ""
	doc, err := document(e)
	if err != nil {
		return e, fmt.Errorf("store: append: %w", delivery.Invalid("event.data", "is not JSON: "+err.Error()))
	}
	head = Head{Seq: e.Seq, Hash: link(e.Prev, doc)}
	var key any // NULL: lines without a key are never the same
	if e.Key != "" {
		key = e.Key
	}
	_, err = t.exec(`INSERT INTO events (seq, change_id, rollout_id, service, env, event_key, doc, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		e.Seq, e.Change, e.Rollout, e.Service, e.Env, key, doc, head.Hash)
	if err == nil && e.Kind == delivery.EventProject {
		_, err = t.exec(`UPDATE projects SET line = $1 WHERE id = 1`, e.Seq)
	}
	if err != nil {
		return e, wrap("append", err)
	}
	t.w.group.head = head
	t.recorded++
	t.book("")
	var kept delivery.Event // as it will be read
	err = json.Unmarshal([]byte(doc), &kept)
	kept.Hash = head.Hash
	return kept, wrap("append", err)
}

// link returns the hash of a line: SHA-256 of the hash before it, in hex,
// followed by the line as JSON with an empty hash.
func link(prev, doc string) string {
	sum := sha256.Sum256([]byte(prev + doc))
	return hex.EncodeToString(sum[:])
}

// Fault says how the ledger is broken.
type Fault string

// The faults of a ledger.
const (
	Changed   Fault = "changed"   // the line does not match its hash
	Missing   Fault = "missing"   // lines are gone before this one
	Reordered Fault = "reordered" // the line belongs elsewhere
	Cut       Fault = "cut"       // lines are gone at the end
)

// Break is the first place where the chain does not hold.
type Break struct {
	Seq   int64  `json:"seq"` // of the line, or of the first one that is gone
	Fault Fault  `json:"fault"`
	Why   string `json:"why"`
}

// Report is what Verify found.
type Report struct {
	Lines  int64  `json:"lines"`            // that hold, from the first on
	Head   string `json:"head"`             // hash of the last of them
	Broken *Break `json:"broken,omitempty"` // nil: the whole chain holds
}

// Verify walks the whole ledger, computes every hash again and names the first
// line that does not hold. Only someone who rewrote every later line and the
// head could escape it; a Head kept elsewhere shows that too. The error is about
// reading, never about what was found.
func (s *Store) Verify(ctx context.Context) (Report, error) {
	var report Report
	err := s.snapshot(ctx, func(q querier) error {
		end, err := head(ctx, q)
		if err != nil {
			return err
		}
		var last Head
		for {
			page, err := lines(ctx, q, last.Seq)
			if err != nil {
				return err
			}
			for _, l := range page {
				if report.Broken = l.check(last); report.Broken != nil {
					return nil
				}
				last = Head{Seq: l.seq, Hash: l.hash}
				report.Lines, report.Head = l.seq, l.hash
			}
			if len(page) == 0 {
				report.Broken = checkEnd(last, end)
				return nil
			}
		}
	})
	return report, wrap("verify", err)
}

// line is one row of the ledger as it is stored.
type line struct {
	seq          int64
	change       delivery.ChangeID
	rollout      delivery.RolloutID
	service, env string
	key          string
	doc, hash    string
}

// lines returns the next rows after seq.
func lines(ctx context.Context, q querier, after int64) ([]line, error) {
	rows, err := q.query(ctx, `SELECT seq, change_id, rollout_id, service, env, COALESCE(event_key, ''), doc, hash
		FROM events WHERE seq > $1 ORDER BY seq LIMIT 1000`, after)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var page []line
	for rows.Next() {
		var l line
		if err := rows.Scan(&l.seq, &l.change, &l.rollout, &l.service, &l.env, &l.key, &l.doc, &l.hash); err != nil {
			return nil, err
		}
		page = append(page, l)
	}
	return page, rows.Err()
}

// check says whether l may follow last.
func (l line) check(last Head) *Break {
	if l.seq != last.Seq+1 {
		return &Break{Seq: last.Seq + 1, Fault: Missing, Why: fmt.Sprintf("line %d is followed by line %d", last.Seq, l.seq)}
	}
	var e delivery.Event
	if err := json.Unmarshal([]byte(l.doc), &e); err != nil {
		return &Break{Seq: l.seq, Fault: Changed, Why: "it is not JSON"}
	}
	switch own := link(e.Prev, l.doc); {
	case e.Seq != l.seq && own == l.hash:
		return &Break{Seq: l.seq, Fault: Reordered, Why: fmt.Sprintf("this is line %d", e.Seq)}
	case own != l.hash:
		return &Break{Seq: l.seq, Fault: Changed, Why: "its content does not match its hash"}
	case e.Prev != last.Hash:
		return &Break{Seq: l.seq, Fault: Reordered, Why: fmt.Sprintf("it was written after another line than line %d", last.Seq)}
	}
	if e.Seq != l.seq || e.Change != l.change || e.Rollout != l.rollout || e.Service != l.service || e.Env != l.env || e.Key != l.key {
		return &Break{Seq: l.seq, Fault: Changed, Why: "what it is found by does not match its content"}
	}
	return nil
}

// checkEnd says whether the ledger ends where it was said to end.
func checkEnd(last, end Head) *Break {
	switch {
	case last == end:
		return nil
	case last.Seq < end.Seq:
		return &Break{Seq: last.Seq + 1, Fault: Cut, Why: fmt.Sprintf("the ledger ends at line %d but %d were written", last.Seq, end.Seq)}
	case last.Seq > end.Seq:
		return &Break{Seq: end.Seq + 1, Fault: Changed, Why: fmt.Sprintf("only %d lines were written by Slipway", end.Seq)}
	}
	return &Break{Seq: last.Seq, Fault: Changed, Why: "the last line is not the one that was written"}
}

// head returns the end of the ledger as stored.
func head(ctx context.Context, q querier) (Head, error) {
	var h Head
	_, err := first(ctx, q, []any{&h.Seq, &h.Hash}, `SELECT seq, hash FROM ledger_heads WHERE id = 1`)
	return h, err
}
