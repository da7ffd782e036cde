package web

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/access"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// signInView is the page that asks for a token, or for a click when a link has a code.
type signInView struct {
	To   string       // where to go then
	Code string       // of a link that is good; "" asks for a token
	Who  delivery.Who // whom the link signs in
	Why  string       // the last try failed; "" on the first
	Next string       // the command that comes next
	Wait int          // seconds until the next try is looked at; 0 is now
}

// toSignIn leads a browser to the page that asks for a token, and from there back. A
// script is told to load it: it would end up within the page that asked for a part.
func toSignIn(rw http.ResponseWriter, r *http.Request) {
	at := "/sign-in?to=" + url.QueryEscape(r.URL.RequestURI())
	if isFragment(r) {
		rw.Header().Set("HX-Redirect", at)
		rw.WriteHeader(http.StatusNoContent)
		return
	}
	http.Redirect(rw, r, at, http.StatusSeeOther)
}

// signInPage asks. The code of a link is not used up by looking: what shows previews
// of links looks, too.
func (w *Web) signInPage(rw http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	v := signInView{To: within(q.Get("to")), Code: q.Get("code")}
	if v.Code == "" {
		w.askToken(rw, r, http.StatusOK, v)
		return
	}
	var err error
	if v.Who, err = w.d.Guard.Peek(r, v.Code); err != nil {
		w.notSignedIn(rw, r, signInView{To: v.To}, err)
		return
	}
	w.askToken(rw, r, http.StatusOK, v)
}

func (w *Web) askToken(rw http.ResponseWriter, r *http.Request, status int, v signInView) {
	at := "/sign-in" // without its query: a code stands in the form and nowhere else
	w.write(rw, r, status, frame{page: page{Title: "Sign in", Name: "sign-in", View: v}, Path: at})
}

// signIn opens a session.
func (w *Web) signIn(rw http.ResponseWriter, r *http.Request) {
	err := readForm(rw, r)
	if err != nil {
		w.refuse(rw, r, delivery.Who{}, err)
		return
	}
	to, code, token := within(r.PostForm.Get("to")), r.PostForm.Get("code"), strings.TrimSpace(r.PostForm.Get("token"))
	if code != "" {
		_, err = w.d.Guard.Redeem(rw, r, code)
	} else {
		_, err = w.d.Guard.SignIn(rw, r, token)
	}
	if err != nil {
		w.notSignedIn(rw, r, signInView{To: to}, err)
		return
	}
	http.Redirect(rw, r, to, http.StatusSeeOther)
}

// notSignedIn asks again and says why. What is no try to sign in is refused as
// everywhere.
func (w *Web) notSignedIn(rw http.ResponseWriter, r *http.Request, v signInView, err error) {
	no, known := errors.AsType[*delivery.Refusal](err)
	if !known || no.Code != delivery.CodeUnauthorized && no.Code != delivery.CodeTooManyTries {
		w.refuse(rw, r, delivery.Who{}, err)
		return
	}
	t := w.troubleOf(r.Context(), err)
	v.Why, v.Next = t.Why, t.Next
	if soon, ok := errors.AsType[*access.TooSoon](err); ok {
		v.Wait = int(soon.Wait / time.Second)
		rw.Header().Set("Retry-After", strconv.Itoa(v.Wait))
	}
	w.askToken(rw, r, t.Status, v)
}

// maxForm is how large a form may be, in bytes, and formTime how long it may take to
// arrive: whoever is not signed in can send one.
const (
	maxForm  = 64 << 10
	formTime = 10 * time.Second
)

// readForm reads the form that a request brings, which ends in size and in time.
func readForm(rw http.ResponseWriter, r *http.Request) error {
	conn := http.NewResponseController(rw)
	_ = conn.SetReadDeadline(time.Now().Add(formTime)) // a recorder in a test has none
	r.Body = http.MaxBytesReader(rw, r.Body, maxForm)
	if r.ParseForm() != nil {
		return delivery.Invalid("form", "cannot be read, or is larger than is taken here")
	}
	_ = conn.SetReadDeadline(time.Time{}) // what is asked for may take longer
	return nil
}

// signOut ends the session.
func (w *Web) signOut(rw http.ResponseWriter, r *http.Request) {
	if err := w.d.Guard.SignOut(rw, r); err != nil {
		w.refuse(rw, r, delivery.Who{}, err)
		return
	}
	http.Redirect(rw, r, "/sign-in", http.StatusSeeOther)
}

// again answers whoever a link on another site led here with a page that loads
// itself: then it is a page of this server that asks, and the browser shows the
// session, which it rightly keeps from other sites.
func (w *Web) again(rw http.ResponseWriter) {
	rw.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = w.templates().ExecuteTemplate(rw, "again", nil) // a browser that is gone asks again
}

// within returns an address of this server, and the board's for any other.
func within(to string) string {
	if !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t") {
		return "/"
	}
	return to
}
