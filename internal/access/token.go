package access

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

// tokenMark begins every named token, so that people and scanners know one when they
// see it.
const tokenMark = "slw_"

// NewToken is what a token is to be.
type NewToken struct {
	Name   string
	Access delivery.Access
	Ends   time.Time // the zero time is never
	By     string    // who makes it
}

// Create makes a token and returns it with what opens it, which nobody can find out
// again. The ledger keeps who made it.
func (g *Guard) Create(ctx context.Context, n NewToken) (delivery.Token, string, error) {
	now := time.Now().UTC().Truncate(time.Second)
	tok := delivery.Token{Name: n.Name, Access: n.Access, By: n.By, Created: now}
	if !n.Ends.IsZero() {
		ends := n.Ends.UTC().Truncate(time.Second)
		tok.Ends = &ends
	}
	if err := admits(tok); err != nil {
		return tok, "", err
	}
	secret := tokenMark + rand.Text()
	err := g.d.Store.Write(ctx, func(tx *store.Tx) error {
		if err := tx.PutToken(hashOf(secret), tok); err != nil {
			return err
		}
		text := fmt.Sprintf("token %s made for %s", tok.Name, tok.Access.Words())
		if tok.Ends != nil {
			text += ", until " + tok.Ends.Format(time.RFC3339)
		}
		return line(tx, now, n.By, text, tok)
	})
	if err != nil {
		return delivery.Token{}, "", err
	}
	return tok, secret, nil
}

// Revoke takes a token back. What it opened is over at once.
func (g *Guard) Revoke(ctx context.Context, name, by string) (delivery.Token, error) {
	now := time.Now().UTC().Truncate(time.Second)
	var tok delivery.Token
	err := g.d.Store.Write(ctx, func(tx *store.Tx) (err error) {
		if tok, err = tx.RevokeToken(name, delivery.Revoked{By: by, At: now}); err != nil {
			return err
		}
		return line(tx, now, by, fmt.Sprintf("token %s revoked", tok.Name), tok)
	})
	return tok, err
}

// Tokens returns the named tokens, those that open nothing any more last. Whoever
// shows them to others than admins says who may do what.
func (g *Guard) Tokens(ctx context.Context) ([]delivery.Token, error) {
	return g.d.Store.Tokens(ctx)
}

// line writes what somebody may do from now on into the ledger.
func line(tx *store.Tx, at time.Time, by, text string, about any) error {
	data, err := json.Marshal(about)
	if err != nil {
		return fmt.Errorf("access: %w", err)
	}
	_, err = tx.Append(delivery.Event{At: at, Kind: delivery.EventAccess, By: by, Text: text, Data: data})
	return err
}

// taken are names that the ledger has another meaning for.
func taken() []string { return []string{"anonymous", apiName, ownerName, "slipway"} }

var tokenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

// admits refuses a token that makes no sense.
func admits(tok delivery.Token) error {
	switch {
	case !tokenName.MatchString(tok.Name):
		return delivery.InvalidNext("name", "is 1 to 64 letters, digits and . _ @ -, and begins with a letter or a digit", "slipway token create ci --role deployer")
	case slices.Contains(taken(), strings.ToLower(tok.Name)):
		return delivery.InvalidNext("name", tok.Name+" means somebody else in the ledger", "slipway token create ci --role deployer")
	case !slices.Contains(delivery.Accesses(), tok.Access):
		return delivery.InvalidNext("access", fmt.Sprintf("is reader, deployer or admin, not %q", tok.Access), "slipway token create "+tok.Name+" --role reader")
	case tok.Ends != nil && !tok.Ends.After(tok.Created):
		return delivery.InvalidNext("ends", tok.Ends.Format(time.RFC3339)+" is over already", "slipway token create "+tok.Name+" --role "+string(tok.Access)+" --ends 90d")
	}
	return nil
}
