package store

import (
	"bytes"
	"context"
	"database/sql"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// appID marks a SQLite file as a database of Slipway: "SLPW" at offset 68 of its header.
const appID = 0x534c5057

// The mark of a SQLite file, and of its write-ahead log but for the last bit,
// https://www.sqlite.org/fileformat2.html.
const (
	dbMagic  = "SQLite format 3\x00"
	walMagic = 0x377f0682
)

// What a connection does.
type use string

const (
	writing use = "&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)"
	reading use = "&_pragma=query_only(1)"
)

// dsn returns what the engine needs to know to open path.
func dsn(path string, u use) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?_pragma=busy_timeout(5000)&_pragma=cache_size(-20000)" + string(u)
}

// guards keep the ledger append-only, in the dialect of SQLite.
const guards = `
CREATE TRIGGER IF NOT EXISTS events_never_change BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER IF NOT EXISTS events_never_go BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;`

// ready sees to it that a whole database with the present schema is at path,
// and returns where its ledger ends.
func ready(ctx context.Context, path string, lock *lockFile) (Head, error) {
	there, unclean, err := inspect(path, lock.noted.Head != nil)
	if err != nil {
		return Head{}, err
	}
	if !there {
		if err := create(ctx, path); err != nil {
			return Head{}, err
		}
	}
	last, err := upgrade(ctx, path, unclean, lock.noted.Head)
	if err != nil {
		return Head{}, err
	}
	lock.note(last)
	return last, nil
}

// inspect looks at the bytes at path before the engine may touch them. had says
// that a database was there before; unclean, that the last process did not close it.
func inspect(path string, had bool) (there, unclean bool, err error) {
	unclean, err = inspectLog(path)
	if err != nil {
		return false, false, err
	}
	info, err := os.Stat(path)
	startOver := "restore it from a backup; to start empty, move every " + filepath.Base(path) + "* away"
	switch {
	case errors.Is(err, fs.ErrNotExist) && (had || unclean):
		return false, false, &FileError{Path: path, What: "is gone, but a database was there", Next: startOver}
	case errors.Is(err, fs.ErrNotExist):
		return false, false, nil
	case err != nil:
		return false, false, err
	case !info.Mode().IsRegular():
		return false, false, &FileError{Path: path, What: "is not a file", Next: "move it away or give Slipway another path"}
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false, false, &FileError{Path: path, What: "cannot be written", Next: "make the file and its folder writable for the user that runs Slipway", Err: err}
	}
	defer func() { _ = f.Close() }() // nothing is written
	header := make([]byte, 100)
	n, err := io.ReadFull(f, header)
	switch {
	case n == 0:
		return false, false, &FileError{Path: path, What: "is empty, and Slipway never leaves an empty database", Next: startOver}
	case err != nil || !bytes.HasPrefix(header, []byte(dbMagic)):
		return false, false, &FileError{Path: path, What: "is damaged or not a database", Next: startOver}
	case binary.BigEndian.Uint32(header[68:]) != appID:
		return false, false, &FileError{Path: path, What: "is a database, but not one of Slipway", Next: "give Slipway another path"}
	}
	return true, unclean, nil
}

// inspectLog looks at the write-ahead log of the database at path and reports
// whether it holds anything.
func inspectLog(path string) (bool, error) {
	name := path + "-wal"
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, &FileError{Path: name, What: "cannot be read", Next: "make the file readable for the user that runs Slipway", Err: err}
	}
	defer func() { _ = f.Close() }() // nothing is written
	header := make([]byte, 32)
	n, err := io.ReadFull(f, header)
	if n == 0 {
		return false, nil
	}
	if err != nil || binary.BigEndian.Uint32(header)&^1 != walMagic {
		return false, &FileError{
			Path: name, What: "is damaged, and the last writes are in it",
			Next: "restore " + path + " from a backup; to go on without the last writes, move this file and " + path + ".lock away",
		}
	}
	return true, nil
}

