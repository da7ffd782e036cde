package accesslog

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited 30 s for %s", what)
		}
	}
}

// run runs l and returns what ends it.
func run(t *testing.T, l *Log) (end func()) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Run(ctx)
	}()
	end = func() { stop(); <-done }
	t.Cleanup(end)
	return end
}

// paths returns the path of each line in a file; it fails on a line that is no JSON.
func paths(t *testing.T, name string) []string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var out []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var e struct{ Path string }
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%s: %q: %v", name, lines.Text(), err)
		}
		out = append(out, e.Path)
	}
	return out
}

func TestEntry(t *testing.T) {
	e := Entry{
		Time:  time.Date(2026, 11, 23, 1, 2, 3, 4005600, time.FixedZone("", 3600)),
		Trace: [16]byte{0x0a, 0xf7, 15: 0x9c}, Span: [8]byte{0xb7, 7: 0x31}, Listener: "prod", Route: "prod/shop", Release: "r1",
		Method: "GET", Host: "shop", Path: `/a"b\c` + "\x01\xffé\u2028", Status: 200, Outcome: "ok", In: 1, Out: 2,
		Took: 1234567 * time.Nanosecond, Upstream: "127.0.0.1:9", Attempts: 1, Client: netip.MustParseAddr("127.0.0.1"), Protocol: "HTTP/1.1",
	}
	want := `{"time":"2026-11-23T00:02:03.004005Z","trace_id":"0af7000000000000000000000000009c","span_id":"b700000000000031",` +
		`"listener":"prod","route":"prod/shop","release":"r1","method":"GET","host":"shop","path":"/a\"b\\c\u0001` + "\ufffdé\u2028" +
		`","status":200,"outcome":"ok","bytes_in":1,"bytes_out":2,"duration_ms":1.234,"upstream":"127.0.0.1:9","attempts":1,` +
		`"client":"127.0.0.1","protocol":"HTTP/1.1"}` + "\n"
	if got := string(e.Append(nil)); got != want {
		t.Errorf("Append = %s, want %s", got, want)
	}
}

// What is written is JSON, whatever a request held, and reads back.
func TestEntryIsJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOf(rapid.Byte()).Draw(t, "s"))
		e := Entry{Path: s, Agent: rapid.String().Draw(t, "agent"), Took: time.Duration(rapid.Int64().Draw(t, "took")), In: rapid.Int64().Draw(t, "in")}
		line := e.Append(nil)
		var got struct {
			Path  string
			Agent string  `json:"user_agent"`
			In    int64   `json:"bytes_in"`
			Took  float64 `json:"duration_ms"`
		}
		if err := json.Unmarshal(line, &got); err != nil || bytes.IndexByte(line, '\n') != len(line)-1 {
			t.Fatalf("%q: %v", line, err)
		}
		if got.Path != strings.ToValidUTF8(s, "\ufffd") && utf8.ValidString(s) || got.Agent != e.Agent || got.In != e.In || got.Took < 0 {
			t.Fatalf("%q reads back as %+v", line, got)
		}
	})
}

func TestEveryLineIsWrittenOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	l := New(path, slog.New(slog.DiscardHandler))
	end := run(t, l)
	const writers, each = 8, 500
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				l.Add(&Entry{Path: fmt.Sprint(w, "/", i)})
			}
		})
	}
	all.Wait()
	end()
	seen := map[string]bool{}
	for _, p := range paths(t, path) {
		seen[p] = true
	}
	if len(seen) != writers*each || l.Written() != writers*each || l.Dropped() != 0 {
		t.Errorf("%d lines in the file, %d counted, %d dropped, want %d", len(seen), l.Written(), l.Dropped(), writers*each)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v, want its owner's only", info.Mode(), err)
	}
}

func TestNoFileBeforeTheFirstLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	l := New(path, slog.New(slog.DiscardHandler))
	run(t, l)()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the file of a log that is off: %v", err)
	}
}

func TestMovedAwayFileIsMadeAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	l := New(path, slog.New(slog.DiscardHandler))
	run(t, l)
	l.Add(&Entry{Path: "one"})
	await(t, "the first line", func() bool { return l.Written() == 1 })
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	l.Add(&Entry{Path: "two"})
	await(t, "the second line", func() bool { return l.Written() == 2 })
	if a, b := paths(t, path+".old"), paths(t, path); len(a) != 1 || a[0] != "one" || len(b) != 1 || b[0] != "two" {
		t.Errorf("the old file has %q, the new one %q", a, b)
	}
}

