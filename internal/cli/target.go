package cli

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// target is what a person names: a change by its number, or a service.
type target struct {
	change  delivery.ChangeID
	env     string // of a rollout: "7/prod"
	service string
}

// targetOf reads "7", "#7", "7/prod", "7/prod.2" or a service's name.
func targetOf(arg string) (target, error) {
	number, env, _ := strings.Cut(strings.TrimPrefix(arg, "#"), "/")
	n, err := strconv.ParseInt(number, 10, 64)
	if err == nil && n > 0 {
		env, _, _ = strings.Cut(env, ".")
		return target{change: delivery.ChangeID(n), env: env}, nil
	}
	if arg == "" || strings.ContainsAny(arg, "/# ") {
		return target{}, usageError{err: fmt.Errorf("%q is neither the number of a change nor a service", arg), next: "slipway history"}
	}
	return target{service: arg}, nil
}

// changeOf is the server to ask and the change that an argument means, as
// newestChange finds it.
func (s *session) changeOf(ctx context.Context, arg string) (*client.Client, target, error) {
	t, err := targetOf(arg)
	if err != nil {
		return nil, t, err
	}
	api, err := s.api()
	if err != nil {
		return nil, t, err
	}
	t.change, err = newestChange(ctx, api, t)
	return api, t, err
}

// newestChange finds the change that a target means: the one named, or for a
// service the one under way, or else the last one submitted.
func newestChange(ctx context.Context, api *client.Client, t target) (delivery.ChangeID, error) {
	if t.change != 0 {
		return t.change, nil
	}
	r, ok, err := underWay(ctx, api, t)
	if err != nil || ok {
		return r.Change, err
	}
	changes, _, err := client.Read[client.List[delivery.Change]](ctx, api, "/changes?limit=1&service="+url.QueryEscape(t.service))
	if err != nil {
		return 0, err
	}
	if len(changes.Items) == 0 {
		return 0, &delivery.Refusal{Code: delivery.CodeNotInFlight, Field: "service", Why: t.service + " has never been deployed", Next: "slipway deploy " + t.service}
	}
	return changes.Items[0].ID, nil
}

// underWay finds the rollout of a target that has begun and is not over, or
// else one that is queued.
func underWay(ctx context.Context, api *client.Client, t target) (delivery.Rollout, bool, error) {
	q := url.Values{"open": {"true"}, "limit": {"500"}}
	if t.service != "" {
		q.Set("service", t.service)
	}
	if t.env != "" {
		q.Set("env", t.env)
	}
	list, _, err := client.Read[client.List[delivery.Rollout]](ctx, api, "/rollouts?"+q.Encode())
	var found delivery.Rollout
	ok := false
	for _, r := range list.Items {
		if t.change != 0 && r.Change != t.change {
			continue
		}
		if r.State.Active() {
			return r, true, err
		}
		found, ok = r, true
	}
	return found, ok, err
}
