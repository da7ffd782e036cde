package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
)

// maxGroup bounds how many writes share one commit, so that the first of them
// is not kept waiting by those that keep coming.
const maxGroup = 256

// errGone is how a write ends whose goroutine ended within it.
var errGone = errors.New("the goroutine of the write ended within it")

// call is one write on its way through the writer.
type call struct {
	turn chan *Tx   // the writer hands over the transaction
	ran  chan error // how the function ended
	done chan error // how the commit ended
}

// Write runs fn in the goroutine of the caller, on the one transaction that
// writes, and returns when what fn wrote is on the disk. All of fn is kept or
// none. Writes that come at the same time share one commit; an error or a panic
// in fn takes back its own part only.
//
// A ctx that ends before fn began means that nothing was written, and the error
// is that of ctx. From there on ctx is no longer looked at and the result is
// what happened. Every other write waits for fn: it must neither wait for
// anything nor call Write.
//
// A write that changed state without a line in the ledger is refused with
// ErrUnrecorded; Allot, Counter, Remember, MarkAcked, evidence, sessions
// and links need no line.
func (s *Store) Write(ctx context.Context, fn func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("store: write: %w", err)
	}
	c := &call{turn: make(chan *Tx, 1), ran: make(chan error, 1), done: make(chan error, 1)}
	select {
	case s.queue <- c:
	case <-ctx.Done():
		return fmt.Errorf("store: write: %w", ctx.Err())
	case <-s.closing:
		return ErrClosed
	}
	select {
	case tx := <-c.turn:
		c.run(tx, fn)
	case err := <-c.done:
		return err
	}
	return <-c.done
}

// run calls fn and always says how it ended, so that the writer never waits for
// a function that is gone.
func (c *call) run(tx *Tx, fn func(*Tx) error) {
	err := errGone
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Value: p, Stack: debug.Stack()}
		}
		tx.over = true
		c.ran <- err
	}()
	err = fn(tx)
}

// writer owns the connection that writes. Its loop is the only goroutine that
// uses it, but for the function of a write while it has its turn.
type writer struct {
	path    string
	conn    *sql.Conn
	ctx     context.Context // never ends: no statement is cut off in the middle of a group
	stmts   map[string]*sql.Stmt
	group   group
	head    Head       // of the ledger, as committed
	broken  error      // the disk failed a commit: what it holds is known only after opening it again
	witness func(Head) // tells the lock file where the ledger ends
	bell    *bell
	commits atomic.Int64
}

// group is what the writes of one commit add up to.
type group struct {
	head    Head            // of the ledger
	parts   map[string]bool // of the world, touched
	changed bool
}

func (g group) clone() group {
	parts := make(map[string]bool, len(g.parts))
	for p := range g.parts {
		parts[p] = true
	}
	g.parts = parts
	return g
}

// loop serves writes until closing.
func (w *writer) loop(queue <-chan *call, closing <-chan struct{}) {
	for {
		select {
		case c := <-queue:
			w.serve(c, queue)
		case <-closing:
			return
		}
	}
}

// serve runs c and those that wait behind it in one transaction.
func (w *writer) serve(c *call, queue <-chan *call) {
	if w.broken != nil {
		c.done <- w.broken
		return
	}
	w.group = group{head: w.head, parts: map[string]bool{}}
	if err := w.exec("BEGIN IMMEDIATE"); err != nil {
		c.done <- fmt.Errorf("store: begin: %w", explain(w.path, err))
		return
	}
	var kept []*call
	for n := 1; c != nil; n++ {
		err, lost := w.one(c)
		if lost != nil {
			w.give(append(kept, c), w.abandon(lost))
			return
		}
		if err != nil {
			c.done <- err
		} else {
			kept = append(kept, c)
		}
		c = nil
		if n < maxGroup {
			select {
			case c = <-queue:
			default:
			}
		}
	}
	w.give(kept, w.commit())
}

// give tells calls how the commit ended.
func (w *writer) give(calls []*call, err error) {
	for _, c := range calls {
		c.done <- err
	}
}

// one runs one write in a savepoint of its own. lost says that the whole
// transaction is gone.
func (w *writer) one(c *call) (err, lost error) {
	before := w.group.clone()
	if err := w.exec("SAVEPOINT one"); err != nil {
		return nil, err
	}
	tx := &Tx{w: w}
	tx.Reader = Reader{tx}
	c.turn <- tx
	err = <-c.ran
	if err == nil {
		err = tx.complete()
	}
	if err == nil {
		return nil, w.exec("RELEASE SAVEPOINT one")
	}
	w.group = before
	if lost := w.exec("ROLLBACK TO SAVEPOINT one"); lost != nil {
		return nil, errors.Join(err, lost)
	}
	return err, w.exec("RELEASE SAVEPOINT one")
}

// commit makes the group durable.
func (w *writer) commit() error {
	if !w.group.changed {
		return w.exec("ROLLBACK")
	}
	if err := w.flush(); err != nil {
		return w.abandon(err)
	}
	if err := w.exec("COMMIT"); err != nil {
		return w.abandon(err)
	}
	w.commits.Add(1)
	if w.head != w.group.head {
		w.head = w.group.head
		w.witness(w.head)
	}
	w.bell.ring()
	return nil
}

// flush writes what the whole group shares: the end of the ledger and the
// revisions of the parts it touched.
func (w *writer) flush() error {
	if h := w.group.head; h != w.head {
		if err := w.exec(`UPDATE ledger_heads SET seq = $1, hash = $2 WHERE id = 1`, h.Seq, h.Hash); err != nil {
			return err
		}
	}
	for part := range w.group.parts {
		if err := w.exec(`UPDATE revisions SET n = n + 1 WHERE part = $1`, part); err != nil {
			return err
		}
	}
	return nil
}

// abandon takes back the whole group. After an error of the disk it is not
// known what the disk holds, so nothing more is written until it is read again.
func (w *writer) abandon(cause error) error {
	err := fmt.Errorf("store: write: %w", explain(w.path, cause))
	if code := codeOf(cause); code == codeIO || code == codeCorrupt || code == codeNotADB {
		w.broken = err
	}
	_ = w.exec("ROLLBACK") // fails when the engine has already taken it back
	return err
}

// stmt returns the prepared statement with this text.
func (w *writer) stmt(text string) (*sql.Stmt, error) {
	if st, ok := w.stmts[text]; ok {
		return st, nil
	}
	st, err := w.conn.PrepareContext(w.ctx, text)
	if err != nil {
		return nil, err
	}
	w.stmts[text] = st
	return st, nil
}

func (w *writer) exec(text string, args ...any) error {
	st, err := w.stmt(text) //nolint:sqlclosecheck // the writer keeps it
	if err != nil {
		return err
	}
	_, err = st.ExecContext(w.ctx, args...)
	return err
}

// forget lets go of the prepared statements.
func (w *writer) forget() error {
	var errs []error
	for _, st := range w.stmts {
		errs = append(errs, st.Close())
	}
	return errors.Join(errs...)
}
