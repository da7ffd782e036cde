package access

import (
	"database/sql"
	"errors"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

// sessions counts what the database keeps.
func (h *house) sessions() (n int) {
	h.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(h.dir, "store.db")+"?mode=ro")
	if err != nil {
		h.t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRowContext(h.t.Context(), `SELECT COUNT(*) FROM sessions`).Scan(&n); err != nil {
		h.t.Fatal(err)
	}
	return n
}

// lines are those of the ledger about access.
func (h *house) lines() (out []string) {
	h.t.Helper()
	all, err := h.store.Events(h.t.Context(), store.EventQuery{})
	if err != nil {
		h.t.Fatal(err)
	}
	for _, e := range all {
		if e.Kind != delivery.EventAccess {
			h.t.Errorf("a line of kind %s", e.Kind)
		}
		out = append(out, e.By+": "+e.Text)
	}
	return out
}

// A named token is itself, whoever it says to be; the owner's says who holds it.
func TestTokenNames(t *testing.T) {
	h := build(t)
	ci := h.token("ci", delivery.Deployer, time.Time{})
	if !strings.HasPrefix(ci, tokenMark) || len(ci) < 30 {
		t.Errorf("token = %q", ci)
	}
	h.wants("ci", h.bearer(ci, UserHeader, "ann"), "ci deployer token")
	h.wants("the owner", h.bearer(rootToken), "api admin owner")
	h.wants("the owner", h.bearer(rootToken, UserHeader, "ann"), "ann admin owner")
	for _, bad := range []string{"a\nb", "\x1b[31mred", strings.Repeat("x", 65), "\xff", "a\u202eb"} {
		h.wants("the owner", h.bearer(rootToken, UserHeader, bad), "api admin owner")
	}
	for name, shown := range map[string]string{"wrong": "wrong", "prefix": ci[:20], "longer": ci + "x", "its hash": hashOf(ci), "the owner's hash": hashOf(rootToken), "empty": ""} {
		if got := h.bearer(shown); !strings.HasPrefix(got, "unauthorized: ") || !strings.Contains(got, "STATE/token") {
			t.Errorf("%s = %q", name, got)
		}
	}
	two := h.browser()
	two.header["Authorization"] = []string{"Bearer " + ci, "Bearer " + ci}
	h.wants("two at once", two.ask("GET", "/api/x"), "unauthorized")
	basic := h.browser()
	basic.header.Set("Authorization", "Basic "+ci)
	h.wants("another scheme", basic.ask("GET", "/api/x"), "unauthorized")
	want := []string{"ann: token ci made for a deployer"}
	if got := h.lines(); !slices.Equal(got, want) {
		t.Errorf("ledger = %q, want %q", got, want)
	}
	if same("", "") {
		t.Error("a server without a token lets everyone in")
	}
}

// What a token may be called and what it may open; every refusal names the field.
func TestCreateRefuses(t *testing.T) {
	h := build(t)
	h.token("ci", delivery.Reader, time.Time{})
	for _, c := range []struct {
		n     NewToken
		field string
	}{
		{NewToken{Name: "", Access: delivery.Reader}, "name"},
		{NewToken{Name: "a b", Access: delivery.Reader}, "name"},
		{NewToken{Name: "-x", Access: delivery.Reader}, "name"},
		{NewToken{Name: "<b>", Access: delivery.Reader}, "name"},
		{NewToken{Name: "a\x1b[0m", Access: delivery.Reader}, "name"},
		{NewToken{Name: strings.Repeat("x", 65), Access: delivery.Reader}, "name"},
		{NewToken{Name: "Slipway", Access: delivery.Reader}, "name"},
		{NewToken{Name: "api", Access: delivery.Reader}, "name"},
		{NewToken{Name: "owner", Access: delivery.Reader}, "name"},
		{NewToken{Name: "anonymous", Access: delivery.Reader}, "name"},
		{NewToken{Name: "ci", Access: delivery.Reader}, "name"},
		{NewToken{Name: "x", Access: delivery.Nobody}, "access"},
		{NewToken{Name: "x", Access: "root"}, "access"},
		{NewToken{Name: "x", Access: delivery.Reader, Ends: time.Now().Add(-time.Hour)}, "ends"},
	} {
		_, secret, err := h.guard.Create(t.Context(), c.n)
		no, ok := errors.AsType[*delivery.FieldError](err)
		if !ok || no.Field != c.field || no.Why == "" || !strings.HasPrefix(no.Next, "slipway token ") || secret != "" {
			t.Errorf("Create(%+v) = %q, %v; want a refusal of %s", c.n, secret, err, c.field)
		}
	}
	if n := len(h.lines()); n != 1 {
		t.Errorf("%d lines in the ledger, want the one token", n)
	}
}

// A token that ends or is revoked opens nothing from then on, nor do the browsers
// that it signed in and the links that it asked for; its name may be given again.
func TestTokenEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t)
		secrets := map[string]string{"ends": h.token("ends", delivery.Admin, time.Now().Add(time.Hour)), "goes": h.token("goes", delivery.Admin, time.Time{})}
		browsers, codes := map[string]*browser{}, map[string]string{}
		over := func(want string) {
			t.Helper()
			for name, secret := range secrets {
				h.wants(name, h.bearer(secret), strings.ReplaceAll(want, "NAME", name))
			}
		}
		over("NAME admin token")
		time.Sleep(time.Hour - time.Minute)
		for name, secret := range secrets {
			browsers[name] = h.browser()
			browsers[name].signIn(secret)
			h.wants(name, browsers[name].ask("GET", "/x"), name+" admin session")
			l, err := h.guard.Link(t.Context(), h.pass(h.with(secret)))
			if err != nil {
				t.Fatal(err)
			}
			_, codes[name], _ = strings.Cut(l.Path, "=")
		}
		time.Sleep(time.Minute)
		if _, err := h.guard.Revoke(t.Context(), "goes", "ann"); err != nil {
			t.Fatal(err)
		}
		over("unauthorized: the token NAME ")
		h.wants("revoked", h.bearer(secrets["goes"]), "unauthorized: the token goes was revoked by ann; slipway token create goes --role admin")
		for name, b := range browsers {
			h.wants("browser of "+name, b.ask("GET", "/x"), "  ")
			if who, err := h.guard.Peek(httptest.NewRequest("GET", "http://"+testAddr+"/sign-in", nil), codes[name]); err == nil {
				t.Errorf("the link of %s still looks good, for %+v", name, who)
			}
			h.wants("link of "+name, b.ask("POST", "/redeem", "code="+codes[name]), "unauthorized")
			h.wants("sign-in of "+name, h.browser().signIn(secrets[name]), "unauthorized")
		}
		again := h.token("goes", delivery.Reader, time.Time{})
		h.token("ends", delivery.Reader, time.Time{})
		h.wants("the name again", h.bearer(again), "goes reader token")
		h.wants("the old one", h.bearer(secrets["goes"]), "unauthorized")

		list, err := h.guard.Tokens(t.Context())
		if err != nil || len(list) != 4 {
			t.Fatalf("Tokens = %+v, %v; want four", list, err)
		}
		now := time.Now()
		for i, want := range []bool{true, true, false, false} {
			if list[i].InForce(now) != want {
				t.Errorf("token %d is %+v, want those in force first", i, list[i])
			}
		}
		for _, name := range []string{"nobody", ""} {
			_, err := h.guard.Revoke(t.Context(), name, "ann")
			if no, ok := errors.AsType[*delivery.Refusal](err); !ok || no.Code != delivery.CodeUnknownToken || !errors.Is(err, delivery.ErrNotFound) {
				t.Errorf("Revoke(%q) = %v", name, err)
			}
		}
		if _, err := h.guard.Revoke(t.Context(), "goes", "ann"); err != nil {
			t.Error(err)
		}
		_, err = h.guard.Revoke(t.Context(), "goes", "ann")
		if no, ok := errors.AsType[*delivery.Refusal](err); !ok || no.Code != delivery.CodeNothingToDo {
			t.Errorf("Revoke twice = %v", err)
		}
		if got := h.lines(); got[len(got)-1] != "ann: token goes revoked" {
			t.Errorf("ledger = %q", got)
		}
	})
}

