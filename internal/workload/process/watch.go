package process

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"time"
)

const (
	watchEvery  = 100 * time.Millisecond // between two looks for a change
	reviveEvery = 10                     // looks between two for dead shims
	reviveMax   = time.Minute            // longest wait after a shim that would not start
)

// seen is what tells two states of an instance apart: files are replaced whole,
// so a change is another file or another time.
type seen struct{ spec, state mark }

type mark struct {
	at   time.Time
	size int64
}

func markOf(path string) mark {
	info, err := os.Stat(path)
	if err != nil {
		return mark{}
	}
	return mark{info.ModTime(), info.Size()}
}

// watch rings the bell and revives until ctx ends. It looks at mtimes, because
// the number of inotify instances a user may have is small and shared.
func (d *Driver) watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var last map[folder]seen
	late := map[folder]time.Time{}
	tries := map[folder]int{}
	for n := 0; ; n++ {
		now := map[folder]seen{}
		all, err := d.folders()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			d.log.Warn("the folder of instances cannot be read", "error", err)
		}
		for _, f := range all {
			now[f] = seen{markOf(f.path(specFile)), markOf(f.path(stateFile))}
			if n%reviveEvery == reviveEvery-1 && time.Now().After(late[f]) {
				d.reviveDead(ctx, f, late, tries)
			}
		}
		if !maps.Equal(last, now) {
			d.ring()
		}
		last = now
		if n%reviveEvery == 0 {
			d.reap()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (d *Driver) ring() {
	select {
	case d.bell <- struct{}{}:
	default: // it rings already
	}
}

// reviveDead gives a wanted instance a shim if it has none, with growing pauses
// if the shim will not start.
func (d *Driver) reviveDead(ctx context.Context, f folder, late map[folder]time.Time, tries map[folder]int) {
	dead := func() bool {
		alive, err := f.alive()
		w, werr := f.wish()
		return err == nil && werr == nil && !alive && w.Run
	}
	if !dead() {
		delete(tries, f)
		delete(late, f)
		return
	}
	err := f.atDoor(ctx, func() error {
		if !dead() {
			return nil
		}
		said, _ := os.ReadFile(f.path(errFile)) // only more words
		d.log.Warn("a wanted instance has no shim and gets a new one", "instance", string(f), "last_words", string(said))
		return d.revive(ctx, f)
	})
	d.ring()
	if err == nil || ctx.Err() != nil || errors.Is(err, fs.ErrNotExist) {
		return
	}
	tries[f]++
	late[f] = time.Now().Add(min(reviveMax, time.Second<<min(tries[f], 6)))
	d.log.Error("a shim does not start", "instance", string(f), "error", err)
}
