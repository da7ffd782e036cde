package web

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/web/browsertest"
)

var (
	hiddenField = regexp.MustCompile(`<input type="hidden" name="([a-z_]+)" value="([^"]*)">`)
	actionForm  = regexp.MustCompile(`(?s)<form class="stack" method="post" action="(/act/[a-z]+)">(.*?)</form>`)
)

// form returns the form by which a page does what it says, and where it goes.
func (r *reply) form() (to string, fields url.Values) {
	r.t.Helper()
	m := actionForm.FindStringSubmatch(r.Body)
	if m == nil {
		r.t.Fatalf("%s has no form that does it:\n%s", r.asked, r.text())
	}
	fields = url.Values{}
	for _, f := range hiddenField.FindAllStringSubmatch(m[2], -1) {
		fields.Set(f[1], unescape(f[2]))
	}
	return m[1], fields
}

func unescape(text string) string {
	return strings.NewReplacer("&#43;", "+", "&#34;", `"`, "&#39;", "'", "&lt;", "<", "&gt;", ">", "&amp;", "&").Replace(text)
}

// lines counts the ledger.
func (h *house) lines() int64 {
	h.t.Helper()
	last, err := h.store.Events(h.t.Context(), store.EventQuery{Newest: true, Limit: 1})
	if err != nil || len(last) != 1 {
		h.t.Fatalf("%d lines, %v", len(last), err)
	}
	return last[0].Seq
}

// What began in the dialog goes on in the dialog, and the page below stays.
func TestDeployInTheDialog(t *testing.T) {
	t.Parallel()
	h := build(t).harbor()
	h.settled(h.submit(control.Submission{Service: "cart", Version: "v2", Bundle: h.bundle("cart v2"), Env: "staging"}))
	tab := h.serve().open(browsertest.Options{})
	tab.Forgive(expected) // the refusal
	tab.Go("/services/cart")
	tab.Eval(`window.below = true`, new(bool))
	tab.Press("Deploy…")
	tab.AwaitText("dialog[open]", "Deploy cart")
	tab.Choose("#act-version", "v2")
	tab.Press("Show what it would do")
	tab.AwaitText("dialog[open]", "cart v2 is already stable in staging")
	tab.Choose("#act-version", "v1")
	tab.Choose("#act-strategy", "recreate")
	tab.Press("Show what it would do")
	tab.AwaitText("dialog[open]", "slipway deploy cart v1 --strategy recreate")
	if !tab.Is(`window.below === true && location.pathname === "/services/cart"`) {
		t.Errorf("the page below the dialog is gone: %s", tab.Path())
	}
	tab.Press("Deploy")
	tab.Await("the change is shown", `location.pathname.startsWith("/changes/")`)
}

// fragment asks as the script does that fills the dialog.
func (p *person) fragment(path string) *reply {
	p.t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("HX-Request", "true")
	return p.ask(r)
}

// A person goes back in prod: sees exactly what that does, types the name of the
// service, and lands at the change. Sending the form again does it once; a form
// that was seen before shows what is so now.
func TestRollBackFromThePage(t *testing.T) {
	t.Parallel()
	h := build(t).harbor()
	h.settled(h.deploy("payment", "v2"))
	h.halt() // nothing moves but by the page
	dora := h.deployer()
	before := h.lines()
	r := dora.get("/act/rollback?service=payment&env=prod").want(http.StatusOK).
		says("Roll back payment in prod", "moves all prod traffic from v2 back to v1 at once, which is still warm; keeps the configuration; v2 goes on hold", "slipway rollback payment --env prod", "Type payment to confirm").
		hides("Refused")
	to, fields := r.form()
	if h.lines() != before {
		t.Errorf("looking wrote %d lines", h.lines()-before)
	}
	dora.post(to, fields).want(http.StatusUnprocessableEntity).says("type payment to confirm that what is stable in prod shall go back")
	fields.Set("typed", "cart")
	dora.post(to, fields).want(http.StatusUnprocessableEntity)
	if h.lines() != before {
		t.Errorf("what was not confirmed wrote %d lines", h.lines()-before)
	}
	fields.Set("typed", "payment")
	fields.Set("reason", "charges twice "+hostile)
	dora.post(to, fields).want(http.StatusUnprocessableEntity).says("reason: holds a control character")
	fields.Set("reason", "charges <script>twice</script>")
	done := dora.post(to, fields).want(http.StatusSeeOther)
	location := done.Header.Get("Location")
	if location != "/changes/5" {
		t.Errorf("went on to %s, want /changes/5", location)
	}
	wrote := h.lines()
	if again := dora.post(to, fields).want(http.StatusSeeOther); again.Header.Get("Location") != location || h.lines() != wrote {
		t.Errorf("the same form again went on to %s and wrote %d lines", again.Header.Get("Location"), h.lines()-wrote)
	}
	fields.Set("key", "another")
	moved := dora.post(to, fields).want(http.StatusConflict).says("has moved on: payment v1 in prod is at queued", "Below is what it would do now", "changes nothing: payment goes back to v1 in prod already, by change #5")
	if strings.Contains(moved.Body, "<script>twice") {
		t.Error("a reason is not inert")
	}
	if h.lines() != wrote {
		t.Errorf("what had moved on wrote %d lines", h.lines()-wrote)
	}
	c, err := h.store.Change(t.Context(), 5)
	if err != nil || c.By != "dora" || c.Origin != delivery.OriginRollback {
		t.Errorf("change = %+v, %v, want a rollback by dora", c, err)
	}
}