// The last use of a token is written down, but no more often than once a minute.
func TestLastUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t)
		secret := h.token("ci", delivery.Reader, time.Time{})
		used := func() time.Time {
			t.Helper()
			list, err := h.guard.Tokens(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if list[0].Used == nil {
				return time.Time{}
			}
			return *list[0].Used
		}
		if !used().IsZero() {
			t.Error("it was used before it was used")
		}
		ask := func() {
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() { h.wants("ci", h.bearer(secret), "ci") })
			}
			all.Wait()
		}
		ask()
		first := used()
		if !first.Equal(time.Now()) {
			t.Errorf("used = %v, want %v", first, time.Now())
		}
		for range 5 {
			time.Sleep(11 * time.Second)
			ask()
		}
		if got := used(); !got.Equal(first) {
			t.Errorf("after 55 s: used = %v, want %v still", got, first)
		}
		time.Sleep(5 * time.Second)
		ask()
		if got := used(); !got.Equal(first.Add(time.Minute)) {
			t.Errorf("after a minute: used = %v, want %v", got, first.Add(time.Minute))
		}
	})
}

// A link signs one browser in, once, within two minutes, whatever looks at it first.
func TestLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t)
		code := h.link()
		peek := func(code string) error {
			who, err := h.guard.Peek(httptest.NewRequest("GET", "http://"+testAddr+"/sign-in", nil), code)
			if want := (delivery.Who{Name: "ann", Access: delivery.Admin}); err == nil && who != want {
				t.Errorf("it signs in %+v, want %+v", who, want)
			}
			return err
		}
		for range 3 {
			if err := peek(code); err != nil {
				t.Errorf("looking at it: %v", err)
			}
		}
		browsers := make([]*browser, 20)
		var all sync.WaitGroup
		for i := range browsers {
			browsers[i] = h.browser()
			all.Go(func() { browsers[i].ask("POST", "/redeem", "code="+code) })
		}
		all.Wait()
		in := 0
		for _, b := range browsers {
			if b.session() != "" {
				in++
				h.wants("then", b.ask("GET", "/x"), "ann admin session")
			}
		}
		if in != 1 {
			t.Errorf("%d of %d browsers were signed in, want one", in, len(browsers))
		}
		if peek(code) == nil || peek("") == nil || peek("X") == nil {
			t.Error("a link that opens nothing looks good")
		}
		time.Sleep(forgetTime)

		code = h.link()
		time.Sleep(linkTime - time.Millisecond)
		if err := peek(code); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Millisecond)
		if peek(code) == nil {
			t.Error("it looks good after two minutes")
		}
		h.wants("after two minutes", h.browser().ask("POST", "/redeem", "code="+code), "unauthorized: this link was used, or its two minutes are over; slipway open")

		code = h.link()
		h.stop()
		h.start()
		h.wants("after a restart", h.browser().ask("POST", "/redeem", "code="+code), "")

		for _, a := range []delivery.Access{delivery.Nobody, delivery.Reader, delivery.Deployer} {
			if _, err := h.guard.Link(t.Context(), Pass{Who: delivery.Who{Name: "x", Access: a}, Via: ViaToken, token: "x"}); err == nil {
				t.Errorf("%q may ask for a link", a)
			}
		}
		if got := h.lines(); got[0] != "ann: sign-in link made for ann, an admin" {
			t.Errorf("ledger = %q", got)
		}
	})
}

