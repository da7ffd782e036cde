package store

import (
	"bufio"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// childWrite opens the store and writes numbered lines until it is killed. With
// SLIPWAY_STORE_LINES it kills itself after that many.
func childWrite(ctx context.Context, path string) error {
	s, err := Open(ctx, path)
	if err != nil {
		return err
	}
	lines, err := s.Events(ctx, EventQuery{Newest: true, Limit: 1})
	if err != nil {
		return err
	}
	from := 0
	if len(lines) > 0 {
		from = int(lines[0].Seq)
	}
	var out io.Writer = os.Stdout
	if n, err := strconv.Atoi(os.Getenv("SLIPWAY_STORE_LINES")); err == nil {
		out = &suicide{after: n}
	}
	return number(ctx, s, from, out)
}

// suicide kills its process after some lines.
type suicide struct{ after int }

func (s *suicide) Write(b []byte) (int, error) {
	if s.after--; s.after == 0 {
		return 0, syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	return len(b), nil
}

// A process that is killed at any moment leaves every line it acknowledged, each once.
func TestKilledAtAnyMoment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "slipway.db")
	const rounds = 30
	acked := 0
	for round := range rounds {
		cmd := child(t, "write", path)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Half the rounds are killed by the clock, from the first instruction on,
		// half after a number of lines.
		stop := rand.IntN(40) + 1
		if round%2 == 0 {
			stop = -1
			timer := time.AfterFunc(time.Duration(rand.IntN(200))*time.Millisecond, func() { cmd.Process.Kill() })
			defer timer.Stop()
		}
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			n, err := strconv.Atoi(lines.Text())
			if err != nil {
				break // cut off by the kill
			}
			acked = n
			if stop--; stop == 0 {
				cmd.Process.Kill()
			}
		}
		cmd.Wait() // it was killed
		if cmd.ProcessState.Exited() {
			t.Fatalf("round %d: the child ended by itself: %s", round, cmd.ProcessState)
		}
		s, err := Open(t.Context(), path)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		acked = numbered(t, s, acked)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d lines in %d rounds", acked, rounds)
	if acked == 0 {
		t.Error("nothing was ever acknowledged")
	}
}

// What is read after a kill was never half written: state and line go together.
func TestStateAndLineGoTogether(t *testing.T) {
	path := crashed(t)
	s := reopen(t, path)
	n := numbered(t, s, 30)
	write(t, s, func(tx *Tx) error {
		return tx.SetWant(delivery.Want{Service: "cart", Env: "prod", Release: "r1"})
	})
	if n != 30 {
		t.Errorf("%d lines, want 30", n)
	}
}
