package access

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

// Deps is what a guard knows and asks.
type Deps struct {
	Root   string       // token of the server's owner, who may do everything; an empty one opens nothing
	Addr   string       // host:port people reach the server at; its host is accepted in Host headers beside loopback
	Public bool         // who shows nothing may read
	Store  *store.Store // named tokens, sessions and links; nil has none, and nobody can sign in
	Log    *slog.Logger // who signs in; nil is nowhere
}

// Guard decides who may ask. It is safe for concurrent use; make it with New.
type Guard struct {
	d     Deps
	root  string // hash of Root, or ""
	port  string // of Addr, in the names of cookies
	tries tries
}

// New returns a guard. It does no I/O.
func New(d Deps) *Guard {
	g := &Guard{d: d}
	if d.Root != "" {
		g.root = hashOf(d.Root)
	}
	if d.Log == nil {
		g.d.Log = slog.New(slog.DiscardHandler)
	}
	if _, port, err := net.SplitHostPort(d.Addr); err == nil {
		g.port = port
	}
	return g
}

// Public reports whether who shows nothing may read.
func (g *Guard) Public() bool { return g.d.Public }

// Via is what somebody was let in with.
type Via string

// The ways in.
const (
	ViaNothing Via = ""        // nobody was
	ViaOwner   Via = "owner"   // the owner's token
	ViaToken   Via = "token"   // a named token
	ViaSession Via = "session" // a browser that is signed in
	ViaPublic  Via = "public"  // reading is open to all
)

// Pass is somebody who asks, and what lets them in. The zero Pass is nobody.
type Pass struct {
	delivery.Who

	Via     Via
	token   string        // hash of the token that all of it rests on
	session store.Session // with ViaSession
	shown   string        // hash of the session's value
	used    *time.Time    // with ViaToken: its last use
}

// Knows reports whether somebody is told secrets of the configuration: who may change
// the project may, and has a token to show for it. A browser is not told, whoever is
// signed in: its screen has more viewers, and its cookie goes to more places.
func (p Pass) Knows() bool {
	return p.Access.Allows(delivery.Admin) && (p.Via == ViaOwner || p.Via == ViaToken)
}

// How somebody is named in the ledger who shows the owner's token.
const (
	apiName   = "api"   // to the API, unless the header says who
	ownerName = "owner" // in a session
)

// UserHeader says who shows the owner's token. A named token is itself.
const UserHeader = "Slipway-User"

// Enter returns who asks. Nobody is no error: whoever has to be somebody is checked
// by Need. A *delivery.Refusal says that the request came from another site or under
// another name, or that what it shows is not right. Enter remembers that the token or
// the session was used, and w hands the browser the next value of its session when it
// is time; following a page (text/event-stream) is no use.
func (g *Guard) Enter(w http.ResponseWriter, r *http.Request) (Pass, error) {
	if err := g.FromHere(r); err != nil {
		return Pass{}, err
	}
	return g.enter(w, r)
}

// Visit is Enter for pages that change nothing. A link on another site may lead to
// one, and the browser keeps the session back then: ErrWithheld asks for a page that
// loads itself again.
func (g *Guard) Visit(w http.ResponseWriter, r *http.Request) (Pass, error) {
	if !led(r) {
		g.unmark(w, r)
		return g.Enter(w, r)
	}
	if err := g.Named(r); err != nil {
		return Pass{}, err
	}
	if g.mark(w, r) {
		return Pass{}, ErrWithheld
	}
	return g.enter(w, r)
}

func (g *Guard) enter(w http.ResponseWriter, r *http.Request) (Pass, error) {
	p, err := g.known(r)
	if err == nil && !strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		g.note(w, r, p)
	}
	return p, err
}

// Who returns who asks, as Enter does, and remembers nothing.
func (g *Guard) Who(r *http.Request) (delivery.Who, error) {
	if err := g.FromHere(r); err != nil {
		return delivery.Who{}, err
	}
	p, err := g.known(r)
	return p.Who, err
}

// known returns who a request shows to be.
func (g *Guard) known(r *http.Request) (Pass, error) {
	if r.Header.Get("Authorization") != "" {
		return g.byToken(r)
	}
	p, err := g.bySession(r)
	switch {
	case err != nil:
		return Pass{}, err
	case p.Via == ViaSession && changes(r.Method) && !ownPage(r):
		return Pass{}, crossSite("a request that changes something, and shows a session, does not say that a page of this server sent it")
	case p.Via == ViaNothing && g.d.Public:
		return Pass{Who: delivery.Who{Name: "anonymous", Access: delivery.Reader, Anonymous: true}, Via: ViaPublic}, nil
	}
	return p, nil
}

// Still returns who has a pass now: what was opened may have ended since.
func (g *Guard) Still(ctx context.Context, p Pass) (delivery.Who, error) {
	now := time.Now()
	if p.Via == ViaSession {
		s, found, err := g.d.Store.Session(ctx, p.session.ID)
		if err != nil || !found || !now.Before(endOf(s)) {
			return delivery.Who{}, err
		}
	}
	if p.Via == ViaSession || p.Via == ViaToken {
		access, _, err := g.accessOf(ctx, g.d.Store.Reader, p.token, now)
		if err != nil || access == delivery.Nobody {
			return delivery.Who{}, err
		}
	}
	return p.Who, nil
}

