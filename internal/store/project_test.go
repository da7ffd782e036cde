package store

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Who put the project in force is told however long ago that was, and also of a
// database from before it was kept.
func TestProjectLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "slipway.db")
	s := reopen(t, path)
	if _, found, err := s.ProjectLine(t.Context()); found || err != nil {
		t.Errorf("line of no project = %v %v", found, err)
	}
	told := func(want string) {
		t.Helper()
		e, found, err := s.ProjectLine(t.Context())
		if err != nil || !found || e.By != want || e.Kind != delivery.EventProject || e.Hash == "" {
			t.Errorf("line = %+v %v %v, want by %s", e, found, err, want)
		}
	}
	for i, by := range []string{"ann", "ben"} {
		write(t, s, func(tx *Tx) error {
			if err := tx.SaveProject(delivery.Project{Name: "shop"}, []byte(fmt.Sprint("# ", i))); err != nil {
				return err
			}
			if _, err := tx.Append(delivery.Event{At: noon, Kind: delivery.EventProject, By: by, Text: "project shop"}); err != nil {
				return err
			}
			for range MaxLimit {
				if _, err := tx.Append(delivery.Event{At: noon, Kind: delivery.EventAsked, By: "kim", Text: `says "kind":"project"`}); err != nil {
					return err
				}
			}
			return nil
		})
		told(by)
	}
	write(t, s, func(tx *Tx) error {
		tx.book("")
		_, err := tx.exec(`UPDATE projects SET line = 0`)
		return err
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, path)
	told("ben")
}
