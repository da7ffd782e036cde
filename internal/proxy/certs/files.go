package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cd/slipway/internal/traffic"
)

// Times of reading files again.
const (
	look   = time.Second     // between two looks at the files
	settle = 2 * time.Second // a file this young may change again under the same time stamp
)

// files is a certificate and its key on disk.
type files struct {
	cert, key string
	log       *slog.Logger

	now  atomic.Pointer[tls.Certificate] // nil before the first good one
	next atomic.Int64                    // Unix nanosecond of the next look

	mu   sync.Mutex
	seen [2]version // guarded by mu
	err  error      // guarded by mu: why the files as they are now are not in use
}

// version tells one content of a file from another, without reading it.
type version struct {
	size, mtime int64
	inode       uint64
	settled     bool
}

func newFiles(cert, key string, log *slog.Logger) *files {
	f := &files{cert: cert, key: key, log: log.With(slog.String("cert", cert))}
	f.refresh(time.Now())
	return f
}

func (f *files) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.refresh(time.Now())
	if c := f.now.Load(); c != nil {
		return c, nil
	}
	return nil, errNone
}

// refresh reads the files if a look is due and they changed. One caller at a
// time does; the others go on with what there is.
func (f *files) refresh(now time.Time) {
	due := f.next.Load()
	if now.UnixNano() < due || !f.next.CompareAndSwap(due, now.Add(look).UnixNano()) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := [2]version{versionOf(f.cert, now), versionOf(f.key, now)}
	if seen == f.seen && f.err == nil && seen[0].settled && seen[1].settled {
		return
	}
	f.seen = seen
	c, err := load(f.cert, f.key)
	switch {
	case err != nil && (f.err == nil || f.err.Error() != err.Error()):
		f.log.Error("the certificate cannot be used", slog.Any("error", err), slog.Bool("one_before_stays", f.now.Load() != nil))
	case err == nil && (f.now.Load() == nil || !slices.EqualFunc(f.now.Load().Certificate, c.Certificate, slices.Equal)):
		f.log.Info("certificate in use", slog.Any("names", names(c.Leaf)), slog.Time("not_after", c.Leaf.NotAfter))
	}
	if f.err = err; err == nil {
		f.now.Store(c)
	}
}

func versionOf(path string, now time.Time) version {
	info, err := os.Stat(path)
	if err != nil {
		return version{}
	}
	v := version{size: info.Size(), mtime: info.ModTime().UnixNano(), settled: now.Sub(info.ModTime()) > settle}
	var st unix.Stat_t
	if unix.Stat(path, &st) == nil {
		v.inode = st.Ino
	}
	return v
}

func load(cert, key string) (*tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("certs: %s with %s: %w", cert, key, err)
	}
	if c.Leaf == nil {
		return nil, errors.New("certs: " + cert + " holds no certificate")
	}
	return &c, nil
}

// names lists what a certificate is for.
func names(c *x509.Certificate) []string {
	out := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		out = append(out, ip.String())
	}
	if len(out) == 0 && c.Subject.CommonName != "" {
		out = []string{c.Subject.CommonName}
	}
	return out
}

func (f *files) state() traffic.TLSState {
	f.refresh(time.Now())
	s := traffic.TLSState{Names: []string{}}
	if c := f.now.Load(); c != nil {
		s.Names, s.NotAfter = names(c.Leaf), c.Leaf.NotAfter
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		s.Error = f.err.Error()
		if f.now.Load() == nil {
			s.Waiting = "a certificate in " + f.cert + " that fits the key in " + f.key
		}
	}
	return s
}

func (f *files) run(ctx context.Context) { <-ctx.Done() }

func (f *files) challenge(http.ResponseWriter, *http.Request) bool { return false }
