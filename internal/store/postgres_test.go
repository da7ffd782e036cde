package store

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// texts returns every statement that a store prepares in a full life, but for
// those that only SQLite is told.
func texts(t *testing.T) []string {
	t.Helper()
	s := openStore(t)
	lived(t, s)
	remembered(t, s)
	write(t, s, func(tx *Tx) error {
		if err := tx.MarkAcked("s000", "prod", 1); err != nil {
			return err
		}
		_, err := tx.Append(delivery.Event{At: noon, Kind: delivery.EventIntent, Key: "k"})
		return err
	})
	write(t, s, func(tx *Tx) error {
		return tx.SetWant(delivery.Want{Service: "s000", Env: "prod", Release: release("s000", "v2").ID})
	})
	ctx := t.Context()
	s.Project(ctx)
	s.Release(ctx, "r1")
	s.ReleaseNamed(ctx, "cart", "v1")
	s.Releases(ctx, "cart", 1)
	s.Changes(ctx, ChangeQuery{Service: "cart", Before: 1})
	s.Changes(ctx, ChangeQuery{Service: "cart", Env: "prod", Kind: delivery.Config, Person: "ann", From: noon, To: noon, States: []delivery.State{delivery.Done, delivery.Reverted}, Before: 1})
	s.Changes(ctx, ChangeQuery{Env: "prod"})
	s.People(ctx, 1)
	s.HoldsOf(ctx, "cart", 1)
	s.RolloutsOf(ctx, []delivery.ChangeID{1})
	s.Unsettled(ctx)
	s.Exposure(ctx, "1/dev")
	s.TraceIDs(ctx, 1)
	s.Rollouts(ctx, RolloutQuery{Service: "cart", Env: "prod", Change: 1, Open: true, BeforeSeq: 9})
	s.Events(ctx, EventQuery{Since: 1, Before: 9, Change: 1, Rollout: "1/prod", Service: "cart", Env: "prod", Newest: true})
	s.Minutes(ctx, MinuteQuery{Service: "cart", Env: "prod", Release: "r1", From: minute, To: minute.Add(time.Hour)})
	s.Trace(ctx, "t")
	write(t, s, func(tx *Tx) error {
		_, errM := tx.PruneMinutes(minute)
		_, errT := tx.PruneTraces(minute)
		again := tx.AppendTape("1/dev", 0, []byte{0, 255, 1})
		return errors.Join(errM, errT, again, tx.PutExposure("1/dev", false, []byte(`{}`)), tx.LastTrace("t"))
	})
	r := must[delivery.Rollout](t)(s.Rollout(ctx, "1/dev"))
	r.Started = noon
	write(t, s, func(tx *Tx) error { _, err := tx.SaveRollout(r); return err })
	aside(t, s)
	if _, err := s.Verify(ctx); err != nil {
		t.Fatal(err)
	}
	var all []string
	for text := range s.writer.stmts {
		all = append(all, text)
	}
	s.pool.stmts.Range(func(text, _ any) bool {
		all = append(all, text.(string))
		return true
	})
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(text string) bool { return text == "BEGIN IMMEDIATE" })
}

// The SQL is the common subset of SQLite and PostgreSQL: its form is checked, and
// a real PostgreSQL runs the migrations and prepares every statement.
func TestSQLIsCommon(t *testing.T) {
	const opener = "-- +goose Up\n"
	files, err := filepath.Glob("migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		_, up, ok := strings.Cut(string(b), opener)
		if !ok {
			t.Fatalf("%s has no %q", name, opener)
		}
		script.WriteString(up)
		for _, m := range regexp.MustCompile(`(?m)^ {4}([a-z_]+) +([A-Z]+)\b`).FindAllStringSubmatch(up, -1) {
			if !slices.Contains([]string{"TEXT", "BIGINT", "BOOLEAN"}, m[2]) {
				t.Errorf("%s: column %s is a %s", name, m[1], m[2])
			}
		}
	}
	all := texts(t)
	if len(all) < 58 {
		t.Errorf("only %d statements were collected", len(all))
	}
	alien := regexp.MustCompile(`(?i)\?|pragma|autoincrement|rowid|insert or |replace into|ifnull|datetime|json_|glob `)
	for i, text := range all {
		if found := alien.FindString(text); found != "" {
			t.Errorf("%q is not common SQL: %s", found, text)
		}
		if !strings.Contains(text, "SAVEPOINT") && text != "COMMIT" && text != "ROLLBACK" {
			fmt.Fprintf(&script, "PREPARE s%d AS %s;\n", i, text)
		}
	}
	server(t, script.String())
}

// server runs a script on a PostgreSQL of its own.
func server(t *testing.T, script string) {
	t.Helper()
	bins, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(bins) == 0 {
		t.Fatal("no PostgreSQL is installed, so whether it takes our SQL is unknown; make setup installs it")
	}
	dir, err := os.MkdirTemp("", "pg") // short: it holds a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	as := someone(t, dir)
	run := func(stdin, name string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), filepath.Join(bins[len(bins)-1], name), args...)
		cmd.Dir, cmd.SysProcAttr, cmd.Stdin = dir, as, strings.NewReader(stdin)
		log, err := os.Create(filepath.Join(dir, name+".log")) // a file: the server keeps it open
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Run(); err != nil {
			out, _ := os.ReadFile(log.Name())
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
	}
	data := filepath.Join(dir, "data")
	run("", "initdb", "--no-sync", "-A", "trust", "-U", "store", "-D", data)
	run("", "pg_ctl", "start", "-w", "-D", data, "-o", "-F -k "+dir+" -c listen_addresses=''")
	defer run("", "pg_ctl", "stop", "-m", "immediate", "-D", data)
	run(script, "psql", "-X", "-v", "ON_ERROR_STOP=1", "-h", dir, "-U", "store", "-d", "postgres")
	t.Logf("%s ran the migrations and prepared every statement", bins[len(bins)-1])
}

// someone gives dir to a user that PostgreSQL is willing to run as, and returns how to become them.
func someone(t *testing.T, dir string) *syscall.SysProcAttr {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		t.Fatal(err)
	}
	uid, errU := strconv.Atoi(u.Uid)
	gid, errG := strconv.Atoi(u.Gid)
	if errU != nil || errG != nil {
		t.Fatal(errU, errG)
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}
