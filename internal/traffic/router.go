package traffic

import (
	"context"
	"fmt"
)

// Router moves requests through any engine and holds the rules they share: a
// table that does not add up never reaches a Driver.
type Router struct{ d Driver }

// New returns a Router over d.
func New(d Driver) *Router { return &Router{d: d} }

// Apply validates t and puts it in force; when it returns nil, new requests are
// routed by t. A bad table gives a *delivery.FieldError and a stale generation
// delivery.ErrConflict; in both cases nothing changed.
func (r *Router) Apply(ctx context.Context, t Table) error {
	if err := t.Validate(); err != nil {
		return fmt.Errorf("traffic: apply generation %d: %w", t.Generation, err)
	}
	if err := r.d.Apply(ctx, t); err != nil {
		return fmt.Errorf("traffic: apply generation %d: %w", t.Generation, err)
	}
	return nil
}

// State returns what is in force now.
func (r *Router) State(ctx context.Context) (State, error) {
	s, err := r.d.State(ctx)
	if err != nil {
		return State{}, fmt.Errorf("traffic: state: %w", err)
	}
	return s, nil
}

// Watch calls frame with counts from second since on until ctx ends or the
// engine goes away, and says which.
func (r *Router) Watch(ctx context.Context, since int64, frame func(Frame)) error {
	if err := r.d.Watch(ctx, since, frame); err != nil {
		return fmt.Errorf("traffic: watch: %w", err)
	}
	return nil
}