// Who may only read sees what could be done and why not, and cannot do it; who is
// not signed in is asked to.
func TestActRights(t *testing.T) {
	t.Parallel()
	h := build(t).harbor()
	h.halt()
	people := map[string]*person{"reader": h.reader(), "anyone": h.anyone()}
	dora := h.deployer()
	before := h.lines()
	for _, verb := range control.Verbs() {
		path := fmt.Sprintf("/act/%s?service=payment&env=prod&reason=x&version=", verb)
		for name, p := range people {
			r := p.get(path).want(http.StatusForbidden).says("Not allowed", "deployer")
			if actionForm.MatchString(r.Body) {
				t.Errorf("a %s gets a form for %s", name, verb)
			}
			p.post("/act/"+string(verb), url.Values{"service": {"payment"}, "env": {"prod"}, "seen": {"x"}, "reason": {"x"}}).want(http.StatusForbidden)
			p.fragment(path).want(http.StatusForbidden).hides("<html")
		}
		if to := h.nobody().get(path).want(http.StatusSeeOther).Header.Get("Location"); !strings.HasPrefix(to, "/sign-in?to=") {
			t.Errorf("nobody is sent to %s", to)
		}
		if to := h.nobody().fragment(path).want(http.StatusNoContent).Header.Get("HX-Redirect"); !strings.HasPrefix(to, "/sign-in?to=") {
			t.Errorf("the dialog of nobody is sent to %q", to)
		}
	}
	glass := "/act/deploy?service=payment&env=prod&version=v1&planned=1&break_glass=1&reason=fire"
	dora.get(glass).want(http.StatusForbidden).says("an admin does it")
	dora.post("/act/deploy", url.Values{"service": {"payment"}, "env": {"prod"}, "version": {"v1"}, "break_glass": {"1"}, "reason": {"fire"}, "seen": {"x"}}).want(http.StatusForbidden)
	foreign := httptest.NewRequest(http.MethodPost, "/act/hold", strings.NewReader("service=payment&env=prod&reason=x&seen=holds"))
	foreign.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	foreign.Header.Set("Origin", "http://evil.example")
	dora.ask(foreign).want(http.StatusForbidden)
	if h.lines() != before {
		t.Errorf("%d lines were written", h.lines()-before)
	}
}

