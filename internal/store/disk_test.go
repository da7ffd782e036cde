package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// childEnv names what a process started by a test does in place of the tests.
const childEnv = "SLIPWAY_STORE_CHILD"

func TestMain(m *testing.M) {
	children := map[string]func(ctx context.Context, path string) error{
		"write": childWrite, "limited": childLimited, "open": childOpen,
	}
	child, ok := children[os.Getenv(childEnv)]
	if !ok {
		os.Exit(m.Run())
	}
	if err := child(context.Background(), os.Args[1]); err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
	os.Exit(0)
}

// childOpen opens and closes.
func childOpen(ctx context.Context, path string) error {
	s, err := Open(ctx, path)
	if err != nil {
		return err
	}
	return s.Close()
}

// childLimited writes numbered lines until the system refuses to let a file grow.
func childLimited(ctx context.Context, path string) error {
	s, err := Open(ctx, path)
	if err != nil {
		return err
	}
	limit := unix.Rlimit{Cur: 1 << 20, Max: 1 << 20}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	return errors.Join(number(ctx, s, 0, os.Stdout), s.Close())
}

// number writes numbered lines, each with a want and a minute, and acknowledges each on w.
func number(ctx context.Context, s *Store, from int, w io.Writer) error {
	filler := strings.Repeat("x", 500)
	for n := from + 1; ; n++ {
		err := s.Write(ctx, func(tx *Tx) error {
			if err := tx.SetWant(delivery.Want{Service: "cart", Env: "prod", Release: "r1", Count: n}); err != nil {
				return err
			}
			if err := tx.PutMinutes([]Minute{minuteOf("cart", 0, fmt.Sprintf(`{"n":%d}`, n))}); err != nil {
				return err
			}
			_, err := tx.Append(delivery.Event{At: noon, Kind: delivery.EventIntent, Key: fmt.Sprint("line ", n), Text: filler})
			return err
		})
		if err != nil {
			return err
		}
		fmt.Fprintln(w, n)
	}
}

// child prepares this test binary to run as one of the children.
func child(t *testing.T, what, path string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, path)
	cmd.Env = append(os.Environ(), childEnv+"="+what)
	return cmd
}

// numbered checks that the store at path holds lines 1 to n, n at least acked, each once.
func numbered(t *testing.T, s *Store, acked int) int {
	t.Helper()
	report := must[Report](t)(s.Verify(t.Context()))
	n := int(report.Lines)
	if report.Broken != nil || n < acked || n > acked+1 {
		t.Fatalf("Verify = %+v (%+v), want %d or one more", report, report.Broken, acked)
	}
	for _, seq := range []int{1, n/2 + 1, n} {
		if n == 0 {
			break
		}
		lines := must[[]delivery.Event](t)(s.Events(t.Context(), EventQuery{Since: int64(seq - 1), Limit: 1}))
		if len(lines) != 1 || lines[0].Key != fmt.Sprint("line ", seq) {
			t.Fatalf("line %d is %v", seq, lines)
		}
	}
	wants := must[[]delivery.Want](t)(s.Wants(t.Context()))
	if n > 0 && (len(wants) != 1 || wants[0].Count != n) {
		t.Fatalf("want = %+v beside line %d", wants, n)
	}
	minutes := must[[]Minute](t)(s.Minutes(t.Context(), MinuteQuery{From: minute, To: minute.Add(time.Minute)}))
	if n > 0 && (len(minutes) != 1 || string(minutes[0].Doc) != fmt.Sprintf(`{"n":%d}`, n)) {
		t.Fatalf("minutes = %+v beside line %d", minutes, n)
	}
	return n
}

// complains checks that err is about path, says what, and names a cure.
func complains(t *testing.T, err error, path, what string) {
	t.Helper()
	bad, ok := errors.AsType[*FileError](err)
	if !ok {
		t.Fatalf("error = %v, want a FileError", err)
	}
	if bad.Path != path || bad.Next == "" || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), path) {
		t.Errorf("error = %v, want %q about %s", err, what, path)
	}
}

