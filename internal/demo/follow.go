package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// look is how often the story looks at what it waits for.
const look = 100 * time.Millisecond

// until asks done until it says yes. A server that is away is waited for.
func (s *stage) until(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		ok, err := done()
		switch {
		case err != nil && !errors.Is(err, client.ErrNoServer):
			return err
		case ok:
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it took too long: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// settled waits until a change is over in every environment named, or went back
// in one, and returns its rollouts in the order they began.
func (s *stage) settled(ctx context.Context, id delivery.ChangeID, envs []string) ([]delivery.Rollout, error) {
	return s.watch(ctx, id, envs, func(delivery.Rollout) {})
}

// follow is settled for all the environments a change passes by itself, and
// notes each step.
func (s *stage) follow(ctx context.Context, id delivery.ChangeID, note func(string, ...any)) ([]delivery.Rollout, error) {
	whole, err := s.api.Change(ctx, id)
	if err != nil {
		return nil, err
	}
	var envs []string
	for _, p := range s.places {
		envs = append(envs, p.Env)
	}
	if whole.Change.Only != "" {
		envs = []string{whole.Change.Only}
	}
	seen := map[string]bool{}
	return s.watch(ctx, id, envs, func(r delivery.Rollout) {
		line := fmt.Sprintf("%-8s %-10s %s", r.Env, r.State, r.Reason)
		if !seen[line] && r.State != delivery.Queued && r.State != delivery.Preparing {
			seen[line] = true
			note("%s", line)
		}
	})
}

func (s *stage) watch(ctx context.Context, id delivery.ChangeID, envs []string, tell func(delivery.Rollout)) ([]delivery.Rollout, error) {
	var out []delivery.Rollout
	err := s.until(ctx, func() (bool, error) {
		whole, err := s.api.Change(ctx, id)
		if err != nil {
			return false, err
		}
		out = whole.Rollouts
		slices.SortFunc(out, func(a, b delivery.Rollout) int { return int(a.Seq - b.Seq) })
		done := 0
		for _, r := range out {
			tell(r)
			switch {
			case r.State == delivery.Done:
				done++
			case r.State.Final():
				return true, nil
			}
		}
		return done >= len(envs), nil
	})
	return out, err
}

// stable is the version that is stable in an environment.
func (s *stage) stable(ctx context.Context, service, env string) (string, error) {
	board, err := s.api.Board(ctx)
	if err != nil {
		return "", err
	}
	for _, row := range board.Services {
		for _, cell := range row.Cells {
			if row.Service == service && cell.Env == env {
				return cell.Version, nil
			}
		}
	}
	return "", nil
}
