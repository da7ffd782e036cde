package store

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// MaxSessions is how many sessions one token has at most; the one that was used
// longest ago makes room.
const MaxSessions = 100

// Session is a browser that is signed in. What it shows is a value that is known
// by its hash only, and that is replaced from time to time: the one before it,
// and one that was handed out and not shown yet, are known too.
type Session struct {
	ID     string    `json:"id"`
	Name   string    `json:"name"`          // whom the ledger names
	Token  string    `json:"token"`         // hash of the token that it was opened with
	Value  string    `json:"value"`         // hash of the value in force
	Old    string    `json:"old,omitempty"` // of the one before it
	New    string    `json:"new,omitempty"` // of the one handed out last
	Secure bool      `json:"secure"`        // opened over TLS
	Opened time.Time `json:"opened"`
	Seen   time.Time `json:"seen"`            // last use, give or take a minute
	Turned time.Time `json:"turned"`          // when Value came into force
	Handed time.Time `json:"handed,omitzero"` // when New was handed out
}

// Link is a way in that opens one session for who asked for it.
type Link struct {
	Name  string    `json:"name"`  // whom the ledger will name
	Token string    `json:"token"` // hash of the token that it was asked for with
	Ends  time.Time `json:"ends"`
}

// PutToken keeps a new token under the hash of what opens it. A name that a token
// in force has is refused with a *delivery.FieldError; one that opens nothing any
// more makes room.
func (t *Tx) PutToken(hash string, tok delivery.Token) error {
	what := "put token " + tok.Name
	if hash == "" || tok.Name == "" || tok.Created.IsZero() || !tok.Access.Allows(delivery.Reader) {
		return fmt.Errorf("store: %s: %w", what, delivery.Invalid("token", "needs a hash, a name, an access and a time"))
	}
	old, found, err := one[delivery.Token](t.w.ctx, t, selectNamed, tok.Name)
	switch {
	case err != nil:
		return wrap(what, err)
	case found && old.InForce(tok.Created):
		return fmt.Errorf("store: %s: %w", what, delivery.InvalidNext("name", "there is a token "+tok.Name+" already", "slipway token revoke "+tok.Name))
	case found:
		if _, err := t.exec(`UPDATE tokens SET active = FALSE WHERE name = $1 AND active`, tok.Name); err != nil {
			return wrap(what, err)
		}
	}
	doc, err := document(tok)
	if err != nil {
		return wrap(what, err)
	}
	_, err = t.exec(`INSERT INTO tokens (hash, name, created, active, doc) VALUES ($1, $2, $3, TRUE, $4)`, hash, tok.Name, tok.Created.Unix(), doc)
	t.touch("token "+tok.Name, "")
	return wrap(what, err)
}

// RevokeToken takes a token back, ends the sessions that were opened with it and
// returns it. A name that no token has, or had last, is refused with CodeUnknownToken
// or, when it was taken back before, with CodeNothingToDo.
func (t *Tx) RevokeToken(name string, r delivery.Revoked) (delivery.Token, error) {
	what := "revoke token " + name
	var hash string
	found, err := first(t.w.ctx, t, []any{&hash}, `SELECT hash FROM tokens WHERE name = $1 ORDER BY active DESC, created DESC LIMIT 1`, name)
	if err != nil {
		return delivery.Token{}, wrap(what, err)
	}
	if !found {
		return delivery.Token{}, &delivery.Refusal{Code: delivery.CodeUnknownToken, Field: "name", Why: fmt.Sprintf("there is no token %q", name), Next: "slipway token list"}
	}
	tok, _, err := t.Token(t.w.ctx, hash)
	if err != nil {
		return tok, err
	}
	if tok.Revoked != nil {
		return tok, &delivery.Refusal{Code: delivery.CodeNothingToDo, Field: "name", Why: name + " was revoked by " + tok.Revoked.By + " already", Next: "slipway token list"}
	}
	tok.Revoked = &r
	doc, err := document(tok)
	if err != nil {
		return tok, wrap(what, err)
	}
	if _, err := t.exec(`UPDATE tokens SET active = FALSE, doc = $1 WHERE hash = $2`, doc, hash); err != nil {
		return tok, wrap(what, err)
	}
	t.touch("token "+name, "")
	if _, err := t.exec(`DELETE FROM sessions WHERE token_hash = $1`, hash); err != nil {
		return tok, wrap(what, err)
	}
	_, err = t.exec(`DELETE FROM links WHERE token_hash = $1`, hash)
	return tok, wrap(what, err)
}

// NoteToken remembers that a token was used. It needs no line in the ledger.
func (t *Tx) NoteToken(hash string, at time.Time) error {
	tok, found, err := t.Token(t.w.ctx, hash)
	if err != nil || !found || tok.Used != nil && !at.After(*tok.Used) {
		return err
	}
	tok.Used = &at
	doc, err := document(tok)
	if err != nil {
		return wrap("note token", err)
	}
	_, err = t.exec(`UPDATE tokens SET doc = $1 WHERE hash = $2`, doc, hash)
	t.book("")
	return wrap("note token", err)
}