// SQLite says "full" in the same words whether the disk or max_page_count is at its end.
func TestFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "slipway.db")
	s := reopen(t, path)
	limit := func(pages int) {
		t.Helper()
		if err := s.Write(t.Context(), func(tx *Tx) error {
			var n int
			_, err := first(t.Context(), tx, []any{&n}, fmt.Sprint("PRAGMA max_page_count = ", pages))
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	limit(100)
	acked := &counter{}
	err := number(t.Context(), s, 0, acked)
	complains(t, err, path, "disk is full")
	if acked.n < 20 {
		t.Fatalf("full after %d lines", acked.n)
	}
	n := numbered(t, s, acked.n)
	// A write that needs no room goes on, and with room all of it goes on.
	limit(1 << 20)
	errs := crowd(t, s, 5, func(i int, tx *Tx) error {
		_, err := tx.Append(delivery.Event{At: noon, Kind: delivery.EventServer, Text: fmt.Sprint(i)})
		return err
	})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if report := must[Report](t)(s.Verify(t.Context())); report.Broken != nil || report.Lines != int64(n+5) {
		t.Errorf("Verify = %+v, want %d lines", report, n+5)
	}
}

// counter counts the lines written to it.
type counter struct{ n int }

func (c *counter) Write(b []byte) (int, error) { c.n++; return len(b), nil }

// A write that the system refuses is an error; what was acknowledged is there
// after a restart, and nothing more is written until then.
func TestDiskRefusesToWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "slipway.db")
	cmd := child(t, "limited", path)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil || !strings.Contains(stderr.String(), path+": the disk does not read or write") {
		t.Fatalf("child ended with %v: %s", err, stderr.String())
	}
	acked := strings.Count(string(out), "\n")
	if acked < 10 {
		t.Fatalf("only %d lines were acknowledged: %s", acked, stderr.String())
	}
	numbered(t, reopen(t, path), acked)
}

// After the disk failed a commit the store says so to every later write.
func TestBrokenStaysBroken(t *testing.T) {
	s := openStore(t)
	broken := errors.New("the disk is gone")
	release := occupy(t, s)
	s.writer.broken = broken // the writer waits for the function of occupy
	release()
	if err := s.Write(t.Context(), appendLine("x")); !errors.Is(err, broken) {
		t.Errorf("Write = %v, want %v", err, broken)
	}
}