// create makes an empty database at path. It is made whole under another name
// first: a file at path is never half a database.
func create(ctx context.Context, path string) error {
	temp := path + ".new"
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(temp + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return &FileError{Path: filepath.Dir(path), What: "cannot be written", Next: "make the folder writable for the user that runs Slipway", Err: err}
	}
	defer func() { _ = f.Close() }() // what was written is synced below
	if err := onDB(temp, func(db *sql.DB) error {
		if _, err := db.ExecContext(ctx, "PRAGMA application_id = "+strconv.Itoa(appID)); err != nil {
			return err
		}
		return migrate(ctx, path, db)
	}); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// upgrade checks the database at path, brings its schema up to date and returns
// where its ledger ends. witness is where it ended at the last acknowledged write.
func upgrade(ctx context.Context, path string, unclean bool, witness *Head) (last Head, err error) {
	err = onDB(path, func(db *sql.DB) error {
		if err := whole(ctx, path, db, unclean); err != nil {
			return err
		}
		last, err = renew(ctx, path, db)
		if err != nil {
			return errors.Join(sound(ctx, path, db), err) // damage explains it best
		}
		if witness == nil {
			return nil
		}
		return testify(ctx, path, db, *witness, last)
	})
	return last, err
}

// renew brings the schema up to date and returns where the ledger ends.
func renew(ctx context.Context, path string, db *sql.DB) (Head, error) {
	if err := migrate(ctx, path, db); err != nil {
		return Head{}, err
	}
	if _, err := db.ExecContext(ctx, guards); err != nil {
		return Head{}, err
	}
	return head(ctx, &pool{path: path, db: db})
}

// whole checks that the file is as long as it says, and after a crash that its
// pages hold together.
func whole(ctx context.Context, path string, db *sql.DB, unclean bool) error {
	if unclean {
		if _, err := db.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
			return err
		}
		if err := sound(ctx, path, db); err != nil {
			return err
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // nothing is written
	info, err := f.Stat()
	if err != nil {
		return err
	}
	header := make([]byte, 32)
	if _, err := io.ReadFull(f, header); err != nil {
		return err
	}
	page := int64(binary.BigEndian.Uint16(header[16:]))
	if page == 1 {
		page = 65536
	}
	if said := int64(binary.BigEndian.Uint32(header[28:])) * page; info.Size() < said {
		return &FileError{Path: path, What: fmt.Sprintf("is cut off: %d bytes of %d are there", info.Size(), said), Next: mendDamage}
	}
	return nil
}

const mendDamage = "keep a copy of the file and restore it from a backup"

// sound checks that the pages of the file hold together.
func sound(ctx context.Context, path string, db *sql.DB) error {
	var verdict string
	err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict)
	if err == nil && verdict != "ok" {
		err = errors.New(verdict)
	} else if code := codeOf(err); code != codeCorrupt && code != codeNotADB {
		return err
	}
	return &FileError{Path: path, What: "is damaged", Next: mendDamage, Err: err}
}

// testify compares where the ledger ends with where it ended at the last
// acknowledged write.
func testify(ctx context.Context, path string, db *sql.DB, witness, last Head) error {
	next := "restore it from a backup; if this file is the one to go on with, move " + path + ".lock away"
	if last.Seq < witness.Seq {
		return &FileError{
			Path: path, Next: next,
			What: fmt.Sprintf("lost acknowledged writes: its ledger ends at line %d, but line %d was written", last.Seq, witness.Seq),
		}
	}
	if witness.Seq == 0 {
		return nil
	}
	var hash string
	err := db.QueryRowContext(ctx, `SELECT hash FROM events WHERE seq = $1`, witness.Seq).Scan(&hash)
	if errors.Is(err, sql.ErrNoRows) || err == nil && hash != witness.Hash {
		return &FileError{Path: path, Next: next, What: fmt.Sprintf("holds another history: line %d of its ledger is not the one that was written", witness.Seq)}
	}
	return err
}

// migrate brings the schema up to date. A schema newer than this binary knows
// is refused before anything is changed. path is what the error names.
func migrate(ctx context.Context, path string, db *sql.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	has, knows, err := provider.GetVersions(ctx)
	if err != nil {
		return err
	}
	if has > knows {
		return &FileError{
			Path: path, What: fmt.Sprintf("was written by a newer Slipway: its schema is %d, this one knows 1 to %d", has, knows),
			Next: "run that Slipway or a newer one, or restore the backup from before the upgrade",
		}
	}
	if _, err = provider.Up(ctx); err != nil {
		return err
	}
	return backfill(ctx, db)
}

// onDB calls fn with a connection to path that writes.
func onDB(path string, fn func(*sql.DB) error) error {
	db, err := sql.Open("sqlite", dsn(path, writing))
	if err != nil {
		return err
	}
	return errors.Join(fn(db), db.Close())
}
