package artifact

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// isIgnored tells what is left out of every bundle at any depth: it is no part
// of what runs, and it changes by itself. Python writes __pycache__ beside its
// sources at run time, so a bundle would stop being what its digest says.
func isIgnored(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		switch part {
		case ".git", ".slipway", "__pycache__":
			return true
		}
	}
	return false
}

// Pack writes the canonical tar of a folder, or of a folder that holds the one
// file at path. Entries are sorted by name, owners and times are zero, modes
// are 0644 or 0755. Symlinks are kept if they stay inside, and refused with
// delivery.ErrInvalid otherwise, as is anything that is not a file, folder or link.
func Pack(ctx context.Context, path string, w io.Writer) error {
	if err := pack(ctx, path, w); err != nil {
		return fmt.Errorf("artifact: pack %s: %w", path, err)
	}
	return nil
}

// Sum returns the digest that Snapshot would give, without keeping anything.
func Sum(ctx context.Context, path string) (delivery.Digest, error) {
	h := sha256.New()
	if err := pack(ctx, path, h); err != nil {
		return "", fmt.Errorf("artifact: sum %s: %w", path, err)
	}
	return delivery.Digest(prefix + hex.EncodeToString(h.Sum(nil))), nil
}

func pack(ctx context.Context, path string, w io.Writer) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return delivery.InvalidNext("path", path+" does not exist", "build it first, or name the folder or file to snapshot")
	}
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	if info.IsDir() {
		err = packDir(ctx, t, path)
	} else {
		err = packFile(t, path, filepath.Base(path), info)
	}
	if err != nil {
		return err
	}
	return t.Close()
}

// packDir relies on fs.WalkDir going through each folder in lexical order.
func packDir(ctx context.Context, t *tar.Writer, root string) error {
	if real, err := filepath.EvalSymlinks(root); err == nil {
		root = real
	}
	return filepath.WalkDir(root, func(full string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		rel, err := filepath.Rel(root, full)
		if err != nil || rel == "." {
			return err
		}
		name := filepath.ToSlash(rel)
		if isIgnored(d.Name()) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			return t.WriteHeader(header(tar.TypeDir, name+"/", 0o755))
		case d.Type()&fs.ModeSymlink != 0:
			return packLink(t, full, name)
		}
		return packFile(t, full, name, info)
	})
}

func packLink(t *tar.Writer, full, name string) error {
	target, err := os.Readlink(full)
	if err != nil {
		return err
	}
	if err := checkLink(name, target); err != nil {
		return err
	}
	h := header(tar.TypeSymlink, name, 0o777)
	h.Linkname = target
	return t.WriteHeader(h)
}

func packFile(t *tar.Writer, full, name string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return delivery.InvalidNext(name, fmt.Sprintf("is a %s; a bundle holds files, folders and symbolic links only", kindOf(info.Mode())), "move it out of the folder")
	}
	f, err := os.Open(full)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // read only
	h := header(tar.TypeReg, name, int64(canonical(info.Mode())))
	h.Size = info.Size()
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.Copy(t, f)
	if errors.Is(err, tar.ErrWriteTooLong) || err == nil && n != h.Size {
		return delivery.InvalidNext(name, "changed while it was being read", "wait until the build is done, then try again")
	}
	return err
}

// header leaves out all that may differ between two copies of the same content.
func header(kind byte, name string, mode int64) *tar.Header {
	return &tar.Header{Typeflag: kind, Name: name, Mode: mode, ModTime: time.Unix(0, 0)}
}

func canonical(m fs.FileMode) fs.FileMode {
	if m&0o111 != 0 {
		return 0o755
	}
	return 0o644
}

func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeNamedPipe != 0:
		return "named pipe"
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}

// checkLink refuses a link that could lead outside. Only leading ".." are
// allowed: "a/../.." means something else than it says if a is a link itself.
func checkLink(name, target string) error {
	refuse := func(why string) error {
		return delivery.InvalidNext(name, "is a link to "+target+", "+why, "make it relative and keep it inside the bundle, or copy the file")
	}
	if target == "" || path.IsAbs(target) {
		return refuse("which is not a relative path")
	}
	up, forward := 0, false
	for part := range strings.SplitSeq(target, "/") {
		switch {
		case part == "" || part == ".":
		case part != "..":
			forward = true
		case forward:
			return refuse("which goes down and up again")
		default:
			up++
		}
	}
	if up > strings.Count(name, "/") {
		return refuse("which is outside the bundle")
	}
	return nil
}