// Reading may be open to all; nothing else is, and who signs in is more.
func TestPublic(t *testing.T) {
	h := build(t, func(d *Deps) { d.Public = true })
	b := h.browser()
	h.wants("nobody", b.ask("GET", "/x"), "anonymous reader public")
	who := h.pass(b).Who
	if !who.Anonymous {
		t.Errorf("who = %+v, want that nobody signed in", who)
	}
	err := Need(who, delivery.Deployer)
	if no, ok := errors.AsType[*delivery.Refusal](err); !ok || no.Code != delivery.CodeUnauthorized || Need(who, delivery.Reader) != nil {
		t.Errorf("Need = %v, want that somebody signs in", err)
	}
	h.wants("a wrong token", h.bearer("wrong"), "unauthorized")
	b.signIn(rootToken)
	h.wants("signed in", b.ask("GET", "/x"), "owner admin session")
}

// Each level holds those below it; who has too little is told who can give more.
func TestNeed(t *testing.T) {
	for _, has := range append(delivery.Accesses(), delivery.Nobody) {
		for _, need := range delivery.Accesses() {
			err := Need(delivery.Who{Name: "ci", Access: has}, need)
			if has.Allows(need) {
				if err != nil {
					t.Errorf("a %s that needs %s: %v", has, need, err)
				}
				continue
			}
			want := delivery.CodeForbidden
			if has == delivery.Nobody {
				want = delivery.CodeUnauthorized
			}
			no, ok := errors.AsType[*delivery.Refusal](err)
			if !ok || no.Code != want || no.Who == "" || no.Next == "" || no.Why == "" {
				t.Errorf("a %q that needs %s: %+v", has, need, err)
			}
		}
		err := BreakGlass(delivery.Who{Name: "ci", Access: has})
		no, _ := errors.AsType[*delivery.Refusal](err)
		switch has {
		case delivery.Admin:
			if err != nil {
				t.Error(err)
			}
		case delivery.Deployer:
			if no == nil || no.Code != delivery.CodeForbidden || no.Field != "break_glass" || !strings.Contains(no.Who, "admin") {
				t.Errorf("BreakGlass of a deployer = %+v", err)
			}
		case delivery.Reader, delivery.Nobody:
			if no == nil {
				t.Errorf("BreakGlass of %q = %v", has, err)
			}
		}
	}
}

