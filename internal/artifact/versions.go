package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
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
	h := sha256.New()
	if err := pack(ctx, path, l.over(h)); err != nil {
		return "", fmt.Errorf("artifact: sum %s: %w", path, err)
	}
	return delivery.Digest(prefix + hex.EncodeToString(h.Sum(nil))), nil
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

// over returns a writer that refuses a tar whose size alone says that its content
// is too much: reading on would only take time.
func (l Limits) over(w io.Writer) io.Writer {
	const entry = 2 << 10 // of tar around each entry, at most
	l = l.orDefaults()
	return &bounded{w: w, left: l.Bytes + int64(l.Files)*entry, most: l.Bytes}
}

// bounded passes on what fits.
type bounded struct {
	w          io.Writer
	left, most int64
}

// Write passes p on, or refuses it.
func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, delivery.InvalidNext("bundle", fmt.Sprintf("is larger than %d bytes", b.most), "leave out what the service does not need at run time")
	}
	return b.w.Write(p)
}
