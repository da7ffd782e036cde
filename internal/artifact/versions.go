package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// What a bundle may be at most when it comes from somebody else: by upload, or
// from a folder of versions.
const (
	MaxBytes   = 1 << 30
	MaxEntries = 100_000 // files, folders and links
)

// Versions lists the versions in a folder that holds one folder or file per
// version, the way people order them: v2 before v10. What begins with a dot is none.
func Versions(folder string) ([]string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("artifact: versions: %w", err)
	}
	var names []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	slices.SortFunc(names, delivery.Natural)
	return names, nil
}

// SumWithin returns the digest that Take would give, without keeping anything.
func SumWithin(ctx context.Context, path string, l Limits) (delivery.Digest, error) {
	if err := l.orDefaults().measure(ctx, path, nil); err != nil {
		return "", fmt.Errorf("artifact: sum %s: %w", path, err)
	}
	return Sum(ctx, path)
}

// Take keeps the content of a folder or file as Snapshot does, if it is within l.
func (s *Store) Take(ctx context.Context, path string, l Limits) (delivery.Digest, error) {
	l = l.orDefaults()
	d, err := SumWithin(ctx, path, l)
	if err != nil {
		return "", err
	}
	if here, err := s.touch(d); err != nil || here {
		return d, err
	}
	r, w := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := Pack(ctx, path, w)
		w.CloseWithError(err)
		packed <- err
	}()
	d, err = s.unpack(ctx, r, l)
	r.CloseWithError(io.ErrClosedPipe)
	if perr := <-packed; perr != nil && !errors.Is(perr, io.ErrClosedPipe) {
		return "", perr // the cause; the reader saw only a tar that broke off
	}
	if err != nil {
		return "", fmt.Errorf("artifact: take %s: %w", path, err)
	}
	return d, nil
}

// measure refuses a folder or file that is more than l before any of it is read. seen,
// if there is one, is told of each entry that a bundle would hold.
func (l Limits) measure(ctx context.Context, path string, seen func(full string, info fs.FileInfo)) error {
	left := l
	return filepath.WalkDir(path, func(full string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && full == path:
			return nil // packing says so
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case full != path && isIgnored(d.Name()) && d.IsDir():
			return fs.SkipDir
		case full == path && d.IsDir() || full != path && isIgnored(d.Name()):
			return nil
		}
		if left.Files--; left.Files < 0 {
			return delivery.InvalidNext("bundle", fmt.Sprintf("holds more than %d files, folders and links", l.Files), leaner)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if seen != nil {
			seen(full, info)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		if left.Bytes -= info.Size(); left.Bytes < 0 {
			return delivery.InvalidNext("bundle", fmt.Sprintf("holds more than %d bytes", l.Bytes), leaner)
		}
		return nil
	})
}

const leaner = "leave out what the service does not need at run time"
