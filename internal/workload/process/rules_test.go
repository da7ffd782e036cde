package process

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/porttest"
	"github.com/slipway-cd/slipway/internal/workload"
)

// Backoff doubles within its bounds and never starts many instances in step.
func TestCase46_BackoffGrowsToItsBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		least := time.Duration(rapid.Int64Range(1, int64(time.Second)).Draw(t, "min"))
		tune := Tuning{BackoffMin: least, BackoffMax: least * time.Duration(rapid.Int64Range(1, 1000).Draw(t, "factor"))}
		full := least
		for quick := range 40 {
			if quick > 0 {
				full = min(2*full, tune.BackoffMax)
			}
			if got := backoff(quick, tune); got > full || got < full-full/5 {
				t.Fatalf("after %d exits it waits %s, want %s less at most a fifth", quick, got, full)
			}
		}
	})
}

// Ready needs Rise good probes in a row, unready Fall bad ones.
func TestHealthFollowsRiseAndFall(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := health{rise: rapid.IntRange(1, 4).Draw(t, "rise"), fall: rapid.IntRange(1, 4).Draw(t, "fall")}
		var seen []bool
		ready := false
		for _, ok := range rapid.SliceOfN(rapid.Bool(), 1, 60).Draw(t, "probes") {
			seen = append(seen, ok)
			need := h.rise
			if ready {
				need = h.fall
			}
			turn := len(seen) >= need && !slices.Contains(seen[len(seen)-need:], ready)
			if changed := h.see(ok); changed != turn {
				t.Fatalf("after %v changed is %t, want %t", seen, changed, turn)
			}
			if turn {
				ready = !ready
			}
			if h.ready != ready {
				t.Fatalf("after %v ready is %t", seen, h.ready)
			}
		}
	})
}

// What is written is read back in order, however the files rotate: the newest
// lines all, the oldest as long as their file is kept.
func TestLogKeepsTheNewestInOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "") // one for each run of the property
		if err != nil {
			rt.Fatal(err)
		}
		path := filepath.Join(dir, logFile)
		size, files := rapid.Int64Range(200, 3000).Draw(rt, "bytes"), rapid.IntRange(1, 4).Draw(rt, "files")
		l, err := openLogger(path, size, files)
		if err != nil {
			rt.Fatal(err)
		}
		follower := &cursor{path: path, id: "a"}
		var wrote, followed []string
		for i := range rapid.IntRange(1, 80).Draw(rt, "lines") {
			text := fmt.Sprintf("%d %s", i, strings.Repeat("x", rapid.IntRange(0, 120).Draw(rt, "len")))
			l.write("stdout", []string{text})
			wrote = append(wrote, text)
			if rapid.IntRange(0, 9).Draw(rt, "restart") == 0 { // a shim that was killed in mid-line
				if _, err := l.f.WriteString(`{"time":"2026`); err != nil {
					rt.Fatal(err)
				}
				if err := l.Close(); err != nil {
					rt.Fatal(err)
				}
				if l, err = openLogger(path, size, files); err != nil {
					rt.Fatal(err)
				}
			}
			lines, err := follower.read()
			if err != nil {
				rt.Fatal(err)
			}
			followed = append(followed, texts(lines)...)
		}
		if !slices.Equal(followed, wrote) {
			rt.Fatalf("followed %d lines, want all %d", len(followed), len(wrote))
		}
		all, err := (&cursor{path: path, id: "a"}).read()
		if err != nil {
			rt.Fatal(err)
		}
		if got := texts(all); len(got) == 0 || !slices.Equal(got, wrote[len(wrote)-len(got):]) {
			rt.Fatalf("read %d lines that are not the newest of %d", len(got), len(wrote))
		}
		n := rapid.IntRange(1, 90).Draw(rt, "tail")
		tail, err := (&cursor{path: path, id: "a"}).last(n)
		if err != nil {
			rt.Fatal(err)
		}
		if want := texts(all)[max(0, len(all)-n):]; !slices.Equal(texts(tail), want) {
			rt.Fatalf("the last %d of %d lines are %d others", n, len(all), len(tail))
		}
		there, err := filepath.Glob(path + "*")
		if err != nil || len(there) > files {
			rt.Fatalf("there are %d files (%v), want %d at most", len(there), err, files)
		}
		if err := l.Close(); err != nil {
			rt.Fatal(err)
		}
	})
}

func texts(lines []workload.LogLine) []string {
	var out []string
	for _, l := range lines {
		out = append(out, l.Text)
	}
	return out
}

