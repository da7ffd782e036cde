package web

import (
	"net/http"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// signInView is the page that asks for a token.
type signInView struct {
	To   string // where to go then
	Why  string // the last try failed; "" on the first
	Next string
}

func (w *Web) signInPage(rw http.ResponseWriter, r *http.Request) {
	w.askToken(rw, r, http.StatusOK, signInView{To: within(r.URL.Query().Get("to"))})
}

func (w *Web) askToken(rw http.ResponseWriter, r *http.Request, status int, v signInView) {
	w.write(rw, r, status, frame{page: page{Title: "Sign in", Name: "sign-in", View: v}})
}

// signIn opens a session.
func (w *Web) signIn(rw http.ResponseWriter, r *http.Request) {
	if _, err := w.d.Guard.Who(r); err != nil {
		w.refuse(rw, r, delivery.Who{}, err)
		return
	}
	r.Body = http.MaxBytesReader(rw, r.Body, maxForm)
	to := within(r.PostFormValue("to"))
	if _, err := w.d.Guard.SignIn(rw, r, strings.TrimSpace(r.PostFormValue("token"))); err != nil {
		t := w.troubleOf(r.Context(), err)
		w.askToken(rw, r, t.Status, signInView{To: to, Why: t.Why, Next: t.Next})
		return
	}
	http.Redirect(rw, r, to, http.StatusSeeOther)
}

// maxForm is how large a form may be, in bytes.
const maxForm = 64 << 10

// signOut ends the session.
func (w *Web) signOut(rw http.ResponseWriter, r *http.Request) {
	who, err := w.d.Guard.Who(r)
	if err == nil {
		err = w.d.Guard.SignOut(rw, r)
	}
	if err != nil {
		w.refuse(rw, r, who, err)
		return
	}
	http.Redirect(rw, r, "/sign-in", http.StatusSeeOther)
}

// within returns an address of this server, and the board's for any other.
func within(to string) string {
	if !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t") {
		return "/"
	}
	return to
}