// Token returns the token that is opened by what has this hash, if there is one.
func (r Reader) Token(ctx context.Context, hash string) (tok delivery.Token, found bool, err error) {
	tok, found, err = one[delivery.Token](ctx, r.q, `SELECT doc FROM tokens WHERE hash = $1`, hash)
	return tok, found, wrap("token", err)
}

// Tokens returns tokens, newest first, with those that open nothing any more.
func (r Reader) Tokens(ctx context.Context) ([]delivery.Token, error) {
	list, err := all[delivery.Token](ctx, r.q, `SELECT doc FROM tokens ORDER BY active DESC, created DESC, hash LIMIT $1`, MaxLimit)
	return list, wrap("tokens", err)
}

const selectNamed = `SELECT doc FROM tokens WHERE name = $1 AND active`

// PutSession keeps a session, in the place of what was known of it. ends is when
// it may be forgotten; what has ended is forgotten now. It needs no line in the
// ledger.
func (t *Tx) PutSession(s Session, ends time.Time) error {
	if s.ID == "" || s.Value == "" || s.Token == "" || s.Seen.IsZero() {
		return fmt.Errorf("store: put session: %w", delivery.Invalid("session", "needs an ID, a value, a token and a time"))
	}
	doc, err := document(s)
	if err != nil {
		return wrap("put session", err)
	}
	if _, err := t.exec(`INSERT INTO sessions (id, token_hash, hash, old_hash, new_hash, seen, ends, doc) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (id) DO UPDATE SET hash = excluded.hash, old_hash = excluded.old_hash, new_hash = excluded.new_hash,
			seen = excluded.seen, ends = excluded.ends, doc = excluded.doc`,
		s.ID, s.Token, s.Value, s.Old, s.New, s.Seen.Unix(), ends.Unix(), doc); err != nil {
		return wrap("put session", err)
	}
	t.book("")
	if _, err := t.exec(`DELETE FROM sessions WHERE ends <= $1`, s.Seen.Unix()); err != nil {
		return wrap("put session", err)
	}
	_, err = t.exec(`DELETE FROM sessions WHERE id IN
		(SELECT id FROM sessions WHERE token_hash = $1 ORDER BY seen DESC, id LIMIT $2 OFFSET $3)`, s.Token, stride, MaxSessions)
	return wrap("put session", err)
}

// DropSession forgets a session. It needs no line in the ledger.
func (t *Tx) DropSession(id string) error {
	_, err := t.exec(`DELETE FROM sessions WHERE id = $1`, id)
	t.book("")
	return wrap("drop session", err)
}

// Session returns the session with this ID, if it is kept.
func (r Reader) Session(ctx context.Context, id string) (s Session, found bool, err error) {
	s, found, err = one[Session](ctx, r.q, `SELECT doc FROM sessions WHERE id = $1`, id)
	return s, found, wrap("session", err)
}

// SessionOf returns the session that knows a value with this hash, be it the one
// in force, the one before it or the one handed out, if there is one.
func (r Reader) SessionOf(ctx context.Context, hash string) (s Session, found bool, err error) {
	s, found, err = one[Session](ctx, r.q, `SELECT doc FROM sessions WHERE hash = $1 OR old_hash = $1 OR new_hash = $1 LIMIT 1`, hash)
	return s, found, wrap("session", err)
}

// PutLink keeps a sign-in link under the hash of its code, and forgets those that
// have ended at now. It needs no line in the ledger.
func (t *Tx) PutLink(hash string, l Link, now time.Time) error {
	if hash == "" || l.Token == "" || l.Ends.IsZero() {
		return fmt.Errorf("store: put link: %w", delivery.Invalid("link", "needs a hash, a token and an end"))
	}
	doc, err := document(l)
	if err != nil {
		return wrap("put link", err)
	}
	if _, err := t.exec(`DELETE FROM links WHERE ends < $1`, now.Unix()); err != nil {
		return wrap("put link", err)
	}
	_, err = t.exec(`INSERT INTO links (hash, token_hash, ends, doc) VALUES ($1, $2, $3, $4)`, hash, l.Token, l.Ends.Unix(), doc)
	t.book("")
	return wrap("put link", err)
}

// TakeLink returns the link with this hash and forgets it: nobody finds it again.
func (t *Tx) TakeLink(hash string) (l Link, found bool, err error) {
	l, found, err = t.Link(t.w.ctx, hash)
	if err != nil || !found {
		return l, found, err
	}
	_, err = t.exec(`DELETE FROM links WHERE hash = $1`, hash)
	t.book("")
	return l, true, wrap("take link", err)
}

// Link returns the link with this hash, if it is kept.
func (r Reader) Link(ctx context.Context, hash string) (l Link, found bool, err error) {
	l, found, err = one[Link](ctx, r.q, `SELECT doc FROM links WHERE hash = $1`, hash)
	return l, found, wrap("link", err)
}
