package artifact

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cd/slipway/internal/delivery"
)

const (
	prefix = "sha256:"
	drafts = ".drafts" // folders being filled; each is locked by its writer
	gate   = ".gate"   // locked while a bundle gets or loses its name
)

// Store is a folder of bundles, one folder each, named by digest. Any number of
// Stores, in any number of processes, may share a root.
type Store struct {
	// Young is how long a bundle stays after it was last snapshotted or
	// unpacked, whatever Collect is told: the change that will name it may not
	// be written down yet. Open sets it to ten minutes. Set it before use.
	Young time.Duration

	root string
}

// Open makes root if it is not there and clears what a crash left half done.
func Open(root string) (*Store, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("artifact: open: %w", err)
	}
	s := &Store{Young: 10 * time.Minute, root: root}
	if err := os.MkdirAll(filepath.Join(root, drafts), 0o755); err != nil {
		return nil, fmt.Errorf("artifact: open: %w", err)
	}
	if err := s.sweep(); err != nil {
		return nil, fmt.Errorf("artifact: open: %w", err)
	}
	return s, nil
}

// Snapshot keeps the content of a folder, or of one file in a folder of its
// own, as it is now, and returns its digest. The same content again, whatever
// its times and owners, is the same digest and is kept once.
func (s *Store) Snapshot(ctx context.Context, path string) (delivery.Digest, error) {
	return s.Take(ctx, path, Limits{Bytes: 1 << 62, Files: 1 << 30})
}

// Path returns the folder that holds the bundle, if it is here. Its files are
// read-only; who writes into the folder breaks the bundle, and Verify says so.
func (s *Store) Path(d delivery.Digest) (string, bool) {
	name, ok := nameOf(d)
	if !ok {
		return "", false
	}
	p := filepath.Join(s.root, name)
	if _, err := os.Stat(p); err != nil {
		return "", false
	}
	return p, true
}

// Has reports whether the bundle is here.
func (s *Store) Has(d delivery.Digest) bool {
	_, ok := s.Path(d)
	return ok
}

// List returns the digests of all bundles, sorted.
func (s *Store) List(ctx context.Context) ([]delivery.Digest, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return nil, fmt.Errorf("artifact: list: %w", err)
	}
	var all []delivery.Digest
	for _, e := range entries {
		d := delivery.Digest(prefix + e.Name())
		if _, ok := nameOf(d); ok && e.IsDir() {
			all = append(all, d)
		}
	}
	slices.Sort(all)
	return all, nil
}

// Verify reads the bundle again and tells whether it still is what its digest
// says. It returns delivery.ErrNotFound if the bundle is not here.
func (s *Store) Verify(ctx context.Context, d delivery.Digest) error {
	p, ok := s.Path(d)
	if !ok {
		return fmt.Errorf("artifact: verify %s: %w", d, delivery.ErrNotFound)
	}
	is, err := Sum(ctx, p)
	if err != nil {
		return err
	}
	if is != d {
		return delivery.InvalidNext("bundle", fmt.Sprintf("%s was changed on disk: its files now are %s", d.Short(), is.Short()), "remove "+p+" and deploy the version again")
	}
	return nil
}

// Collect removes every bundle that keep does not keep and that is not Young,
// and returns what it removed. It never touches what is being unpacked.
func (s *Store) Collect(ctx context.Context, keep func(delivery.Digest) bool) ([]delivery.Digest, error) {
	all, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	var gone []delivery.Digest
	for _, d := range all {
		if err := ctx.Err(); err != nil {
			return gone, err
		}
		if keep(d) {
			continue
		}
		removed, err := s.remove(d)
		if err != nil {
			return gone, fmt.Errorf("artifact: collect %s: %w", d.Short(), err)
		}
		if removed {
			gone = append(gone, d)
		}
	}
	if err := s.sweep(); err != nil {
		return gone, fmt.Errorf("artifact: collect: %w", err)
	}
	return gone, nil
}

