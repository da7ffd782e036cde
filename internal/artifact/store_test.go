package artifact

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
)

func open(t testing.TB) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	s.Young = 0
	return s
}

// write makes files below dir; a name that ends in a slash is a folder, and a
// text that starts with "-> " a link.
func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		full := filepath.Join(dir, name)
		var err error
		switch target, link := strings.CutPrefix(text, "-> "); {
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(full, 0o755)
		case link:
			err = errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.Symlink(target, full))
		default:
			err = errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, []byte(text), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// left lists what is in the folder of drafts.
func left(t testing.TB, s *Store) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.root, drafts))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestSnapshotKeepsContentReadOnly(t *testing.T) {
	s, src := open(t), t.TempDir()
	write(t, src, map[string]string{"server.js": "let a", "lib/x.js": "x", "empty/": "", "current": "-> lib/x.js", ".git/HEAD": "ref", "lib/.slipway/state": "s", "lib/__pycache__/x.pyc": "c"})
	if err := os.WriteFile(filepath.Join(src, "run"), []byte("#!/bin/sh\n"), 0o750); err != nil {
		t.Fatal(err)
	}
	d, err := s.Snapshot(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	dir, ok := s.Path(d)
	if !ok {
		t.Fatalf("Path(%s) is not there", d)
	}
	modes := map[string]fs.FileMode{"server.js": 0o444, "lib/x.js": 0o444, "run": 0o555, "empty": fs.ModeDir | 0o755, "lib": fs.ModeDir | 0o755, "current": fs.ModeSymlink | 0o777}
	seen := 0
	err = filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		info, err := e.Info()
		if want, known := modes[rel]; !known || info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", rel, info.Mode(), want)
		}
		seen++
		return err
	})
	if err != nil || seen != len(modes) {
		t.Fatalf("saw %d entries, want %d (%v)", seen, len(modes), err)
	}
	if err := s.Verify(t.Context(), d); err != nil {
		t.Errorf("Verify: %v", err)
	}
	if n := left(t, s); len(n) != 0 {
		t.Errorf("drafts left: %v", n)
	}
}

func TestSnapshotOfOneFile(t *testing.T) {
	s, src := open(t), t.TempDir()
	file := filepath.Join(src, "shop")
	if err := os.WriteFile(file, []byte("\x7fELF"), 0o755); err != nil {
		t.Fatal(err)
	}
	d, err := s.Snapshot(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	dir, _ := s.Path(d)
	info, err := os.Stat(filepath.Join(dir, "shop"))
	if err != nil || info.Mode() != 0o555 {
		t.Fatalf("shop is %v (%v), want an executable file", info, err)
	}
	if same, err := s.Snapshot(t.Context(), src); err != nil || same != d {
		t.Errorf("the folder with that file is %s (%v), want %s", same, err, d)
	}
}

func TestSnapshotRefuses(t *testing.T) {
	s := open(t)
	for name, files := range map[string]map[string]string{
		"absolute link":        {"a": "-> /etc/passwd"},
		"link outside":         {"d/a": "-> ../../x"},
		"link down and up":     {"d/e/l": "-> ../../t", "t/": "", "d/e/m": "-> l/../../x"},
		"link outside by dots": {"a": "-> .."},
	} {
		t.Run(name, func(t *testing.T) {
			src := t.TempDir()
			write(t, src, files)
			_, err := s.Snapshot(t.Context(), src)
			if !errors.Is(err, delivery.ErrInvalid) {
				t.Errorf("Snapshot = %v, want it refused", err)
			}
		})
	}
	_, err := s.Snapshot(t.Context(), filepath.Join(t.TempDir(), "dist"))
	if !errors.Is(err, delivery.ErrInvalid) || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("Snapshot of nothing = %v", err)
	}
	if all, _ := s.List(t.Context()); len(all) != 0 || len(left(t, s)) != 0 {
		t.Errorf("refused snapshots left %v and drafts %v", all, left(t, s))
	}
}