// Nothing that opens something is in the database, in the log, in the ledger or in
// what is answered.
func TestNothingLeaks(t *testing.T) {
	h := build(t)
	secrets := []string{rootToken, h.token("ci", delivery.Admin, time.Time{}), h.token("gone", delivery.Reader, time.Time{}), h.link(), h.link()}
	var said strings.Builder
	b := h.browser()
	for _, form := range []string{"token=" + secrets[1], "token=wrong" + secrets[1], "token=" + rootToken + "x"} {
		said.WriteString(b.ask("POST", "/sign-in", form))
		secrets = append(secrets, b.session())
	}
	said.WriteString(b.ask("POST", "/redeem", "code="+secrets[3]))
	said.WriteString(b.ask("POST", "/redeem", "code="+secrets[3]))
	secrets = append(secrets, b.session())
	if _, err := h.guard.Revoke(t.Context(), "gone", "ann"); err != nil {
		t.Fatal(err)
	}
	for _, s := range secrets {
		said.WriteString(h.bearer(s) + h.bearer(s+"x"))
	}
	b.header.Set("Sec-Fetch-Site", "same-origin")
	said.WriteString(b.ask("POST", "/x"))
	list, err := h.guard.Tokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, tok := range list {
		said.WriteString(tok.Name + tok.By)
	}
	said.WriteString(h.log.String() + strings.Join(h.lines(), "\n"))
	h.stop()
	files := 0
	err = filepath.WalkDir(h.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		said.Write(b)
		return err
	})
	if err != nil || files == 0 {
		t.Fatalf("%d files, %v", files, err)
	}
	for i, s := range secrets {
		if s == "" || strings.Contains(said.String(), s) {
			t.Errorf("secret %d (%q) is empty or shows", i, s)
		}
	}
	if !strings.Contains(said.String(), hashOf(secrets[1])) {
		t.Error("the hash of a token is not in the database: this test looks in the wrong place")
	}
}
