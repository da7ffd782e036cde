package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

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

// Report is what a walk over the ledger found.
type Report struct {
	Lines  int64  `json:"lines"`            // that hold, from the first on
	Head   string `json:"head"`             // hash of the last of them
	Broken *Break `json:"broken,omitempty"` // nil: the whole chain holds
}

// Proof is how far the ledger is proven, and when every line of that was looked at.
type Proof struct {
	Report

	Walked time.Time // when the whole ledger was walked
	Whole  int64     // lines of that walk; those after them were walked once, later

	seen Head  // the furthest line that was ever proven
	read int64 // lines that the last walk read
}

// Verify walks the whole ledger, computes every hash again and names the first
// line that does not hold. Only someone who rewrote every later line and the
// head could escape it; a Head kept elsewhere shows that too, and so does the one
// that was proven before. The error is about reading, never about what was found.
func (s *Store) Verify(ctx context.Context) (Report, error) {
	proof, err := s.prove(ctx, true)
	return proof.Report, wrap("verify", err)
}

// Proven is what Verify found, and what was written since: only that is walked,
// so that asking often costs what is new. The first one to ask, and everyone while
// the ledger is broken, walks all of it.
func (s *Store) Proven(ctx context.Context) (Proof, error) {
	proof, err := s.prove(ctx, false)
	return proof, wrap("proof", err)
}

// prove walks what comes after what is known to hold, or anew from the first line.
func (s *Store) prove(ctx context.Context, anew bool) (next Proof, err error) {
	was := s.proof.Load()
	var seen Head
	if was != nil {
		seen = was.seen
	}
	err = s.snapshot(ctx, func(q querier) error {
		end, err := head(ctx, q)
		if err != nil {
			return err
		}
		lost, err := seen.lost(ctx, q)
		if err != nil {
			return err
		}
		if !anew && was != nil && was.Lines > 0 && was.Broken == nil && lost == nil {
			next = *was
			if err := next.walk(ctx, q, end); err != nil || next.Broken == nil {
				return err
			}
		}
		next = Proof{Walked: time.Now()} // lines before what is broken may be so too
		if err := next.walk(ctx, q, end); err != nil {
			return err
		}
		if next.Whole = next.Lines; next.Broken == nil {
			next.Broken = lost
		}
		return nil
	})
	if err != nil {
		return Proof{}, err
	}
	if next.Broken != nil {
		next.seen = seen
		s.proof.Store(&next)
		return next, nil
	}
	next.seen = Head{Seq: next.Lines, Hash: next.Head}
	s.proof.CompareAndSwap(was, &next) // else somebody looked meanwhile, and may have found more
	return next, nil
}

// walk goes on where p ends, to the end of the ledger or to the first line that
// does not hold.
func (p *Proof) walk(ctx context.Context, q querier, end Head) error {
	p.read = 0
	for {
		last := Head{Seq: p.Lines, Hash: p.Head}
		page, err := lines(ctx, q, last.Seq)
		if err != nil {
			return err
		}
		p.read += int64(len(page))
		for _, l := range page {
			if p.Broken = l.check(last); p.Broken != nil {
				return nil
			}
			last = Head{Seq: l.seq, Hash: l.hash}
			p.Lines, p.Head = l.seq, l.hash
		}
		if len(page) == 0 {
			p.Broken = checkEnd(last, end)
			return nil
		}
	}
}

// lost says whether the line that was proven before is there no more as it was.
func (h Head) lost(ctx context.Context, q querier) (*Break, error) {
	if h.Seq == 0 {
		return nil, nil
	}
	var now Head
	there, err := first(ctx, q, []any{&now.Seq, &now.Hash}, `SELECT seq, hash FROM events WHERE seq = $1`, h.Seq)
	switch {
	case err != nil || now == h:
		return nil, err
	case !there:
		return &Break{Seq: h.Seq, Fault: Cut, Why: "it was there when it was last proven"}, nil
	}
	return &Break{Seq: h.Seq, Fault: Changed, Why: "it was another line when it was last proven"}, nil
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
