package artifact

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Versions are the entries of a folder in the order of people, without hidden ones.
func TestVersions(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"v10/": "", "v2": "x", ".git/": "", "v1-bad/": ""})
	got, err := Versions(dir)
	if err != nil || strings.Join(got, " ") != "v1-bad v2 v10" {
		t.Errorf("Versions = %q, %v", got, err)
	}
	if _, err := Versions(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Versions of nothing = %v", err)
	}
}

// What is taken from a folder has the bounds of an upload, and the digest that was
// computed before.
func TestTakeWithin(t *testing.T) {
	s, dir := open(t), t.TempDir()
	write(t, dir, map[string]string{"a": strings.Repeat("a", 4000), "sub/b": strings.Repeat("b", 4000), "c": strings.Repeat("c", 4000), ".git/huge": strings.Repeat("x", 50_000)})
	for name, c := range map[string]struct {
		l  Limits
		ok bool
	}{
		"fits": {Limits{Bytes: 12_000, Files: 4}, true}, "too large": {Limits{Bytes: 11_999, Files: 4}, false},
		"too many": {Limits{Bytes: 1 << 20, Files: 3}, false},
	} {
		sum, sumErr := SumWithin(t.Context(), dir, c.l)
		d, err := s.Take(t.Context(), dir, c.l)
		all, listErr := s.List(t.Context())
		if listErr != nil {
			t.Fatal(listErr)
		}
		switch {
		case c.ok && (err != nil || sumErr != nil || sum != d || len(all) != 1 || all[0] != d):
			t.Errorf("%s: taken %s, %v, computed %s, %v; kept %v", name, d, err, sum, sumErr, all)
		case !c.ok && (!errors.Is(err, delivery.ErrInvalid) || !errors.Is(sumErr, delivery.ErrInvalid) || len(all) != 0):
			t.Errorf("%s: Take = %v, SumWithin = %v, kept %v; want both refused and nothing kept", name, err, sumErr, all)
		}
		if _, err := s.Collect(t.Context(), func(delivery.Digest) bool { return false }); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Take(t.Context(), filepath.Join(dir, "none"), Limits{}); !errors.Is(err, delivery.ErrInvalid) {
		t.Errorf("Take of nothing = %v", err)
	}
}
