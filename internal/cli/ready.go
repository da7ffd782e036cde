package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// portsFree refuses a project whose environments want addresses that belong to
// somebody else. What the data plane of this state listens on is its own.
func (s *session) portsFree(ctx context.Context, state string, p delivery.Project) error {
	var own []string
	if s.Roof.Listening != nil {
		var err error
		if own, err = s.Roof.Listening(ctx, state); err != nil {
			return nil //nolint:nilerr // it runs and does not answer yet: up waits for it, and says so if it never does
		}
	}
	for i, e := range p.Environments {
		if slices.Contains(own, e.Listen) {
			continue
		}
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", e.Listen)
		if err == nil {
			err = l.Close()
		}
		field := fmt.Sprintf("environments[%d].listen", i)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, syscall.EADDRINUSE):
			return delivery.InvalidNext(field, e.Listen+" is in use by another process", "end what uses it, or change listen: in "+manifestName)
		case err != nil:
			return delivery.InvalidNext(field, e.Listen+" cannot be listened on: "+err.Error(), "change listen: in "+manifestName)
		}
	}
	return nil
}

// healthTime is how long what is stable may take until it is whole again, after
// everything was started anew.
const healthTime = 60 * time.Second

// healthy waits until every stable release has the healthy instances that it
// should have, and says which have not in time. code is what it ends with
// otherwise.
func (s *session) healthy(ctx context.Context, api *client.Client, limit time.Duration, code exit) (exit, error) {
	tick := time.NewTicker(frameTime)
	defer tick.Stop()
	over := time.NewTimer(limit)
	defer over.Stop()
	block := screen{out: s.Stderr, width: s.look.width}
	waited := false
	for {
		board, err := api.Board(ctx)
		if err != nil {
			return code, err
		}
		short := wanting(board)
		if len(short) == 0 {
			if waited {
				block.above("  " + s.look.good("✔") + " every service is healthy in every environment it runs in")
			}
			return code, nil
		}
		if s.look.live {
			block.draw([]string{"  " + s.look.sign(signRuns) + " " + strings.Join(short, ", ")})
		} else if !waited {
			s.talk("  " + s.look.sign(signRuns) + " " + strings.Join(short, ", ") + "\n")
		}
		waited = true
		select {
		case <-ctx.Done():
			return code, ctx.Err()
		case <-over.C:
			block.done()
			for _, one := range short {
				s.talk("  " + s.look.bad("✖") + " " + one + " after " + span(limit) + "\n")
			}
			s.talk(next("slipway doctor"))
			return exitFailed, nil
		case <-tick.C:
		}
	}
}

// wanting lists what is stable and has fewer healthy instances than it should.
// What a rollout has taken all traffic from need not have any. Where the server
// counts no instance at all it has not started them yet.
func wanting(b delivery.Board) []string {
	var short []string
	for _, row := range b.Services {
		for _, c := range row.Cells {
			replaced := c.Flight != nil && c.Flight.Weight == delivery.Full
			want := max(1, c.Want)
			if c.Version != "" && c.Healthy < want && !replaced {
				short = append(short, fmt.Sprintf("%s %s in %s: %d of %d healthy", row.Service, c.Version, c.Env, c.Healthy, want))
			}
		}
	}
	return short
}