// nameOf returns the folder name of a digest, and false for what is no digest.
func nameOf(d delivery.Digest) (string, bool) {
	name, ok := strings.CutPrefix(string(d), prefix)
	raw, err := hex.DecodeString(name)
	return name, ok && err == nil && len(raw) == 32 && name == strings.ToLower(name)
}

// draft is a bundle without a name. Its lock tells a live one from what a crash left.
type draft struct {
	tree string
	lock *os.File
}

func (s *Store) newDraft() (*draft, error) {
	for {
		lock, err := os.CreateTemp(filepath.Join(s.root, drafts), "*.lock")
		if err != nil {
			return nil, err
		}
		d := &draft{tree: strings.TrimSuffix(lock.Name(), ".lock"), lock: lock}
		if err = flock(lock, unix.LOCK_EX); err == nil {
			_, err = os.Stat(lock.Name())
		}
		if errors.Is(err, fs.ErrNotExist) {
			lock.Close() //nolint:errcheck // empty
			continue     // a sweeper took it for an old one before it was locked
		}
		if err == nil {
			err = os.Mkdir(d.tree, 0o755)
		}
		if err != nil {
			return nil, errors.Join(err, lock.Close())
		}
		return d, nil
	}
}

// discard removes what is left of a draft; a published one left only its lock.
func (d *draft) discard() error {
	return errors.Join(os.RemoveAll(d.tree), os.Remove(d.lock.Name()), d.lock.Close())
}

// publish gives a draft its name, unless the bundle is there already.
func (s *Store) publish(from *draft, d delivery.Digest) error {
	if here, err := s.touch(d); err != nil || here {
		return err
	}
	return s.gated(func() error {
		name, _ := nameOf(d)
		err := os.Rename(from.tree, filepath.Join(s.root, name))
		if errors.Is(err, fs.ErrExist) || errors.Is(err, unix.ENOTEMPTY) {
			return s.renew(name) // another was faster with the same content
		}
		return errors.Join(err, s.renew(name), syncPath(s.root))
	})
}

// touch makes a bundle Young again and reports whether it is here.
func (s *Store) touch(d delivery.Digest) (here bool, err error) {
	name, _ := nameOf(d)
	err = s.gated(func() error {
		err := s.renew(name)
		here = err == nil
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return here, err
}

func (s *Store) renew(name string) error {
	now := time.Now()
	return os.Chtimes(filepath.Join(s.root, name), now, now)
}

// remove takes the name away under the gate and the files after it.
func (s *Store) remove(d delivery.Digest) (removed bool, err error) {
	name, _ := nameOf(d)
	from := filepath.Join(s.root, name)
	trash, err := s.newDraft()
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, trash.discard()) }()
	err = s.gated(func() error {
		info, err := os.Stat(from)
		if errors.Is(err, fs.ErrNotExist) || err == nil && time.Since(info.ModTime()) < s.Young {
			return nil
		}
		if err != nil {
			return err
		}
		removed = true
		return os.Rename(from, filepath.Join(trash.tree, name))
	})
	return removed && err == nil, err
}

// gated runs f while no other process names, renews or removes a bundle.
func (s *Store) gated(f func() error) (err error) {
	g, err := os.OpenFile(filepath.Join(s.root, gate), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	if err := flock(g, unix.LOCK_EX); err != nil {
		return err
	}
	// Closing is not enough while a process is being forked.
	defer func() { err = errors.Join(err, flock(g, unix.LOCK_UN)) }()
	return f()
}

// sweep removes the drafts of writers that are gone.
func (s *Store) sweep() error {
	dir := filepath.Join(s.root, drafts)
	locks, err := filepath.Glob(filepath.Join(dir, "*.lock"))
	if err != nil {
		return err
	}
	for _, name := range locks {
		lock, err := os.OpenFile(name, os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if flock(lock, unix.LOCK_EX|unix.LOCK_NB) == nil {
			err = errors.Join(os.RemoveAll(strings.TrimSuffix(name, ".lock")), os.Remove(name))
		}
		if err := errors.Join(err, lock.Close()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