// What cannot be is refused with the field, the reason and the next step, and
// hostile words stay words.
func TestActHostile(t *testing.T) {
	t.Parallel()
	h := build(t).harbor()
	h.halt()
	dora := h.deployer()
	before := h.lines()
	for path, c := range map[string]struct {
		status int
		says   string
	}{
		"/act/fly?service=payment":                 {http.StatusNotFound, `there is no action "fly"`},
		"/act/abort":                               {http.StatusUnprocessableEntity, "change: is missing"},
		"/act/abort?change=zero":                   {http.StatusUnprocessableEntity, `"zero" is no number of a change`},
		"/act/abort?change=-1":                     {http.StatusUnprocessableEntity, "is no number of a change"},
		"/act/abort?change=99":                     {http.StatusNotFound, "there is no change"},
		"/act/abort?change=1":                      {http.StatusConflict, "nothing under way"},
		"/act/rollback":                            {http.StatusUnprocessableEntity, "service: is missing"},
		"/act/rollback?service=kart&env=prod":      {http.StatusNotFound, `there is no service "kart"`},
		"/act/rollback?service=payment&env=prod":   {http.StatusConflict, "there is nothing to go back to"},
		"/act/rollback?service=payment&version=v9": {http.StatusNotFound, `"v9"`},
		"/act/rollback?service=" + url.QueryEscape("<script>alert(1)</script>"): {http.StatusNotFound, "there is no service"},
		"/act/rollback?service=pay%1b[31m":                                      {http.StatusUnprocessableEntity, "service: holds a control character"},
		"/act/hold?service=payment&env=prod&version=v1":                         {http.StatusUnprocessableEntity, "not both"},
		"/act/promote?service=payment":                                          {http.StatusUnprocessableEntity, "name the environment"},
		"/act/switch?service=shop":                                              {http.StatusConflict, "no blue-green rollout that waits for its switch"},
		"/act/release?service=payment&version=v1":                               {http.StatusNotFound, "there is no such hold"},
		"/act/deploy?service=payment&planned=1&version=v9":                      {http.StatusNotFound, "there is no version of payment"},
		"/act/deploy?service=payment&planned=1&set=FEE":                         {http.StatusUnprocessableEntity, `"FEE" is not KEY=VALUE`},
		"/act/deploy?service=payment&planned=1&set=PORT%3D1":                    {http.StatusUnprocessableEntity, "PORT is set by Slipway itself"},
		"/act/deploy?service=payment&planned=1&version=v1":                      {http.StatusConflict, "already stable"},
		"/act/deploy?service=kart":                                              {http.StatusNotFound, `there is no service "kart"`},
		"/act/deploy?service=payment&planned=1&version=v1&strategy=magic":       {http.StatusUnprocessableEntity, "there is no strategy magic"},
		"/act/deploy?service=payment&reason=" + strings.Repeat("x", 3000):       {http.StatusUnprocessableEntity, "at most 2000 are kept"},
	} {
		r := dora.get(path).want(c.status).says(c.says)
		if strings.Contains(r.Body, "<script>alert") || actionForm.MatchString(r.Body) {
			t.Errorf("%s is not inert, or has a form that does it:\n%s", path, r.Body)
		}
	}
	big := url.Values{"service": {"payment"}, "reason": {strings.Repeat("x", maxForm)}}
	dora.post("/act/abort", big).want(http.StatusUnprocessableEntity).says("form: cannot be read")
	if h.lines() != before {
		t.Errorf("%d lines were written", h.lines()-before)
	}
}

