package web

import (
	"context"
	"errors"
	"net/http"

	"github.com/slipway-cd/slipway/internal/access"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// admit returns who asks, if they may do what needs that access. If not, it has
// answered.
func (w *Web) admit(rw http.ResponseWriter, r *http.Request, need delivery.Access) (who delivery.Who, ok bool) {
	enter := w.d.Guard.Enter
	if r.Method == http.MethodGet {
		enter = w.d.Guard.Visit
	}
	pass, err := enter(rw, r)
	if errors.Is(err, access.ErrWithheld) {
		w.again(rw)
		return pass.Who, false
	}
	if err == nil {
		err = access.Need(pass.Who, need)
	}
	if err != nil {
		w.refuse(rw, r, pass.Who, err)
		return pass.Who, false
	}
	return pass.Who, true
}

// admitForm is admit for who sends a form, which it reads.
func (w *Web) admitForm(rw http.ResponseWriter, r *http.Request, need delivery.Access) (who delivery.Who, ok bool) {
	if who, ok = w.admit(rw, r, need); !ok {
		return who, false
	}
	if err := readForm(rw, r); err != nil {
		w.refuse(rw, r, who, err)
		return who, false
	}
	return who, true
}

// follow sends a page's stream. Who may not see it is told so by the stream, which
// looks each time who asks; if that cannot be found out, the script asks again.
func (w *Web) follow(rw http.ResponseWriter, r *http.Request, live live) {
	pass, err := w.d.Guard.Enter(rw, r)
	if err != nil && refusalOf(err) == nil {
		w.refuse(rw, r, pass.Who, err)
		return
	}
	leave, ok := w.seats.take(sitter(pass.Who, r))
	if !ok {
		full(rw)
		return
	}
	defer leave()
	live(r.Context(), rw, request{Request: r, Who: pass.Who, pass: pass})
}

// live sends what a page shows from now on, until who follows it leaves.
type live func(ctx context.Context, rw http.ResponseWriter, q request)