// byToken returns who shows a token.
func (g *Guard) byToken(r *http.Request) (Pass, error) {
	shown := bearer(r)
	if same(shown, g.d.Root) {
		return Pass{Who: delivery.Who{Name: userOf(r), Access: delivery.Admin}, Via: ViaOwner, token: g.root}, nil
	}
	if shown != "" && g.d.Store != nil {
		hash := hashOf(shown)
		tok, found, err := g.d.Store.Token(r.Context(), hash)
		switch {
		case err != nil:
			return Pass{}, err
		case found && tok.InForce(time.Now()):
			return Pass{Who: delivery.Who{Name: tok.Name, Access: tok.Access}, Via: ViaToken, token: hash, used: tok.Used}, nil
		case found:
			return Pass{}, spent(tok)
		}
	}
	return Pass{}, &delivery.Refusal{Code: delivery.CodeUnauthorized, Why: "this is no token of this server", Who: whoGives, Next: findToken}
}

// accessOf returns what the token with this hash opens now, and its name.
func (g *Guard) accessOf(ctx context.Context, kept store.Reader, hash string, now time.Time) (delivery.Access, string, error) {
	if hash == g.root && hash != "" {
		return delivery.Admin, ownerName, nil
	}
	tok, found, err := kept.Token(ctx, hash)
	if err != nil || !found || !tok.InForce(now) {
		return delivery.Nobody, "", err
	}
	return tok.Access, tok.Name, nil
}

// note remembers that a pass was used. What cannot be remembered keeps nobody out.
func (g *Guard) note(w http.ResponseWriter, r *http.Request, p Pass) {
	var err error
	ctx, now := r.Context(), time.Now()
	switch {
	case p.Via == ViaSession:
		err = g.renew(w, r, p, now)
	case p.Via == ViaToken && due(p.used, now):
		err = g.d.Store.Write(ctx, func(tx *store.Tx) error {
			if tok, _, err := tx.Token(ctx, p.token); err != nil || !due(tok.Used, now) {
				return err // another request was first
			}
			return tx.NoteToken(p.token, now)
		})
	}
	if err != nil && ctx.Err() == nil {
		g.d.Log.WarnContext(ctx, "use could not be noted", slog.String("name", p.Name), slog.Any("error", err))
	}
}

// noteTime is how often a use is written down.
const noteTime = time.Minute

func due(last *time.Time, now time.Time) bool { return last == nil || now.Sub(*last) >= noteTime }

// What a refusal says of who lifts it.
const (
	whoGives  = "an admin gives access"
	findToken = "slipway status finds the token by itself; or set SLIPWAY_TOKEN from STATE/token"
)

// Need refuses who has less access than need: nobody, and who only reads because all
// may, with CodeUnauthorized, anybody else with CodeForbidden.
func Need(who delivery.Who, need delivery.Access) error {
	switch {
	case who.Access.Allows(need):
		return nil
	case who.Anonymous:
		return &delivery.Refusal{Code: delivery.CodeUnauthorized, Why: "nobody is signed in, who may only read, and this needs " + need.Words(), Who: whoGives, Next: findToken}
	case who.Access == delivery.Nobody:
		return &delivery.Refusal{Code: delivery.CodeUnauthorized, Why: "this needs a token of the server", Who: whoGives, Next: findToken}
	}
	return &delivery.Refusal{Code: delivery.CodeForbidden, Why: who.Name + " is " + who.Access.Words() + ", and this needs " + need.Words(), Who: whoGives, Next: "slipway token create NAME --role " + string(need)}
}

// BreakGlass refuses who may not let a change enter an environment out of order.
func BreakGlass(who delivery.Who) error {
	if who.Access.Allows(delivery.Admin) || !who.Access.Allows(delivery.Deployer) {
		return Need(who, delivery.Deployer)
	}
	return &delivery.Refusal{
		Code: delivery.CodeForbidden, Field: "break_glass", Why: "only an admin goes past the order of environments, and " + who.Name + " is " + who.Access.Words(),
		Who: "an admin does it, or gives access", Next: "leave out --break-glass: the change goes through every environment",
	}
}

// spent refuses a token that opens nothing any more.
func spent(tok delivery.Token) error {
	no := &delivery.Refusal{Code: delivery.CodeUnauthorized, Who: whoGives, Next: "slipway token create " + tok.Name + " --role " + string(tok.Access)}
	switch {
	case tok.Revoked != nil:
		no.Why = "the token " + tok.Name + " was revoked by " + tok.Revoked.By
	case tok.Ends != nil:
		no.Why = "the token " + tok.Name + " ended at " + tok.Ends.UTC().Format(time.RFC3339)
	}
	return no
}

// maxUser bounds the name in UserHeader, in characters.
const maxUser = 64

// userOf returns who holds the owner's token, as they say.
func userOf(r *http.Request) string {
	name := r.Header.Get(UserHeader)
	if name == "" || !utf8.ValidString(name) || utf8.RuneCountInString(name) > maxUser || strings.ContainsFunc(name, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return apiName
	}
	return name
}