func TestVerifyTellsDamage(t *testing.T) {
	s, src := open(t), t.TempDir()
	write(t, src, map[string]string{"a": "one", "b/c": "two"})
	d, err := s.Snapshot(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	dir, _ := s.Path(d)
	if err := os.WriteFile(filepath.Join(dir, "b", "new"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(t.Context(), d); !errors.Is(err, delivery.ErrInvalid) {
		t.Errorf("Verify with a file more = %v, want a clear no", err)
	}
	if err := s.Verify(t.Context(), delivery.DigestOf([]byte("x"))); !errors.Is(err, delivery.ErrNotFound) {
		t.Errorf("Verify of what is not here = %v, want not found", err)
	}
	for _, bad := range []delivery.Digest{"", "sha256:", "sha256:../../etc", "x"} {
		if _, ok := s.Path(bad); ok {
			t.Errorf("Path(%q) is there", bad)
		}
	}
}

// Case 32: what a rollback needs is kept while it can be a target, and only then collected.
func TestCase32_CollectKeepsWhatARollbackNeeds(t *testing.T) {
	s := open(t)
	var digests []delivery.Digest
	for _, text := range []string{"v1", "v2", "v3"} {
		src := t.TempDir()
		write(t, src, map[string]string{"app": text})
		d, err := s.Snapshot(t.Context(), src)
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, d)
	}
	inWindow := func(d delivery.Digest) bool { return d != digests[0] }
	s.Young = time.Hour
	if gone, err := s.Collect(t.Context(), inWindow); err != nil || len(gone) != 0 {
		t.Fatalf("Collect of a young bundle removed %v (%v)", gone, err)
	}
	s.Young = 0
	gone, err := s.Collect(t.Context(), inWindow)
	if err != nil || !slices.Equal(gone, digests[:1]) {
		t.Fatalf("Collect = %v (%v), want %v", gone, err, digests[:1])
	}
	if s.Has(digests[0]) || !s.Has(digests[1]) || !s.Has(digests[2]) {
		t.Error("Collect removed the wrong bundles")
	}
	if gone, err = s.Collect(t.Context(), inWindow); err != nil || len(gone) != 0 {
		t.Errorf("Collect again = %v (%v), want nothing", gone, err)
	}
	if err := s.Verify(t.Context(), digests[1]); err != nil {
		t.Error(err)
	}
}

// Two servers on one root snapshot and collect at the same time.
func TestRaceOfSnapshotAndCollect(t *testing.T) {
	a := open(t)
	b, err := Open(a.root)
	if err != nil {
		t.Fatal(err)
	}
	b.Young = time.Minute // b collects nothing that a has just been given
	src := t.TempDir()
	write(t, src, map[string]string{"app": "same", "lib/x": "y"})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 10 {
				var buf bytes.Buffer
				if err := Pack(t.Context(), src, &buf); err != nil {
					t.Error(err)
				}
				d, err := []*Store{a, b}[i%2].Unpack(t.Context(), &buf, Limits{})
				if err != nil {
					t.Errorf("Unpack: %v", err)
				} else if err := a.Verify(t.Context(), d); err != nil {
					t.Errorf("Verify: %v", err)
				}
				if _, err := b.Collect(t.Context(), func(delivery.Digest) bool { return false }); err != nil {
					t.Errorf("Collect: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if all, err := a.List(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("List = %v (%v), want one bundle", all, err)
	}
	if n := left(t, a); len(n) != 0 {
		t.Errorf("drafts left: %v", n)
	}
}

func TestOpenSweepsWhatACrashLeft(t *testing.T) {
	s := open(t)
	dead, err := s.newDraft()
	if err != nil {
		t.Fatal(err)
	}
	write(t, dead.tree, map[string]string{"half": "a file"})
	live, err := s.newDraft()
	if err != nil {
		t.Fatal(err)
	}
	dead.lock.Close() // what a crash does
	if _, err := Open(s.root); err != nil {
		t.Fatal(err)
	}
	if n := left(t, s); !slices.Equal(n, []string{filepath.Base(live.tree), filepath.Base(live.lock.Name())}) {
		t.Errorf("after Open there are %v, want only what is being filled", n)
	}
	if err := live.discard(); err != nil {
		t.Error(err)
	}
}

func TestUnpackEndsWithItsContext(t *testing.T) {
	s := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan error)
	go func() { _, err := s.Unpack(ctx, r, Limits{}); done <- err }()
	var buf bytes.Buffer
	src := t.TempDir()
	write(t, src, map[string]string{"a": "1", "b": "2"})
	if err := Pack(ctx, src, &buf); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(buf.Next(700)); err != nil {
		t.Fatal(err)
	}
	cancel()
	go io.Copy(w, &buf)
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Unpack = %v, want canceled", err)
	}
	r.Close()
	if n := left(t, s); len(n) != 0 {
		t.Errorf("drafts left: %v", n)
	}
}

// The digest depends on content alone: not on times, order of creation, owners
// or permission bits other than "may be run".
func TestDigestDependsOnContentAlone(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tree := rapid.MapOfN(rapid.StringMatching(`([a-c]{1,2}/){0,2}[d-fä]{1,3}`), rapid.SliceOfN(rapid.Byte(), 0, 600), 1, 8).Draw(rt, "tree")
		for name := range tree { // a file is not a folder too
			for other := range tree {
				if strings.HasPrefix(other, name+"/") {
					delete(tree, other)
				}
			}
		}
		names := slices.Sorted(func(yield func(string) bool) {
			for n := range tree {
				if !yield(n) {
					return
				}
			}
		})
		exec := map[string]bool{}
		for _, n := range names {
			exec[n] = rapid.Bool().Draw(rt, "exec")
		}
		base, err := os.MkdirTemp(t.TempDir(), "") // one for each run of the property
		if err != nil {
			rt.Fatal(err)
		}
		build := func(dir string, order []string) string {
			dir = filepath.Join(base, dir)
			for _, n := range order {
				mode := rapid.SampledFrom([]fs.FileMode{0o600, 0o644, 0o664}).Draw(rt, "mode")
				if exec[n] {
					mode |= 0o100
				}
				full := filepath.Join(dir, n)
				at := time.Unix(rapid.Int64Range(0, 1<<31).Draw(rt, "mtime"), 0)
				if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, tree[n], mode), os.Chtimes(full, at, at)); err != nil {
					rt.Fatal(err)
				}
			}
			return dir
		}
		one := build("one", names)
		two := build("two", rapid.Permutation(names).Draw(rt, "order"))
		s, err := Open(filepath.Join(base, "store"))
		if err != nil {
			rt.Fatal(err)
		}
		d1, err1 := s.Snapshot(t.Context(), one)
		var buf bytes.Buffer
		err2 := Pack(t.Context(), two, &buf)
		if err := errors.Join(err1, err2); err != nil {
			rt.Fatal(err)
		}
		if got := delivery.DigestOf(buf.Bytes()); got != d1 {
			rt.Fatalf("Pack hashes to %s, Snapshot says %s", got, d1)
		}
		if d2, err := s.Unpack(t.Context(), &buf, Limits{}); err != nil || d2 != d1 {
			rt.Fatalf("the same tree is %s and %s (%v)", d1, d2, err)
		}
		victim := rapid.SampledFrom(names).Draw(rt, "victim")
		changed := append(slices.Clone(tree[victim]), 'x')
		if len(tree[victim]) > 0 && rapid.Bool().Draw(rt, "flip") {
			changed = slices.Clone(tree[victim])
			changed[rapid.IntRange(0, len(changed)-1).Draw(rt, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
		}
		if err := os.WriteFile(filepath.Join(two, victim), changed, 0o644); err != nil {
			rt.Fatal(err)
		}
		if d3, err := Sum(t.Context(), two); err != nil || d3 == d1 {
			rt.Fatalf("a changed tree is still %s (%v)", d3, err)
		}
	})
}