func TestLogCutsLongLinesAndCountsLostOnes(t *testing.T) {
	path := filepath.Join(t.TempDir(), logFile)
	l, err := openLogger(path, 10<<20, 3)
	if err != nil {
		t.Fatal(err)
	}
	l.pump("stderr", strings.NewReader(strings.Repeat("a", longest+10)+"\r\nshort\xff\nno end"))
	lines, err := (&cursor{path: path}).read()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{strings.Repeat("a", longest), strings.Repeat("a", 10), "short\uFFFD", "no end"}
	if got := texts(lines); !slices.Equal(got, want) {
		t.Errorf("read %d lines, want %d", len(got), len(want))
	}
	if tail := l.last(); len(tail) != 4 || len(tail[0]) > tailWide+10 {
		t.Errorf("the tail is %d lines, the first of %d bytes", len(tail), len(tail[0]))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l.write("stdout", []string{"lost", "too"})
	if err := l.open(); err != nil {
		t.Fatal(err)
	}
	l.write("stdout", []string{"found"})
	lines, err = (&cursor{path: path}).read()
	if err != nil {
		t.Fatal(err)
	}
	got := texts(lines)[4:]
	if len(got) != 2 || !strings.HasPrefix(got[0], "2 lines were lost") || got[1] != "found" {
		t.Errorf("after a write that failed there is %q", got)
	}
}

// No two shims pick the same port, though nobody listens there yet; a shim keeps
// its own.
func TestAClaimedPortIsNoOthers(t *testing.T) {
	_, text, err := net.SplitHostPort(porttest.Free(t))
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	var one, two claim
	defer one.drop()
	defer two.drop()
	for _, before := range []int{0, port, 0} {
		if got, err := one.pick(before, port, port); err != nil || got != port {
			t.Errorf("pick = %d, %v; want %d", got, err, port)
		}
		if got, err := two.pick(before, port, port); err == nil {
			t.Errorf("another picks %d, too", got)
		}
	}
	one.drop()
	if got, err := two.pick(0, port, port); err != nil || got != port {
		t.Errorf("once it is let go of, pick = %d, %v; want %d", got, err, port)
	}
}

func TestParseListeners(t *testing.T) {
	table := `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2850 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0 0 10 0
   1: 0100007F:2851 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 112 1 0 100 0 0 10 0
   2: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 113 1 0 100 0 0 10 0
   3: 00000000000000000000000001000000:1F91 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 114 1 0 100 0 0 10 0
`
	got := parseListeners(table, map[string]bool{"111": true, "112": true, "114": true})
	want := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:10320"), netip.MustParseAddrPort("[::1]:8081")}
	if !slices.Equal(got, want) {
		t.Errorf("parseListeners = %v, want %v", got, want)
	}
}

// A lock that was given back is free, even if a process that was forked
// meanwhile still holds the file open.
func TestLockIsFreeAfterUnlock(t *testing.T) {
	path := filepath.Join(t.TempDir(), lifeFile)
	f, free, err := lock(path)
	if err != nil || !free {
		t.Fatalf("lock = %t, %v", free, err)
	}
	if held, err := locked(path); err != nil || !held {
		t.Errorf("locked = %t, %v", held, err)
	}
	if _, free, err := lock(path); err != nil || free {
		t.Errorf("a second lock = %t, %v", free, err)
	}
	forked, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(forked)
	if err := unlock(f); err != nil {
		t.Fatal(err)
	}
	if held, err := locked(path); err != nil || held {
		t.Errorf("after unlock locked = %t, %v", held, err)
	}
}

// A pid that was used again, or is of another boot, is never taken for the old process.
func TestIdentityIsMoreThanAPid(t *testing.T) {
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = newSession()
	cmd.SysProcAttr.Pdeathsig = 0
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	this, err := identify(cmd.Process.Pid)
	if err != nil || !this.runs() || len(sessionOf(this)) != 1 {
		t.Fatalf("%+v does not run (%v)", this, err)
	}
	for _, other := range []identity{{}, {PID: this.PID, Start: this.Start + 1, Boot: this.Boot}, {PID: this.PID, Start: this.Start, Boot: "another"}} {
		if other.runs() || len(sessionOf(other)) != 0 {
			t.Errorf("%+v is taken for %+v", other, this)
		}
		if err := other.signal(9); err == nil {
			t.Errorf("a signal for %+v reached %+v", other, this)
		}
	}
	if !this.runs() {
		t.Fatal("a signal for another reached it")
	}
	if err := killAll(func() []identity { return sessionOf(this) }); err != nil {
		t.Error(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exitWords(err) != "signal: killed" {
		t.Errorf("Wait = %v, want it killed", err)
	}
}
