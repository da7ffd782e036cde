package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
)

// readers is the number of connections that read. More than four only wait for
// one another on a small machine.
const readers = 4

// Store is one open database. It is safe for use by many goroutines.
type Store struct {
	Reader
	path    string
	pool    *pool
	bell    bell
	world   atomic.Pointer[world] // what the last Snapshot read
	proof   atomic.Pointer[Proof] // what the last walk over the ledger found
	writer  *writer
	queue   chan *call
	closing chan struct{}
	close   func() error
}

// Open opens the database at path, makes it if there is none, and brings its
// schema up to date. The folder is made for its owner only. A file that is not
// a whole database of Slipway, one written by a newer Slipway, one in use by
// another process and one that lost what was acknowledged are refused with a
// *FileError. An open store keeps path.lock locked; ctx bounds the opening only.
func Open(ctx context.Context, path string) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("store: open: %w", err)
	}
	s := &Store{path: path, queue: make(chan *call), closing: make(chan struct{})}
	var undo undoing
	if err := s.open(ctx, &undo); err != nil {
		return nil, fmt.Errorf("store: open: %w", errors.Join(explain(path, err), undo.run()))
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.writer.loop(s.queue, s.closing)
	}()
	s.close = sync.OnceValue(func() error {
		close(s.closing)
		<-stopped
		return wrap("close", undo.run())
	})
	return s, nil
}

// Close waits for the write under way, lets go of the file and refuses what
// comes later. Closing twice is closing once.
func (s *Store) Close() error { return s.close() }

// Commits counts the commits since the store was opened. What was read after it was
// asked is no older than what it counts: readers know by it whether to read again.
func (s *Store) Commits() int64 { return s.writer.commits.Load() }

// Subscribe returns a channel that receives a value soon after each commit,
// until ctx ends. It is a bell, not a queue: commits that come while the
// subscriber is busy ring once.
func (s *Store) Subscribe(ctx context.Context) <-chan struct{} { return s.bell.subscribe(ctx) }

// open puts the parts of s together and notes in undo how to take each apart.
func (s *Store) open(ctx context.Context, undo *undoing) error {
	lock, err := takeLock(s.path)
	if err != nil {
		return err
	}
	undo.add(lock.close)
	last, err := ready(ctx, s.path, lock)
	if err != nil {
		return err
	}
	db, err := sql.Open("sqlite", dsn(s.path, writing))
	if err != nil {
		return err
	}
	undo.add(db.Close)
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	undo.add(conn.Close)
	rdb, err := sql.Open("sqlite", dsn(s.path, reading))
	if err != nil {
		return err
	}
	undo.add(rdb.Close)
	rdb.SetMaxOpenConns(readers)
	rdb.SetMaxIdleConns(readers)
	s.pool = &pool{path: s.path, db: rdb}
	s.Reader = Reader{s.pool}
	for _, text := range viewed() {
		if _, err := s.pool.stmt(ctx, text); err != nil { //nolint:sqlclosecheck // the pool keeps it
			return err
		}
	}
	s.writer = &writer{
		path: s.path, conn: conn, ctx: context.WithoutCancel(ctx), stmts: map[string]*sql.Stmt{},
		head: last, witness: lock.note, bell: &s.bell,
	}
	undo.add(s.writer.forget)
	return nil
}

// undoing is what has to be done to take apart what was opened, in reverse.
type undoing []func() error

func (u *undoing) add(f func() error) { *u = append(*u, f) }

func (u *undoing) run() error {
	var errs []error
	for _, f := range slices.Backward(*u) {
		errs = append(errs, f())
	}
	*u = nil
	return errors.Join(errs...)
}

// pool is the connections that read. It prepares each text once.
type pool struct {
	path  string
	db    *sql.DB
	stmts sync.Map // text -> *sql.Stmt
}

func (p *pool) stmt(ctx context.Context, text string) (*sql.Stmt, error) {
	if st, ok := p.stmts.Load(text); ok {
		return st.(*sql.Stmt), nil
	}
	st, err := p.db.PrepareContext(ctx, text)
	if err != nil {
		return nil, explain(p.path, err)
	}
	if other, loaded := p.stmts.LoadOrStore(text, st); loaded {
		return other.(*sql.Stmt), st.Close() //nolint:sqlclosecheck // of two made at once one is kept
	}
	return st, nil
}

func (p *pool) query(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	st, err := p.stmt(ctx, text) //nolint:sqlclosecheck // the pool keeps it
	if err != nil {
		return nil, err
	}
	rows, err := st.QueryContext(ctx, args...)
	return rows, explain(p.path, err)
}

// view reads from one moment: everything it returns was true at the same time.
type view struct {
	pool *pool
	tx   *sql.Tx
}

// query prepares nothing on the pool: when every connection is a view, each
// would wait for one that another has.
func (v view) query(ctx context.Context, text string, args ...any) (rows *sql.Rows, err error) {
	if st, ok := v.pool.stmts.Load(text); ok {
		rows, err = v.tx.StmtContext(ctx, st.(*sql.Stmt)).QueryContext(ctx, args...) //nolint:sqlclosecheck // it ends with the transaction
	} else {
		rows, err = v.tx.QueryContext(ctx, text, args...)
	}
	return rows, explain(v.pool.path, err)
}

// snapshot calls fn with a view of the last commit.
func (s *Store) snapshot(ctx context.Context, fn func(querier) error) error {
	tx, err := s.pool.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return explain(s.path, err)
	}
	defer tx.Rollback()
	return fn(view{s.pool, tx})
}

// bell tells many that something happened and waits for none of them.
type bell struct {
	mu   sync.Mutex
	subs map[chan struct{}]bool
}

func (b *bell) subscribe(ctx context.Context) <-chan struct{} {
	c := make(chan struct{}, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.subs == nil {
		b.subs = map[chan struct{}]bool{}
	}
	b.subs[c] = true
	context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.subs, c)
	})
	return c
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.subs {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
