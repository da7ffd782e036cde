package artifact

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Limits bounds what Unpack accepts. Zero fields take the defaults: 2 GiB and
// 200,000 entries.
type Limits struct {
	Bytes int64 // of all files together
	Files int   // files, folders and links
}

func (l Limits) orDefaults() Limits {
	if l.Bytes <= 0 {
		l.Bytes = 2 << 30
	}
	if l.Files <= 0 {
		l.Files = 200_000
	}
	return l
}

// Unpack reads a tar, in canonical form or not, and keeps its content. The
// digest is that of the canonical tar, so it is the one Pack's sender can
// compute. Content that is here already is kept once. A tar that leaves its
// folder, holds anything but files, folders and symbolic links, or passes the
// limits is refused with delivery.ErrInvalid; nothing of it stays.
func (s *Store) Unpack(ctx context.Context, r io.Reader, l Limits) (delivery.Digest, error) {
	d, err := s.unpack(ctx, r, l.orDefaults())
	if err != nil {
		return "", fmt.Errorf("artifact: unpack: %w", err)
	}
	return d, nil
}

func (s *Store) unpack(ctx context.Context, r io.Reader, l Limits) (d delivery.Digest, err error) {
	draft, err := s.newDraft()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, draft.discard()) }()
	x := &extraction{root: draft.tree, left: l, limits: l, kinds: map[string]byte{}}
	source := &stream{r: r}
	if err := x.all(ctx, tar.NewReader(source)); err != nil {
		return "", err
	}
	if source.ended {
		return "", delivery.InvalidNext("bundle", "breaks off before its end mark", "send it again")
	}
	if err := x.sync(); err != nil {
		return "", err
	}
	if d, err = Sum(ctx, draft.tree); err != nil {
		return "", err
	}
	return d, s.publish(draft, d)
}

// stream knows whether it was read to its end. A whole tar is not: its reader
// stops at the end mark, which a torn one lacks, even if torn between two files.
type stream struct {
	r     io.Reader
	ended bool
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if n > 0 && errors.Is(err, io.EOF) {
		return n, nil // the end comes with the next read, if there is one
	}
	s.ended = s.ended || errors.Is(err, io.EOF)
	return n, err
}

// extraction writes one tar below root.
type extraction struct {
	root   string
	limits Limits
	left   Limits
	kinds  map[string]byte // what each path is, to refuse a path below a file or link
	files  []string
}

func (x *extraction) all(ctx context.Context, t *tar.Reader) error {
	root, err := os.OpenRoot(x.root) // no name and no link leads outside of it
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // a handle for lookups
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return delivery.Invalid("bundle", "is not a whole tar: "+err.Error())
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		name, err := cleanName(h)
		if err != nil {
			return err
		}
		if name == "." || isIgnored(name) || h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if x.left.Files--; x.left.Files < 0 {
			return delivery.Invalid("bundle", fmt.Sprintf("holds more than %d files", x.limits.Files))
		}
		if err := x.entry(ctx, root, name, h, t); err != nil {
			return err
		}
	}
}

// cleanName refuses names that a careless reader would follow outside.
func cleanName(h *tar.Header) (string, error) {
	name := h.Name
	if path.IsAbs(name) || strings.Contains(name, "\x00") || strings.Contains(name, `\`) {
		return "", delivery.Invalid("bundle", fmt.Sprintf("holds %q, which is not a relative path", name))
	}
	if slices.Contains(strings.Split(name, "/"), "..") {
		return "", delivery.Invalid("bundle", fmt.Sprintf("holds %q, which leads outside", name))
	}
	return path.Clean(name), nil
}

func (x *extraction) entry(ctx context.Context, root *os.Root, name string, h *tar.Header, body io.Reader) error {
	kind := h.Typeflag
	if kind == tar.TypeGNUSparse {
		kind = tar.TypeReg
	}
	if err := x.parents(root, name); err != nil {
		return err
	}
	if was, twice := x.kinds[name]; twice && (was != tar.TypeDir || kind != tar.TypeDir) {
		return delivery.Invalid("bundle", fmt.Sprintf("holds %q twice", name))
	}
	x.kinds[name] = kind
	switch kind {
	case tar.TypeDir:
		return root.MkdirAll(name, 0o755)
	case tar.TypeSymlink:
		if err := checkLink(name, h.Linkname); err != nil {
			return err
		}
		return root.Symlink(h.Linkname, name)
	case tar.TypeReg:
		return x.file(ctx, root, name, h, body)
	case tar.TypeLink:
		return delivery.InvalidNext("bundle", fmt.Sprintf("holds the hard link %q", name), "pack it as a file of its own")
	}
	return delivery.Invalid("bundle", fmt.Sprintf("holds %q, which is no file, folder or symbolic link", name))
}

func (x *extraction) parents(root *os.Root, name string) error {
	dir := path.Dir(name)
	if dir == "." || x.kinds[dir] == tar.TypeDir {
		return nil
	}
	if _, there := x.kinds[dir]; there {
		return delivery.Invalid("bundle", fmt.Sprintf("holds %q below %q, which is no folder", name, dir))
	}
	if err := x.parents(root, dir); err != nil {
		return err
	}
	x.kinds[dir] = tar.TypeDir
	return root.MkdirAll(dir, 0o755)
}

func (x *extraction) file(ctx context.Context, root *os.Root, name string, h *tar.Header, body io.Reader) (err error) {
	if h.Size > x.left.Bytes {
		return delivery.Invalid("bundle", fmt.Sprintf("holds more than %d bytes", x.limits.Bytes))
	}
	x.left.Bytes -= h.Size
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.Copy(f, until(ctx, body)); err != nil {
		if disk := (*fs.PathError)(nil); errors.As(err, &disk) || ctx.Err() != nil {
			return err
		}
		return delivery.Invalid("bundle", fmt.Sprintf("breaks off in %q: %v", name, err))
	}
	x.files = append(x.files, name)
	return f.Chmod(canonical(h.FileInfo().Mode()) &^ 0o222)
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// until ends a long read when ctx ends.
func until(ctx context.Context, r io.Reader) io.Reader {
	return readFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return r.Read(p)
	})
}

// fewFiles is where one sync of the whole file system becomes cheaper than one per file.
const fewFiles = 64

// sync makes the tree durable before it gets its name.
func (x *extraction) sync() error {
	if len(x.files) > fewFiles {
		dir, err := os.Open(x.root)
		if err != nil {
			return err
		}
		return errors.Join(unix.Syncfs(int(dir.Fd())), dir.Close())
	}
	for _, name := range x.files {
		if err := syncPath(filepath.Join(x.root, filepath.FromSlash(name))); err != nil {
			return err
		}
	}
	return filepath.WalkDir(x.root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return syncPath(p)
	})
}

func syncPath(p string) error {
	f, err := os.Open(p)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
