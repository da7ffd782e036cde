package access

import (
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

// How long a session lasts.
const (
	idleTime    = 12 * time.Hour     // without a use
	longestTime = 7 * 24 * time.Hour // in any case
	turnTime    = time.Hour          // of use, until its value is replaced
	oldTime     = time.Minute        // that the value before is still good, for requests under way
)

// Cookie is the name of the cookie that holds a session. Cookies know no ports, so
// that the name has it: each Slipway of a machine has its own.
func (g *Guard) Cookie() string { return "slipway_session_" + g.port }

// endOf is when a session is over, unless it is used before.
func endOf(s store.Session) time.Time {
	idle, longest := s.Seen.Add(idleTime), s.Opened.Add(longestTime)
	if longest.Before(idle) {
		return longest
	}
	return idle
}

// bySession returns who shows a session; nobody if it is over.
func (g *Guard) bySession(r *http.Request) (Pass, error) {
	c, err := r.Cookie(g.Cookie())
	if err != nil || c.Value == "" || g.d.Store == nil {
		return Pass{}, nil //nolint:nilerr // who has no cookie is nobody
	}
	now, shown := time.Now(), hashOf(c.Value)
	s, found, err := g.d.Store.SessionOf(r.Context(), shown)
	if err != nil || !found || !now.Before(endOf(s)) {
		return Pass{}, err
	}
	if shown == s.Old && now.Sub(s.Turned) >= oldTime {
		return Pass{}, nil
	}
	access, _, err := g.accessOf(r.Context(), g.d.Store.Reader, s.Token, now)
	if err != nil || access == delivery.Nobody {
		return Pass{}, err
	}
	return Pass{Who: delivery.Who{Name: s.Name, Access: access}, Via: ViaSession, token: s.Token, session: s, shown: shown}, nil
}

// turn returns a session after a use, and whether a new value is to be handed out:
// it comes into force when the browser shows it, for an answer may be lost and others
// are under way.
func turn(s store.Session, shown, fresh string, now time.Time) (_ store.Session, handed bool) {
	switch {
	case shown == s.New:
		s.Value, s.Old, s.New, s.Turned, s.Seen = s.New, s.Value, "", now, now
	case shown == s.Value && now.Sub(s.Turned) >= turnTime && now.Sub(s.Handed) >= oldTime:
		s.New, s.Handed, s.Seen = fresh, now, now
		return s, true
	case now.Sub(s.Seen) >= noteTime:
		s.Seen = now
	}
	return s, false
}

// renew remembers the use of a session, and hands its next value out when it is time.
func (g *Guard) renew(w http.ResponseWriter, r *http.Request, p Pass, now time.Time) error {
	ctx, value := r.Context(), rand.Text()
	fresh := hashOf(value)
	if after, _ := turn(p.session, p.shown, fresh, now); after == p.session {
		return nil
	}
	handed := false
	err := g.d.Store.Write(ctx, func(tx *store.Tx) error {
		s, found, err := tx.Session(ctx, p.session.ID)
		if err != nil || !found {
			return err
		}
		after, hand := turn(s, p.shown, fresh, now)
		if after == s {
			return nil // another request was first
		}
		handed = hand
		return tx.PutSession(after, endOf(after))
	})
	if err == nil && handed {
		g.setCookie(w, value, p.session.Secure, p.session.Opened.Add(longestTime).Sub(now))
	}
	return err
}

func (g *Guard) setCookie(w http.ResponseWriter, value string, secure bool, life time.Duration) {
	seconds := int(life / time.Second)
	if value == "" {
		seconds = -1
	}
	http.SetCookie(w, &http.Cookie{Name: g.Cookie(), Value: value, Path: "/", HttpOnly: true, Secure: secure, SameSite: http.SameSiteStrictMode, MaxAge: seconds})
}

// secure reports whether the browser speaks TLS, to us or to what is in front of us.
func secure(r *http.Request) bool {
	u, err := url.Parse(r.Header.Get("Origin"))
	return r.TLS != nil || err == nil && u.Scheme == "https"
}

// SignIn opens a session for who holds a token, and sets its cookie. Tries that fail
// make those that follow wait: a *TooSoon says how long.
func (g *Guard) SignIn(w http.ResponseWriter, r *http.Request, token string) (delivery.Who, error) {
	if err := g.FromHere(r); err != nil {
		return delivery.Who{}, err
	}
	now, from := time.Now(), clientOf(r)
	if no := g.tries.soon(from, now); no != nil {
		return delivery.Who{}, no
	}
	hash := hashOf(token)
	access, name, err := delivery.Nobody, "", error(nil)
	if token != "" && g.d.Store != nil {
		access, name, err = g.accessOf(r.Context(), g.d.Store.Reader, hash, now)
	}
	if err != nil {
		return delivery.Who{}, err
	}
	if access == delivery.Nobody {
		g.fail(r, from, now)
		return delivery.Who{}, &delivery.Refusal{Code: delivery.CodeUnauthorized, Field: "token", Why: "this is no token of this server, or one that has ended", Who: whoGives, Next: "slipway open"}
	}
	s, value := session(name, hash, now)
	s.Secure = secure(r)
	if err := g.d.Store.Write(r.Context(), func(tx *store.Tx) error { return g.putNew(tx, r, s) }); err != nil {
		return delivery.Who{}, err
	}
	return g.signedIn(w, r, s, value, access), nil
}

// session returns a new session and the value that opens it.
func session(name, token string, now time.Time) (store.Session, string) {
	value := rand.Text()
	return store.Session{ID: rand.Text(), Name: name, Token: token, Value: hashOf(value), Opened: now, Seen: now, Turned: now}, value
}

// putNew keeps a new session, and ends the one that the browser had.
func (g *Guard) putNew(tx *store.Tx, r *http.Request, s store.Session) error {
	if c, err := r.Cookie(g.Cookie()); err == nil {
		old, found, err := tx.SessionOf(r.Context(), hashOf(c.Value))
		if err != nil {
			return err
		}
		if found {
			if err := tx.DropSession(old.ID); err != nil {
				return err
			}
		}
	}
	return tx.PutSession(s, endOf(s))
}

func (g *Guard) signedIn(w http.ResponseWriter, r *http.Request, s store.Session, value string, a delivery.Access) delivery.Who {
	g.setCookie(w, value, s.Secure, longestTime)
	g.d.Log.InfoContext(r.Context(), "signed in", slog.String("name", s.Name), slog.String("access", string(a)), slog.String("from", clientOf(r).String()))
	return delivery.Who{Name: s.Name, Access: a}
}

// fail remembers a try that failed.
func (g *Guard) fail(r *http.Request, from client, now time.Time) {
	g.tries.failed(from, now)
	g.d.Log.WarnContext(r.Context(), "a try to sign in failed", slog.String("from", from.String()))
}

// SignOut ends the session of a request, and takes its cookie back.
func (g *Guard) SignOut(w http.ResponseWriter, r *http.Request) error {
	if err := g.FromHere(r); err != nil {
		return err
	}
	p, err := g.known(r)
	if err == nil && p.Via == ViaSession {
		err = g.d.Store.Write(r.Context(), func(tx *store.Tx) error { return tx.DropSession(p.session.ID) })
	}
	if err != nil {
		return err
	}
	g.setCookie(w, "", secure(r), 0)
	return nil
}
