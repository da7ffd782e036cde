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
	"syscall"

	"github.com/slipway-cd/slipway/internal/traffic"
)

// A table file is one line, "slipway-table 1 sha256:<hex>", and the table as
// JSON, whose hash that is. So a torn, empty or bent file is always noticed, and
// so is one of a later format.
const (
	tableFile    = "table"
	previousFile = "table.previous"
	tableFormat  = 1
	tableHead    = "slipway-table %d sha256:%s\n"
)

// disk keeps the last good table and the one before it in a folder.
type disk struct{ dir string }

// loaded is what was found at start.
type loaded struct {
	table   traffic.Table // zero when there never was one
	damaged error         // of the newest file, when the one before it was used
	unknown error         // the first field that this version does not know, and goes without
}

// load returns the newest readable table. When files are there but none can be
// read it refuses: an empty table would answer every request with an error.
func (d disk) load() (loaded, error) {
	newest, err := d.read(tableFile)
	if err == nil {
		return newest, nil
	}
	before, errBefore := d.read(previousFile)
	if errBefore == nil {
		if !errors.Is(err, fs.ErrNotExist) { // else stopped between the two renames of save
			before.damaged = err
		}
		return before, nil
	}
	if errors.Is(err, fs.ErrNotExist) && errors.Is(errBefore, fs.ErrNotExist) {
		return loaded{}, nil
	}
	return loaded{}, fmt.Errorf("the route table on disk is damaged or too new (%w), and so is the one before it (%w); to serve nothing until the server sends a table again, remove both files in %s and start again", err, errBefore, d.dir)
}

// inForce returns the newest table, and nothing else: whoever takes over from a
// process that serves by it must not serve by another one, nor by a part of it.
func (d disk) inForce() (traffic.Table, error) {
	found, err := d.load()
	switch {
	case err != nil:
		return found.table, err
	case found.damaged != nil:
		return found.table, found.damaged
	case found.unknown != nil:
		return found.table, found.unknown
	}
	return found.table, nil
}

func (d disk) read(name string) (loaded, error) {
	var found loaded
	b, err := os.ReadFile(filepath.Join(d.dir, name))
	if err != nil {
		return found, err
	}
	if len(b) == 0 {
		return found, fmt.Errorf("%s is empty", name)
	}
	head, body, whole := bytes.Cut(b, []byte("\n"))
	var format int
	var sum string
	_, err = fmt.Sscanf(string(head)+"\n", tableHead, &format, &sum)
	switch {
	case format > tableFormat:
		return found, fmt.Errorf("%s was written by a newer slipway (format %d, this one reads %d): start that one, or remove the file and let the server send its table again", name, format, tableFormat)
	case !whole || err != nil:
		return found, fmt.Errorf("%s is no table file, or a torn one", name)
	case sum != hashOf(body):
		return found, fmt.Errorf("%s is torn: its %d bytes do not match their hash", name, len(body))
	}
	strict := json.NewDecoder(bytes.NewReader(body))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&found.table); err != nil {
		found.table = traffic.Table{}
		if errLax := json.Unmarshal(body, &found.table); errLax != nil {
			return found, fmt.Errorf("%s: %w", name, errLax)
		}
		found.unknown = fmt.Errorf("%s was written by a newer slipway: %w", name, err)
	}
	if err := found.table.Validate(); err != nil {
		return found, fmt.Errorf("%s: %w", name, err)
	}
	return found, nil
}

// save makes body the last good table: a crash at any point leaves either it or
// the one before it readable.
func (d disk) save(body []byte) error {
	tmp := filepath.Join(d.dir, tableFile+".tmp")
	if err := writeSynced(tmp, append(fmt.Appendf(nil, tableHead, tableFormat, hashOf(body)), body...)); err != nil {
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

// lock makes this process the only data plane of the folder for as long as the
// file, or another descriptor of it, is open. The kernel closes those of a
// process that dies.
func (d disk) lock() (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(d.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		who := make([]byte, pidWidth)
		n, _ := f.ReadAt(who, 0)
		_ = f.Close()
		return nil, fmt.Errorf("another data plane, process %s, serves from %s: stop it first, or give this one another state folder", bytes.TrimSpace(who[:n]), d.dir)
	}
	return f, nil
}
