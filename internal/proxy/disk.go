package proxy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/slipway-cd/slipway/internal/traffic"
)

// A table file is one line, "slipway-table 1 sha256:<hex>", and the table as
// JSON, whose hash that is. So a torn, empty or bent file is always noticed.
const (
	tableFile    = "table"
	previousFile = "table.previous"
	tableMagic   = "slipway-table 1 sha256:"
)

// disk keeps the last good table and the one before it in a folder.
type disk struct{ dir string }

// loaded is what was found at start.
type loaded struct {
	table   traffic.Table // zero when there never was one
	damaged error         // of the newest file, when the one before it was used
}

// load returns the newest readable table. When files are there but none can be
// read it refuses: an empty table would answer every request with an error.
func (d disk) load() (loaded, error) {
	table, err := d.read(tableFile)
	if err == nil {
		return loaded{table: table}, nil
	}
	before, errBefore := d.read(previousFile)
	if errBefore == nil {
		if errors.Is(err, fs.ErrNotExist) {
			return loaded{table: before}, nil // stopped between the two renames of save
		}
		return loaded{table: before, damaged: err}, nil
	}
	if errors.Is(err, fs.ErrNotExist) && errors.Is(errBefore, fs.ErrNotExist) {
		return loaded{}, nil
	}
	return loaded{}, fmt.Errorf("the route table on disk is damaged (%w) and so is the one before it (%w); to serve nothing until the server sends a table again, remove both files in %s and start again", err, errBefore, d.dir)
}

func (d disk) read(name string) (traffic.Table, error) {
	var t traffic.Table
	b, err := os.ReadFile(filepath.Join(d.dir, name))
	if err != nil {
		return t, err
	}
	head, body, whole := bytes.Cut(b, []byte("\n"))
	sum, ours := strings.CutPrefix(string(head), tableMagic)
	switch {
	case len(b) == 0:
		return t, fmt.Errorf("%s is empty", name)
	case !whole || !ours:
		return t, fmt.Errorf("%s is not a table file of this version", name)
	case sum != hashOf(body):
		return t, fmt.Errorf("%s is torn: its %d bytes do not match their hash", name, len(body))
	}
	if err := json.Unmarshal(body, &t); err != nil {
		return t, fmt.Errorf("%s: %w", name, err)
	}
	if err := t.Validate(); err != nil {
		return t, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}

// save makes body the last good table: a crash at any point leaves either it or
// the one before it readable.
func (d disk) save(body []byte) error {
	tmp := filepath.Join(d.dir, tableFile+".tmp")
	if err := writeSynced(tmp, append([]byte(tableMagic+hashOf(body)+"\n"), body...)); err != nil {
		return err
	}
	last := filepath.Join(d.dir, tableFile)
	if err := os.Rename(last, filepath.Join(d.dir, previousFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(tmp, last); err != nil {
		return err
	}
	return syncDir(d.dir)
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func hashOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// lock makes this process the only data plane of the folder until unlock; the
// kernel unlocks it when the process dies.
func (d disk) lock() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(d.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		who := make([]byte, 20)
		n, _ := f.ReadAt(who, 0)
		_ = f.Close()
		return nil, fmt.Errorf("another data plane, process %s, serves from %s: stop it first, or give this one another state folder", bytes.TrimSpace(who[:n]), d.dir)
	}
	if err := f.Truncate(0); err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
		if err != nil {
			_ = f.Close()
			return nil, err
		}
	}
	return func() { _ = f.Close() }, nil
}
