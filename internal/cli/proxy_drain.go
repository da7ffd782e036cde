package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/traffic"
	driver "github.com/slipway-cd/slipway/internal/traffic/proxy"
)

// drainPoll is how often it is looked whether the last request is done.
const drainPoll = 200 * time.Millisecond

type drainOptions struct {
	traffic.DrainOrder
	undo bool
	wait time.Duration
}

// drainView is what "slipway proxy drain -o json" prints.
type drainView struct {
	Target    string                  `json:"target"`
	InFlight  int                     `json:"in_flight"`
	Endpoints []traffic.EndpointState `json:"endpoints"`
}

func (s *session) proxyDrain(plane *planeOptions) *cobra.Command {
	var o drainOptions
	cmd := &cobra.Command{
		Use: "drain ENDPOINT|RELEASE", Short: "Take an endpoint, or all of a release, out of rotation", Args: between(1, 1),
		Long: "No new request goes to what is drained, whatever tables come, until it is undone or has left\n" +
			"the table. Waits until the last request there is done. The last healthy endpoint of a release\n" +
			"that takes traffic is refused without --force. Exits with 5 if requests are left when the wait ends.",
		Example: "  slipway proxy drain cart.r12.0 --why \"disk swap\"\n  slipway proxy drain 127.0.0.1:9001 --wait 2m\n  slipway proxy drain cart.r12.0 --undo",
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.undo && (o.Why != "" || o.Force) {
				return usageError{err: errors.New("--undo goes alone"), next: "slipway proxy drain " + args[0] + " --undo"}
			}
			if o.wait < 0 {
				return usageError{err: errors.New("--wait is not below 0; 0 does not wait"), next: "slipway proxy drain --help"}
			}
			d, err := s.plane(plane)
			if err != nil {
				return err
			}
			return s.drain(cmd.Context(), d, args[0], o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Why, "why", "", "why, for whoever meets it in slipway proxy routes")
	f.BoolVar(&o.Force, "force", false, "even the last healthy endpoint of a release that takes traffic")
	f.BoolVar(&o.undo, "undo", false, "put it back into rotation")
	f.DurationVar(&o.wait, "wait", 30*time.Second, "how long to wait for the requests in flight; 0 does not wait")
	return cmd
}

func (s *session) drain(ctx context.Context, d *driver.Driver, target string, o drainOptions) error {
	v := drainView{Target: target}
	var err error
	if o.undo {
		v.Endpoints, err = d.Undrain(ctx, target)
	} else {
		o.By = s.person()
		v.Endpoints, err = d.Drain(ctx, target, o.DrainOrder)
	}
	if err != nil {
		return absence(err)
	}
	over := false
	if !o.undo {
		if v.InFlight, err = left(ctx, d, v.Endpoints); err == nil && v.InFlight > 0 && o.wait > 0 {
			s.talk(fmt.Sprintf("  %s waiting for %s\n", s.look.sign(signWaits), plural(v.InFlight, "request")))
			v.InFlight, err = s.untilEmpty(ctx, d, v.Endpoints, o.wait)
			over = v.InFlight > 0
		}
		if err != nil {
			return absence(err)
		}
	}
	err = s.show(v, func() string { return s.drainTable(v, o.undo) }, func() []string { return idsOf(v.Endpoints) })
	if err == nil && over {
		return ended(exitTimeout)
	}
	return err
}

// untilEmpty waits until nothing is in flight on the endpoints, or the wait is over.
func (s *session) untilEmpty(ctx context.Context, d *driver.Driver, all []traffic.EndpointState, wait time.Duration) (int, error) {
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	for {
		n, err := left(ctx, d, all)
		if err != nil || n == 0 {
			return n, err
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return n, nil
		case <-ctx.Done():
			return n, ctx.Err()
		}
	}
}

// left counts the requests in flight on endpoints, in the table or not.
func left(ctx context.Context, d *driver.Driver, all []traffic.EndpointState) (int, error) {
	state, err := d.State(ctx)
	if err != nil {
		return 0, err
	}
	of := map[[2]string]bool{}
	for _, e := range all {
		of[[2]string{e.ID, e.Addr}] = true
	}
	n := 0
	count := func(seen []traffic.EndpointState) {
		for _, e := range seen {
			if of[[2]string{e.ID, e.Addr}] {
				n += e.InFlight
			}
		}
	}
	for _, r := range state.Routes {
		for _, p := range r.Pools {
			count(p.Endpoints)
		}
	}
	count(state.Draining)
	return n, nil
}

func (s *session) drainTable(v drainView, undo bool) string {
	names, back := strings.Join(idsOf(v.Endpoints), ", "), "slipway proxy drain "+v.Target+" --undo"
	switch {
	case undo:
		return fmt.Sprintf("%s back in rotation: %s\n", s.look.good("✔"), names) + next("slipway proxy routes")
	case v.InFlight > 0:
		return fmt.Sprintf("%s out of rotation: %s, %s still in flight\n", s.look.sign(signWaits), names, plural(v.InFlight, "request")) + next("slipway proxy routes", back)
	}
	return fmt.Sprintf("%s out of rotation: %s, nothing in flight\n", s.look.good("✔"), names) + next(back)
}

func idsOf(all []traffic.EndpointState) []string {
	out := make([]string, 0, len(all))
	for _, e := range all {
		out = append(out, e.ID)
	}
	return out
}