// Two processes write and rotate the same file, as during an upgrade: no line is
// lost but those of files beyond the third.
func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	line := func(i int) []byte { return (&Entry{Path: fmt.Sprint(i)}).Append(nil) }
	size := int64(len(line(1000)))
	one, two := &file{path: path, limit: 10 * size}, &file{path: path, limit: 10 * size}
	defer one.close()
	defer two.close()
	const n = 37
	for i := range n {
		f := one
		if i%2 == 1 {
			f = two
		}
		if got, err := f.write(line(1000 + i)); err != nil || got != int(size) {
			t.Fatalf("write = %d, %v", got, err)
		}
	}
	next := 1000
	for _, name := range []string{path + ".3", path + ".2", path + ".1", path} {
		for _, p := range paths(t, name) {
			if p != fmt.Sprint(next) {
				t.Fatalf("%s holds %s, want %d", name, p, next)
			}
			next++
		}
	}
	if next != 1000+n {
		t.Errorf("the last line is %d, want %d", next-1, 1000+n-1)
	}
	for range 20 {
		if _, err := one.write(line(9999)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(path + ".4"); !os.IsNotExist(err) {
		t.Errorf("a fourth old file: %v", err)
	}
}

// lines takes what a logger says.
type lines chan []byte

func (l lines) Write(b []byte) (int, error) {
	l <- bytes.Clone(b)
	return len(b), nil
}

// A folder that is not there: nothing waits, what is too much is dropped and
// counted, and when it is there again lines are written.
func TestDiskThatFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	said := make(lines, 10)
	l := New(filepath.Join(dir, "access.log"), slog.New(slog.NewTextHandler(said, nil)))
	end := run(t, l)
	e := &Entry{Path: strings.Repeat("x", 1000)}
	const n = 3 * maxQueued / 1000
	for range n {
		l.Add(e)
	}
	if l.Dropped() == 0 || l.Dropped() > n {
		t.Errorf("%d of %d lines are dropped", l.Dropped(), n)
	}
	if got := string(<-said); !strings.Contains(got, "access log cannot be written") {
		t.Errorf("the log says %q", got)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	await(t, "the lines that waited", func() bool { return l.Written()+l.Dropped() == n })
	end()
	if got := len(paths(t, filepath.Join(dir, "access.log"))); uint64(got) != l.Written() || got == 0 {
		t.Errorf("%d lines in the file, %d counted", got, l.Written())
	}
}

// A write that stops within a line goes on where it stopped, or leaves the rest
// out when the file is another one by then.
func TestTornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	f := &file{path: path, limit: maxSize}
	defer f.close()
	a, b := (&Entry{Path: "a"}).Append(nil), (&Entry{Path: "b"}).Append(nil)
	both := append(append([]byte{}, a...), b...)
	for _, moved := range []bool{false, true} {
		if _, err := f.write(both[:10]); err != nil {
			t.Fatal(err)
		}
		if moved {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := f.write(both[10:]); err != nil {
			t.Fatal(err)
		}
		want := "[a b]"
		if moved {
			want = "[b]"
		}
		if got := fmt.Sprint(paths(t, path)); got != want {
			t.Errorf("moved %v: the file holds %s, want %s", moved, got, want)
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	l := New(filepath.Join(b.TempDir(), "access.log"), slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx) }()
	e := &Entry{Time: time.Now(), Trace: [16]byte{0x0a, 0xf7, 15: 0x9c}, Span: [8]byte{0xb7, 7: 0x31}, Listener: "prod", Route: "prod/shop", Release: "r1", Method: "GET", Host: "shop.localhost", Path: "/a/b?x", Status: 200, Outcome: "ok", Upstream: "127.0.0.1:9", Attempts: 1, Agent: "bench", Client: netip.MustParseAddr("127.0.0.1"), Protocol: "HTTP/1.1"}
	b.ReportAllocs()
	for b.Loop() {
		l.Add(e)
	}
	stop()
	<-done
	b.ReportMetric(float64(l.Dropped())/float64(b.N), "dropped/op")
}
