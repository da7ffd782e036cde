package access

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

// linkTime is how long a sign-in link is good.
const linkTime = 2 * time.Minute

// SignInLink is a way in for a browser. It works once.
type SignInLink struct {
	Path string    `json:"path" doc:"of the page, below the address of the server"`
	Ends time.Time `json:"ends"`
}

// Link makes a sign-in link, whose session may do what p may and rests on the same
// token. The ledger keeps who asked for it.
func (g *Guard) Link(ctx context.Context, p Pass) (SignInLink, error) {
	if err := Need(p.Who, delivery.Admin); err != nil {
		return SignInLink{}, err
	}
	now := time.Now().UTC()
	code, name := rand.Text(), p.Name
	if p.Via == ViaOwner && name == apiName {
		name = ownerName
	}
	l := store.Link{Name: name, Token: p.token, Ends: now.Add(linkTime)}
	err := g.d.Store.Write(ctx, func(tx *store.Tx) error {
		if err := tx.PutLink(hashOf(code), l, now); err != nil {
			return err
		}
		return line(tx, now, p.Name, "sign-in link made for "+name+", "+p.Access.Words(), map[string]any{"name": name, "ends": l.Ends})
	})
	return SignInLink{Path: "/sign-in?code=" + url.QueryEscape(code), Ends: l.Ends}, err
}

// Peek returns whom a code signs in, and does not use it up. One that opens nothing is
// refused.
func (g *Guard) Peek(r *http.Request, code string) (delivery.Who, error) {
	if code == "" || g.d.Store == nil {
		return delivery.Who{}, usedUp()
	}
	ctx, now := r.Context(), time.Now()
	l, found, err := g.d.Store.Link(ctx, hashOf(code))
	if err != nil {
		return delivery.Who{}, err
	}
	if !found || !now.Before(l.Ends) {
		return delivery.Who{}, usedUp()
	}
	access, _, err := g.accessOf(ctx, g.d.Store.Reader, l.Token, now)
	if err == nil && access == delivery.Nobody {
		err = usedUp()
	}
	return delivery.Who{Name: l.Name, Access: access}, err
}

// Redeem opens a session for who shows the code of a sign-in link, and sets its
// cookie. A right code never waits for the failed tries of others, and a wrong one
// makes nobody wait: it is looked up before anything is written.
func (g *Guard) Redeem(w http.ResponseWriter, r *http.Request, code string) (delivery.Who, error) {
	if err := g.FromHere(r); err != nil {
		return delivery.Who{}, err
	}
	if code == "" || g.d.Store == nil {
		return delivery.Who{}, usedUp()
	}
	now := time.Now()
	_, err := g.Peek(r, code)
	if err == nil {
		var who delivery.Who
		if who, err = g.takeLink(w, r, code, now); err == nil {
			return who, nil
		}
	}
	if _, wrong := errors.AsType[*delivery.Refusal](err); !wrong {
		return delivery.Who{}, err
	}
	from := clientOf(r)
	if no := g.tries.soon(from, now); no != nil {
		return delivery.Who{}, no
	}
	g.fail(r, from, now)
	return delivery.Who{}, err
}

// takeLink uses a code up. Of two who show it at once, one is signed in.
func (g *Guard) takeLink(w http.ResponseWriter, r *http.Request, code string, now time.Time) (delivery.Who, error) {
	ctx := r.Context()
	var (
		s      store.Session
		value  string
		access delivery.Access
	)
	err := g.d.Store.Write(ctx, func(tx *store.Tx) error {
		l, found, err := tx.TakeLink(hashOf(code))
		if err != nil || !found || !now.Before(l.Ends) {
			return err
		}
		if access, _, err = g.accessOf(ctx, tx.Reader, l.Token, now); err != nil || access == delivery.Nobody {
			return err
		}
		s, value = session(l.Name, l.Token, now)
		s.Secure = secure(r)
		return g.putNew(tx, r, s)
	})
	if err != nil {
		return delivery.Who{}, err
	}
	if access == delivery.Nobody {
		return delivery.Who{}, usedUp()
	}
	return g.signedIn(w, r, s, value, access), nil
}

func usedUp() error {
	return &delivery.Refusal{Code: delivery.CodeUnauthorized, Field: "code", Why: "this link was used, or its two minutes are over", Next: "slipway open"}
}
