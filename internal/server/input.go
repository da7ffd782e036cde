package server

import (
	"github.com/danielgtaylor/huma/v2"

	"github.com/slipway-cd/slipway/internal/access"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// Asker is who asks. Like every struct that inputs share, it is exported for huma to
// see into it.
type Asker struct {
	User string `header:"Slipway-User" doc:"who asks with the owner's token, for the ledger; at most 64 printable characters, else \"api\". A named token, and a session, are themselves"`
	pass access.Pass
}

// Resolve finds out who asks. Huma calls it before the handler.
func (a *Asker) Resolve(ctx huma.Context) []error {
	a.pass, _ = ctx.Context().Value(passKey{}).(access.Pass)
	return nil
}

// by returns the name for the ledger.
func (a *Asker) by() string { return a.pass.Name }

// said is one text of a person, and the field it came in.
type said struct{ field, text string }

// plain refuses texts that would spoil the terminal they are printed on later.
func plain(texts ...said) error {
	for _, t := range texts {
		if err := delivery.Plain(t.field, t.text); err != nil {
			return err
		}
	}
	return nil
}