// A bad version on hold is released, and a deploy is chosen, shown and done,
// without a script and with its configuration.
func TestDeployFromThePage(t *testing.T) {
	t.Parallel()
	h := build(t)
	folder := filepath.Join(h.dir, "versions")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"v1", "v2", "v10"} {
		if err := os.WriteFile(filepath.Join(folder, v), []byte("cart "+v), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h.project(strings.Replace(harborYAML, "cart: { run: ./cart,", "cart: { run: ./cart, versions: "+folder+",", 1)).run()
	dora := h.deployer()
	dora.get("/act/deploy").want(http.StatusOK).says("Deploy", "cart", "payment")
	dora.get("/act/deploy?service=cart").want(http.StatusOK).
		has(`<option value="v10" selected>v10 (new)</option>`, `<option value="v1">v1 (new)</option>`, `name="planned" value="1"`).hides("slipway deploy cart VERSION")
	dora.get("/act/deploy?service=payment").want(http.StatusOK).says("slipway deploy payment VERSION --from PATH")
	choice := "/act/deploy?" + url.Values{"service": {"cart"}, "version": {"v1"}, "planned": {"1"}}.Encode()
	to, fields := dora.get(choice).want(http.StatusOK).says("starts v1 in staging, then prod by itself; all traffic at once in prod", "Plan", "slipway deploy cart v1").form()
	if has, err := h.bundles.List(t.Context()); err != nil || len(has) != 0 {
		t.Errorf("looking kept %d bundles, %v", len(has), err)
	}
	fields.Set("reason", "the first")
	if got := dora.post(to, fields).want(http.StatusSeeOther).Header.Get("Location"); got != "/changes/1" {
		t.Errorf("went on to %s", got)
	}
	h.settled(1)
	choice = "/act/deploy?" + url.Values{
		"service": {"cart"}, "version": {"v2"}, "planned": {"1"}, "strategy": {"blue-green"}, "approve": {"1"},
		"set": {"BANNER=a \"b\" <b>&</b>\r\nCURRENCY=USD\r\n\r\n"}, "unset": {"OLD"}, "reason": {"sale"},
	}.Encode()
	r := dora.get(choice).want(http.StatusOK).
		says("starts v2 in staging, then prod by itself; blue-green: all traffic at once when a person switches in prod; changes the configuration of BANNER and CURRENCY", "Configuration in staging", "EUR", "USD", "not set", `a "b" <b>&</b>`, "slipway deploy cart v2").
		has(`href="/act/deploy?`)
	to, fields = r.form()
	dora.post(to, fields).want(http.StatusSeeOther)
	waits := h.rollout(2, "prod", "it waits for the switch", func(r delivery.Rollout) bool { return r.State == delivery.Waiting })
	h.halt()
	rel, err := h.store.Release(t.Context(), waits.To)
	if err != nil || rel.Config["BANNER"] != `a "b" <b>&</b>` || rel.Config["CURRENCY"] != "USD" {
		t.Errorf("configuration %q, %v", rel.Config, err)
	}
	to, fields = dora.get("/act/switch?service=cart").want(http.StatusOK).says("switches all prod traffic from v1 (blue) to v2 (green); v1 stays warm for 5 min", "slipway switch cart --env prod").hides("Type cart").form()
	dora.post(to, fields).want(http.StatusSeeOther)
	h.run()
	h.settled(2)
	h.halt()
	to, fields = dora.get("/act/switch?service=cart&back=1").want(http.StatusOK).says("Switch cart back", "moves all prod traffic from v2 back to v1 at once", "Type cart to confirm").form()
	fields.Set("typed", "cart")
	dora.post(to, fields).want(http.StatusSeeOther)
	to, fields = dora.get("/act/release?service=cart&version=v2").want(http.StatusOK).says("lifts the hold on cart v2; nothing is deployed by that").form()
	if got := dora.post(to, fields).want(http.StatusSeeOther).Header.Get("Location"); got != "/services/cart" {
		t.Errorf("went on to %s", got)
	}
	to, fields = dora.get("/act/hold?service=cart&env=prod").want(http.StatusOK).says("lets nothing new of cart into prod").form()
	dora.post(to, fields).want(http.StatusUnprocessableEntity).says("say why")
	fields.Set("reason", "a sale")
	dora.post(to, fields).want(http.StatusSeeOther)
	refused := dora.get("/act/deploy?service=cart&version=v10&env=prod&planned=1").want(http.StatusConflict).says("cart is held in prod", "a sale", "Who can lift it", "slipway release cart --env prod", "Show what it would do")
	if actionForm.MatchString(refused.Body) {
		t.Error("what is refused can be confirmed")
	}
}

// Two people press at once: one does it, the other sees what is so now.
func TestTwoPeopleAtThePage(t *testing.T) {
	t.Parallel()
	h := build(t).harbor()
	h.settled(h.deploy("payment", "v2"))
	h.halt()
	var forms []url.Values
	people := []*person{h.deployer(), h.admin()}
	for _, p := range people {
		_, fields := p.get("/act/rollback?service=payment&env=prod").want(http.StatusOK).form()
		fields.Set("typed", "payment")
		forms = append(forms, fields)
	}
	got := make([]*reply, len(people))
	var all sync.WaitGroup
	for i, p := range people {
		all.Go(func() { got[i] = p.post("/act/rollback", forms[i]) })
	}
	all.Wait()
	won, told := got[0], got[1]
	if won.Status != http.StatusSeeOther {
		won, told = told, won
	}
	won.want(http.StatusSeeOther)
	told.want(http.StatusConflict).says("has moved on", "changes nothing: payment goes back to v1 in prod already")
}

// The dialog of a page gets the same without the frame.
func TestActFragment(t *testing.T) {
	t.Parallel()
	h := build(t).harbor()
	h.halt()
	dora := h.deployer()
	whole := dora.get("/act/hold?service=cart&env=prod").want(http.StatusOK).has("<h1 id=\"act-title\">", "<html", `href="/services/cart"`)
	part := dora.fragment("/act/hold?service=cart&env=prod").want(http.StatusOK).has("<h2 id=\"act-title\">", "data-close", `action="/act/hold"`)
	if strings.Contains(part.Body, "<html") || strings.Contains(part.Body, "<h1") || part.Header.Get("Vary") != "HX-Request" || whole.Header.Get("Vary") != "HX-Request" {
		t.Errorf("the fragment is\n%s", part.Body)
	}
}
