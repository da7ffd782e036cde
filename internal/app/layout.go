package app

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// layout names the files of one state folder.
type layout struct{ root string }

// layoutOf makes the folder if it is not there; only its owner can read it.
func layoutOf(state string) (layout, error) {
	if state == "" {
		return layout{}, errors.New("app: no state folder given")
	}
	root, err := filepath.Abs(state)
	if err != nil {
		return layout{}, fmt.Errorf("app: state folder: %w", err)
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return layout{}, fmt.Errorf("app: state folder: %w", err)
	}
	return layout{root: root}, nil
}

func (l layout) store() string      { return filepath.Join(l.root, "store.db") }
func (l layout) bundles() string    { return filepath.Join(l.root, "bundles") }
func (l layout) instances() string  { return filepath.Join(l.root, "run") }
func (l layout) proxy() string      { return filepath.Join(l.root, "proxy") }
func (l layout) token() string      { return filepath.Join(l.root, "token") }
func (l layout) previewKey() string { return filepath.Join(l.root, "preview.key") }
func (l layout) otlpKey() string    { return filepath.Join(l.root, "otlp.key") }
func (l layout) api() string        { return filepath.Join(l.root, "api.json") }
func (l layout) traces() string     { return filepath.Join(l.root, "traces.mark") }
func (l layout) log(part string) string {
	return filepath.Join(l.root, part+".log")
}

// maxSocket leaves room within the kernel's 108 bytes.
const maxSocket = 90

// socket is the data plane's control socket: in the state folder, or, where
// that path is too long for a socket, in a folder of the owner's own in the
// temporary folder.
func (l layout) socket() (string, error) {
	path := filepath.Join(l.proxy(), "proxy.sock")
	if len(path) <= maxSocket {
		return path, nil
	}
	sum := sha256.Sum256([]byte(l.root))
	dir := filepath.Join(os.TempDir(), "slipway-"+strconv.Itoa(os.Getuid())+"-"+hex.EncodeToString(sum[:6]))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("app: socket folder: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", fmt.Errorf("app: socket folder: %w", err)
	}
	if !info.IsDir() || info.Mode().Perm() != 0o700 {
		return "", fmt.Errorf("app: socket folder %s is not a folder that only its owner can read; remove it", dir)
	}
	return filepath.Join(dir, "proxy.sock"), nil
}
