package artifact

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/slipway-cd/slipway/internal/delivery"
)

func tarOf(t testing.TB, headers ...tar.Header) *bytes.Buffer {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &buf
}

func TestUnpackRefusesAttacks(t *testing.T) {
	link := func(name, to string) tar.Header {
		return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
	}
	file := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name, Size: 3} }
	for name, c := range map[string]struct {
		tar  []tar.Header
		says string
	}{
		"traversal":          {[]tar.Header{file("../evil")}, "leads outside"},
		"hidden traversal":   {[]tar.Header{file("a/../../evil")}, "leads outside"},
		"absolute":           {[]tar.Header{file("/etc/evil")}, "not a relative path"},
		"backslash":          {[]tar.Header{file(`..\evil`)}, "not a relative path"},
		"device":             {[]tar.Header{{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3}}, "no file, folder or symbolic link"},
		"fifo":               {[]tar.Header{{Typeflag: tar.TypeFifo, Name: "pipe"}}, "no file, folder or symbolic link"},
		"hard link":          {[]tar.Header{{Typeflag: tar.TypeLink, Name: "passwd", Linkname: "/etc/passwd"}}, "hard link"},
		"absolute link":      {[]tar.Header{link("l", "/etc")}, "not a relative path"},
		"escaping link":      {[]tar.Header{link("d/l", "../../x")}, "outside the bundle"},
		"twisted link":       {[]tar.Header{link("a/b/l", "../.."), link("m", "a/b/l/../..")}, "down and up again"},
		"write through link": {[]tar.Header{link("d", "."), file("d/evil")}, "which is no folder"},
		"below a file":       {[]tar.Header{file("f"), file("f/g")}, "which is no folder"},
		"twice":              {[]tar.Header{file("f"), file("f")}, "twice"},
		"twice as link":      {[]tar.Header{link("f", "g"), file("f")}, "twice"},
		"too many bytes":     {[]tar.Header{{Typeflag: tar.TypeReg, Name: "big", Size: 600}, {Typeflag: tar.TypeReg, Name: "more", Size: 600}}, "more than 1000 bytes"},
		"too many files":     {[]tar.Header{file("1"), file("2"), file("3"), file("4")}, "more than 3 files"},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			d, err := s.Unpack(t.Context(), tarOf(t, c.tar...), Limits{Bytes: 1000, Files: 3})
			if !errors.Is(err, delivery.ErrInvalid) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Unpack = %s, %v; want it refused with %q", d, err, c.says)
			}
			nothingLeft(t, s)
		})
	}
}

func nothingLeft(t *testing.T, s *Store) {
	t.Helper()
	if all, err := s.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("List = %v (%v), want nothing", all, err)
	}
	if n := left(t, s); len(n) != 0 {
		t.Errorf("drafts left: %v", n)
	}
	if entries, err := os.ReadDir(filepath.Dir(s.root)); err != nil || len(entries) != 1 {
		t.Errorf("something was written outside: %v (%v)", entries, err)
	}
}

func TestUnpackOfTornTarLeavesNothing(t *testing.T) {
	s := open(t)
	whole := tarOf(t, tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: 2000}, tar.Header{Typeflag: tar.TypeReg, Name: "b", Size: 10}).Bytes()
	for cut := 0; cut < len(whole); cut += 64 {
		if _, err := s.Unpack(t.Context(), bytes.NewReader(whole[:cut]), Limits{}); err == nil {
			t.Fatalf("a tar cut at %d of %d was taken", cut, len(whole))
		}
		if n := left(t, s); len(n) != 0 {
			t.Fatalf("drafts left after a cut at %d: %v", cut, n)
		}
	}
	broken := io.MultiReader(bytes.NewReader(whole[:1500]), iotest.ErrReader(errors.New("connection reset by peer")))
	if _, err := s.Unpack(t.Context(), broken, Limits{}); err == nil || !strings.Contains(err.Error(), "connection reset") {
		t.Errorf("Unpack from a broken connection = %v", err)
	}
	nothingLeft(t, s)
}

// Whoever packed the tar, in whatever order, the same content has the same name.
func TestUnpackNormalises(t *testing.T) {
	s := open(t)
	foreign := tarOf(t,
		tar.Header{Typeflag: tar.TypeReg, Name: "./b/c", Size: 3, Mode: 0o4777, Uid: 1000, Uname: "me"},
		tar.Header{Typeflag: tar.TypeReg, Name: ".git/config", Size: 3},
		tar.Header{Typeflag: tar.TypeDir, Name: "./b/"},
		tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: 1, Mode: 0o600})
	d, err := s.Unpack(t.Context(), foreign, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	src := t.TempDir()
	write(t, src, map[string]string{"a": "x", "b/c": "xxx"})
	if err := os.Chmod(filepath.Join(src, "b/c"), 0o755); err != nil {
		t.Fatal(err)
	}
	if want, err := Sum(t.Context(), src); err != nil || d != want {
		t.Errorf("the foreign tar is %s, the folder %s (%v)", d, want, err)
	}
}

func TestManyFilesUnpack(t *testing.T) {
	s, src := open(t), t.TempDir()
	files := map[string]string{}
	for i := range fewFiles + 10 {
		files[fmt.Sprintf("d%d/f%d", i%7, i)] = fmt.Sprint(i)
	}
	write(t, src, files)
	d, err := s.Snapshot(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(t.Context(), d); err != nil {
		t.Error(err)
	}
}

func FuzzUnpackStaysInside(f *testing.F) {
	f.Add([]byte("not a tar"))
	f.Add(tarOf(f, tar.Header{Typeflag: tar.TypeReg, Name: "a/b", Size: 5}).Bytes())
	f.Add(tarOf(f, tar.Header{Typeflag: tar.TypeSymlink, Name: "a", Linkname: "b"}).Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		s := open(t)
		d, err := s.Unpack(t.Context(), bytes.NewReader(b), Limits{Bytes: 1 << 16, Files: 100})
		if err != nil {
			nothingLeft(t, s)
			return
		}
		if err := s.Verify(t.Context(), d); err != nil {
			t.Error(err)
		}
	})
}