// unprivileged prepares a child that permission bits hold for, whoever runs the test.
func unprivileged(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	cmd := child(t, "open", path)
	if os.Geteuid() != 0 {
		return cmd
	}
	exe := filepath.Join(filepath.Dir(filepath.Dir(path)), "child")
	if _, err := os.Stat(exe); err != nil {
		b, err := os.ReadFile(cmd.Path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(exe, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const nobody = 65534
	for _, name := range []string{filepath.Dir(filepath.Dir(path)), filepath.Dir(path), path, path + ".lock"} {
		if err := os.Chown(name, nobody, nobody); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	cmd.Path, cmd.Args[0] = exe, exe
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return cmd
}

func TestReadOnly(t *testing.T) {
	base, err := os.MkdirTemp("", "store") // t.TempDir lies below a folder that only its owner enters
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	dir := filepath.Join(base, "data")
	path := filepath.Join(dir, "slipway.db")
	if err := childOpen(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		dir, file, lock os.FileMode
		want            string
	}{
		"file":   {0o700, 0o400, 0o600, path + ": cannot be written"},
		"lock":   {0o700, 0o600, 0o400, path + ".lock: cannot be written"},
		"folder": {0o500, 0o600, 0o600, path + ": cannot be written"},
	} {
		t.Run(name, func(t *testing.T) {
			mode := func(dirMode, fileMode, lockMode os.FileMode) {
				t.Helper()
				if err := errors.Join(os.Chmod(dir, dirMode), os.Chmod(path, fileMode), os.Chmod(path+".lock", lockMode)); err != nil {
					t.Fatal(err)
				}
			}
			mode(c.dir, c.file, c.lock)
			out, err := unprivileged(t, path).CombinedOutput()
			mode(0o700, 0o600, 0o600)
			if err == nil || !strings.Contains(string(out), c.want) || !strings.Contains(string(out), "make the file") {
				t.Errorf("Open = %v: %s, want %q", err, out, c.want)
			}
			if out, err := unprivileged(t, path).CombinedOutput(); err != nil {
				t.Errorf("Open of the mended store = %v: %s", err, out)
			}
		})
	}
}

// A file that is torn is refused, and left as it is.
func TestTornFile(t *testing.T) {
	for name, c := range map[string]struct {
		tear func(db, wal string) error
		file string // that the error is about
		what string
	}{
		"empty":           {func(db, _ string) error { return os.Truncate(db, 0) }, "", "is empty"},
		"cut in header":   {func(db, _ string) error { return os.Truncate(db, 50) }, "", "damaged"},
		"cut":             {func(db, _ string) error { return cut(db) }, "", "is cut off"},
		"gone":            {func(db, wal string) error { return errors.Join(os.Remove(db), os.RemoveAll(wal)) }, "", "is gone"},
		"garbage header":  {func(db, _ string) error { return smear(db, 0, 100) }, "", "damaged or not a database"},
		"garbage pages":   {func(db, _ string) error { return smear(db, 4096, 8*4096) }, "", "is damaged"},
		"zeroed log":      {func(_, wal string) error { return zero(wal) }, "-wal", "is damaged"},
		"garbage log":     {func(_, wal string) error { return smear(wal, 0, 32) }, "-wal", "is damaged"},
		"stub of a log":   {func(_, wal string) error { return os.Truncate(wal, 20) }, "-wal", "is damaged"},
		"cut log":         {func(_, wal string) error { return cut(wal) }, "", "lost acknowledged writes"},
		"emptied log":     {func(_, wal string) error { return os.Truncate(wal, 0) }, "", "lost acknowledged writes"},
		"log gone":        {func(_, wal string) error { return os.Remove(wal) }, "", "lost acknowledged writes"},
		"smear in log":    {func(_, wal string) error { return smear(wal, 32+24+4096, 24+4096) }, "", "lost acknowledged writes"},
		"not of Slipway":  {func(db, wal string) error { return errors.Join(os.Remove(wal), foreign(db)) }, "", "not one of Slipway"},
		"a text":          {func(db, _ string) error { return os.WriteFile(db, []byte(strings.Repeat("hello ", 99)), 0o600) }, "", "not a database"},
		"a folder":        {func(db, _ string) error { return errors.Join(os.Remove(db), os.Mkdir(db, 0o700)) }, "", "is not a file"},
		"another history": {func(db, wal string) error { return errors.Join(os.Remove(wal), other(db)) }, "", "another history"},
	} {
		t.Run(name, func(t *testing.T) {
			path := crashed(t)
			if name == "cut" || name == "garbage pages" { // the file alone, as a clean stop leaves it
				if err := childOpen(t.Context(), path); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.tear(path, path+"-wal"); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(path)
			s, err := Open(t.Context(), path)
			if err == nil {
				report, err := s.Verify(t.Context())
				s.Close()
				if name != "garbage pages" || err == nil {
					t.Fatalf("Open worked, Verify = %+v, %v", report, err)
				}
				complains(t, err, path, c.what)
				return
			}
			complains(t, err, path+c.file, c.what)
			if after, _ := os.ReadFile(path); len(before) == 0 != (len(after) == 0) {
				t.Errorf("the file had %d bytes before Open and %d after", len(before), len(after))
			}
		})
	}
}

// crashed returns a database whose process was killed: 30 lines, the last ten of them in the log only.
func crashed(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "slipway.db")
	cmd := child(t, "write", path)
	cmd.Env = append(cmd.Env, "SLIPWAY_STORE_LINES=30")
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Fatalf("the child was not killed: %s", out)
	}
	if info, err := os.Stat(path + "-wal"); err != nil || info.Size() == 0 {
		t.Fatalf("there is no log: %v", err)
	}
	return path
}

// cut takes away the second half of a file.
func cut(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	return os.Truncate(name, info.Size()/2/4096*4096)
}

func zero(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	return os.WriteFile(name, make([]byte, info.Size()), 0o600)
}

// smear overwrites a piece of a file with noise.
func smear(name string, at, n int64) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	noise := make([]byte, n)
	for i := range noise {
		noise[i] = byte(i*7 + 3)
	}
	_, err = f.WriteAt(noise, at)
	return errors.Join(err, f.Close())
}

// foreign puts a database of someone else in place.
func foreign(name string) error {
	if err := os.Remove(name); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", dsn(name, writing))
	if err != nil {
		return err
	}
	_, err = db.Exec("CREATE TABLE t (x)")
	return errors.Join(err, db.Close())
}

// other puts a database of ours with other lines in place, as a wrong backup would.
func other(name string) error {
	dir, err := os.MkdirTemp(filepath.Dir(name), "other")
	if err != nil {
		return err
	}
	s, err := Open(context.Background(), filepath.Join(dir, "x.db"))
	if err != nil {
		return err
	}
	for range 50 {
		if err := s.Write(context.Background(), appendLine("other")); err != nil {
			return err
		}
	}
	return errors.Join(s.Close(), os.Rename(filepath.Join(dir, "x.db"), name))
}

func TestSecondProcessIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "slipway.db")
	s := reopen(t, path)
	_, err := Open(t.Context(), path)
	complains(t, err, path, fmt.Sprintf("in use by process %d", os.Getpid()))
	out, err := child(t, "open", path).CombinedOutput()
	if err == nil || !strings.Contains(string(out), fmt.Sprintf("in use by process %d", os.Getpid())) {
		t.Errorf("the second process got %v: %s", err, out)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := child(t, "open", path).CombinedOutput(); err != nil {
		t.Errorf("the process after got %v: %s", err, out)
	}
}

func TestOpenMakesPrivateFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b", "100%?#ü", "slipway.db")
	s := reopen(t, path)
	write(t, s, func(*Tx) error { return nil })
	for name, want := range map[string]os.FileMode{filepath.Dir(path): 0o700 | os.ModeDir, path: 0o600, path + "-wal": 0o600, path + ".lock": 0o600} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%s has mode %s, want %s", name, info.Mode(), want)
		}
	}
}
