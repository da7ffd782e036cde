package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/access"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// tokensCard is the tokens, and the form for a new one. Only admins see it.
type tokensCard struct {
	Tokens []tokenRow
	More   int
	Roles  []delivery.Access
	Lives  []life
	Made   *delivery.Token // the one that was just made
	Secret string          // what opens it; shown once
	Name   string          // as the form was sent
	Role   delivery.Access
	Life   string
	Wrong  string // what is wrong with it
	Next   string
}

// tokenRow is one token.
type tokenRow struct {
	delivery.Token

	Sign sign
}

// life is how long a token may live.
type life struct {
	Name, Text string
	For        time.Duration // 0 is for ever
}

func lives() []life {
	const day = 24 * time.Hour
	return []life{{"7d", "7 days", 7 * day}, {"30d", "30 days", 30 * day}, {"90d", "90 days", 90 * day}, {"365d", "a year", 365 * day}, {"never", "until it is revoked", 0}}
}

// maxTokenRows is how many tokens a page lists.
const maxTokenRows = 100

func (w *Web) tokensCard(ctx context.Context) (*tokensCard, error) {
	all, err := w.d.Guard.Tokens(ctx)
	if err != nil {
		return nil, err
	}
	card := &tokensCard{Roles: delivery.Accesses(), Lives: lives(), Life: "90d", Role: delivery.Deployer, More: max(0, len(all)-maxTokenRows)}
	now := time.Now()
	for _, tok := range all[:len(all)-card.More] {
		row := tokenRow{tok, sign{signGood.Icon, "opens", signGood.Class}}
		switch {
		case tok.Revoked != nil:
			row.Sign = sign{signSuperseded.Icon, "revoked by " + tok.Revoked.By, signSuperseded.Class}
		case tok.Ends != nil && !now.Before(*tok.Ends):
			row.Sign = sign{signSuperseded.Icon, "over", signSuperseded.Class}
		}
		card.Tokens = append(card.Tokens, row)
	}
	return card, nil
}

// createToken makes a token and shows it: in the answer to this request alone.
func (w *Web) createToken(rw http.ResponseWriter, r *http.Request) {
	who, ok := w.admitForm(rw, r, delivery.Admin)
	if !ok {
		return
	}
	asked := access.NewToken{Name: strings.TrimSpace(r.PostForm.Get("name")), Access: delivery.Access(r.PostForm.Get("role")), By: who.Name}
	i := slices.IndexFunc(lives(), func(l life) bool { return l.Name == r.PostForm.Get("life") })
	if i < 0 {
		w.refuse(rw, r, who, delivery.InvalidNext("life", fmt.Sprintf("%q is none that is offered", r.PostForm.Get("life")), "choose one of the list"))
		return
	}
	if d := lives()[i].For; d > 0 {
		asked.Ends = time.Now().Add(d)
	}
	made, secret, err := w.d.Guard.Create(r.Context(), asked)
	v, readErr := w.settingsOf(r.Context(), who)
	if readErr != nil {
		w.refuse(rw, r, who, readErr)
		return
	}
	status := http.StatusOK
	if err != nil {
		t := w.troubleOf(r.Context(), err)
		status = t.Status
		v.Tokens.Wrong, v.Tokens.Next = inert(t.Why), inert(t.Next)
		v.Tokens.Name, v.Tokens.Role, v.Tokens.Life = asked.Name, asked.Access, lives()[i].Name
	} else {
		v.Tokens.Made, v.Tokens.Secret = &made, secret
	}
	w.write(rw, r, status, frame{page: page{Tab: "settings", Title: "Settings", Name: "settings", View: v}, Who: who})
}

// revokeView asks whether a token shall be taken back.
type revokeView struct {
	delivery.Token
}

// revokePage says what taking a token back does.
func (w *Web) revokePage(ctx context.Context, q request) (page, error) {
	if err := access.Need(q.Who, delivery.Admin); err != nil {
		return page{}, err
	}
	name := q.URL.Query().Get("name")
	all, err := w.d.Guard.Tokens(ctx)
	if err != nil {
		return page{}, err
	}
	i := slices.IndexFunc(all, func(tok delivery.Token) bool { return tok.Name == name && tok.Revoked == nil })
	if i < 0 {
		return page{}, delivery.InvalidNext("name", fmt.Sprintf("there is no token %q that opens anything", inert(name)), "slipway token list")
	}
	return page{Tab: "settings", Title: "Revoke " + name, Name: "revoke", View: revokeView{Token: all[i]}}, nil
}

// revokeToken takes a token back.
func (w *Web) revokeToken(rw http.ResponseWriter, r *http.Request) {
	who, ok := w.admitForm(rw, r, delivery.Admin)
	if !ok {
		return
	}
	if _, err := w.d.Guard.Revoke(r.Context(), r.PostForm.Get("name"), who.Name); err != nil {
		w.refuse(rw, r, who, err)
		return
	}
	http.Redirect(rw, r, "/settings#tokens", http.StatusSeeOther)
}
