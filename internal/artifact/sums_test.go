package artifact

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// A digest is that of the content, whatever changed in between, and nothing is read for
// it while nothing did.
func TestSums(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "lib", "main")
	long := time.Now().Add(-time.Hour)
	put := func(text string, at time.Time) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644), os.Chtimes(file, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	var sums Sums
	same := func(what string) {
		t.Helper()
		got, err := sums.SumWithin(t.Context(), dir, Limits{})
		want, wrong := Sum(t.Context(), dir)
		if err != nil || wrong != nil || got != want {
			t.Errorf("%s: SumWithin = %s %v, want %s %v", what, got, err, want, wrong)
		}
	}
	put("one", long)
	same("first")
	if len(sums.of) != 1 {
		t.Fatal("nothing is remembered")
	}
	known := sums.of[dir]
	known.digest = "sha256:remembered"
	sums.of[dir] = known
	if got, err := sums.SumWithin(t.Context(), dir, Limits{}); got != "sha256:remembered" || err != nil {
		t.Errorf("unchanged = %s %v, want what is remembered", got, err)
	}
	put("two", long.Add(time.Second))
	same("another time")
	put("three", long.Add(time.Second))
	same("another size")
	if err := os.Chmod(file, 0o755); err != nil {
		t.Fatal(err)
	}
	same("another mode")
	if err := os.Symlink("main", filepath.Join(dir, "lib", "link")); err != nil {
		t.Fatal(err)
	}
	same("a link more")
	if err := os.Remove(filepath.Join(dir, "lib", "link")); err != nil {
		t.Fatal(err)
	}
	same("a link less")
	put("four", time.Now())
	same("just now")
	put("five", time.Now()) // maybe in the same moment, and of the same size
	same("just now again")
	if _, err := sums.SumWithin(t.Context(), dir, Limits{Files: 1}); !errors.Is(err, delivery.ErrInvalid) {
		t.Errorf("too many files = %v, want it refused", err)
	}
	for i := range maxSums + 10 {
		path := filepath.Join(t.TempDir(), fmt.Sprint(i))
		if err := errors.Join(os.WriteFile(path, []byte{byte(i)}, 0o644), os.Chtimes(path, long, long)); err != nil {
			t.Fatal(err)
		}
		if _, err := sums.SumWithin(t.Context(), path, Limits{}); err != nil {
			t.Fatal(err)
		}
	}
	if len(sums.of) != maxSums {
		t.Errorf("%d digests are remembered, want %d", len(sums.of), maxSums)
	}
}
