package web

import (
	"cmp"
	"context"
	"html"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/access"
	"github.com/slipway-cd/slipway/internal/artifact"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/control/controltest"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/manifest"
	"github.com/slipway-cd/slipway/internal/metric/embedded"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/traffic"
)

const (
	testToken  = "correct-horse-battery-staple"
	previewKey = "signs previews in tests"
)

// patience is how long a test waits for what must come.
const patience = 3 * time.Minute

// harborYAML is the project of most tests. Staging takes what comes; prod is
// judged in a few seconds if there are callers.
const harborYAML = `project: harbor
services:
  shop: { run: ./shop, needs: [cart, payment], public: /, rollout: { strategy: blue-green } }
  cart: { run: ./cart, config: { CURRENCY: EUR } }
  payment: { run: ./payment, config: { BANK_TIMEOUT_MS: "800" } }
environments:
  - name: staging
    rollout: { steps: [{ weight: 100, hold: 0s, proven: false }], soak: 0s }
  - name: prod
rollout:
  strategy: canary
  steps: [{ weight: 25, hold: 1s, proven: false }, { weight: 50, hold: 1s }, { weight: 100, hold: 0s, proven: false }]
  soak: 0s
  window: 5m
  judge: { beta: 0.2, promote_error_add: 0.03, promote_latency: 1 }
`

// house is a control plane with pages, over a machine in memory. Nothing moves
// before run, and nothing listens before serve. It may stand in a synctest bubble
// as long as it does not listen.
type house struct {
	t       testing.TB
	dir     string
	m       *controltest.Machine
	store   *store.Store
	bundles *artifact.Store
	loop    *control.Loop
	numbers *embedded.Store
	deps    Deps
	pages   *Web              // as the server has them
	every   time.Duration     // between two looks of a stream; 0 is as the product has it
	tokens  map[string]string // name -> what opens it
	public  *Web              // with the switch on that lets anybody read
	stop    func()
}

// build makes a house in a new folder.
func build(t testing.TB) *house {
	t.Helper()
	return buildIn(t, t.TempDir())
}

// buildIn makes a house in a folder that may have been lived in.
func buildIn(t testing.TB, dir string) *house {
	t.Helper()
	h := &house{t: t, dir: dir, m: controltest.New(), numbers: embedded.New(), tokens: map[string]string{}}
	var err error
	if h.store, err = store.Open(t.Context(), filepath.Join(h.dir, "store.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.store.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	if h.bundles, err = artifact.Open(filepath.Join(h.dir, "bundles")); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	h.loop = control.New(control.Deps{Store: h.store, Workload: h.m, Traffic: traffic.New(h.m.Plane()), Artifacts: h.bundles, Numbers: h.numbers, PreviewKey: []byte(previewKey), Log: log})
	h.deps = Deps{Loop: h.loop, Store: h.store, Workload: h.m, Log: log, Version: "v0-test"}
	h.pages, h.public = h.open(false), h.open(true)
	return h
}

// open makes pages over the house; anybody may read them if public.
func (h *house) open(public bool) *Web {
	d := h.deps
	d.Guard = access.New(access.Deps{Root: testToken, Addr: "127.0.0.1:7500", Public: public, Store: d.Store})
	return New(d)
}

// run lets the loop move what is submitted, until the test ends or halt.
func (h *house) run() *house {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(h.t.Context())) // the tabs of the test close before it stops
	done := make(chan error, 1)
	go func() { done <- h.loop.Run(ctx) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("Run = %v", err)
		}
	})
	h.t.Cleanup(h.stop)
	return h
}

// halt stops the loop: nothing moves any more.
func (h *house) halt() { h.stop() }

// project puts a slipway.yaml in force.
func (h *house) project(yaml string) *house {
	h.t.Helper()
	p, _, err := manifest.Parse("slipway.yaml", []byte(yaml), "/srv/harbor")
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := h.loop.SetProject(h.t.Context(), p, []byte(yaml), "ann"); err != nil {
		h.t.Fatal(err)
	}
	return h
}

// harbor is the project of most tests with v1 of everything in every environment
// and callers in prod. The loop runs.
func (h *house) harbor() *house {
	h.t.Helper()
	h.project(harborYAML).run()
	for _, service := range []string{"payment", "cart", "shop"} {
		h.settled(h.deploy(service, "v1"))
	}
	h.m.Call(controltest.Callers{Env: "prod", Service: "shop", Rate: 500, Path: "/checkout"})
	h.m.Call(controltest.Callers{From: "shop", Env: "prod", Service: "cart", Rate: 500, Path: "/items"})
	h.m.Call(controltest.Callers{From: "shop", Env: "prod", Service: "payment", Rate: 500, Path: "/charges"})
	return h
}

// bundle keeps code that is one file with this text.
func (h *house) bundle(text string) delivery.Digest {
	h.t.Helper()
	path := filepath.Join(h.dir, "main")
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		h.t.Fatal(err)
	}
	d, err := h.bundles.Snapshot(h.t.Context(), path)
	if err != nil {
		h.t.Fatal(err)
	}
	return d
}

// deploy submits a version of a service; it behaves as h.m.Behave was told.
func (h *house) deploy(service, version string) delivery.ChangeID {
	h.t.Helper()
	return h.submit(control.Submission{Service: service, Version: version, Bundle: h.bundle(service + version)})
}

// submit submits what deploy has no words for: configuration, one environment.
func (h *house) submit(s control.Submission) delivery.ChangeID {
	h.t.Helper()
	if s.By == "" {
		s.By = "ann"
	}
	out, err := h.loop.Submit(h.t.Context(), s)
	if err != nil {
		h.t.Fatal(err)
	}
	return out.Change.ID
}

// stable is the version that is stable in an environment; "" for none.
func (h *house) stable(service, env string) string {
	h.t.Helper()
	all, err := h.store.Stables(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	for _, s := range all {
		if s.Service == service && s.Env == env {
			return s.Version
		}
	}
	return ""
}

// lift lifts the pin of a service in an environment.
func (h *house) lift(service, env string) {
	h.t.Helper()
	if _, err := h.loop.LiftHold(h.t.Context(), control.Lift{Service: service, Env: env, By: "ann"}); err != nil {
		h.t.Fatal(err)
	}
}

// rollouts are those of a change so far, in the order they were submitted.
func (h *house) rollouts(id delivery.ChangeID) []delivery.Rollout {
	h.t.Helper()
	all, err := h.store.Rollouts(h.t.Context(), store.RolloutQuery{Change: id, Limit: store.MaxLimit})
	if err != nil {
		h.t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b delivery.Rollout) int { return cmp.Compare(a.Seq, b.Seq) })
	return all
}

// rollout waits until a change has one in env that is as ok says.
func (h *house) rollout(id delivery.ChangeID, env, what string, ok func(delivery.Rollout) bool) delivery.Rollout {
	h.t.Helper()
	var last delivery.Rollout
	h.eventually(what, func() bool {
		for _, r := range h.rollouts(id) {
			if r.Env == env {
				last = r
				return ok(r)
			}
		}
		return false
	}, func() string { return string(last.State) + ": " + last.Reason })
	return last
}

// settled waits until a change is done in every environment, or ended otherwise in one.
func (h *house) settled(id delivery.ChangeID) []delivery.Rollout {
	h.t.Helper()
	p, _, err := h.store.Project(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	c, err := h.store.Change(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	want := len(p.Environments)
	if c.Only != "" {
		want = 1
	}
	var all []delivery.Rollout
	h.eventually("the change is over", func() bool {
		all = h.rollouts(id)
		done := 0
		for _, r := range all {
			if r.State.Final() && r.State != delivery.Done {
				return true
			}
			if r.State == delivery.Done {
				done++
			}
		}
		return done == want
	}, func() string {
		var parts []string
		for _, r := range all {
			parts = append(parts, r.Env+" "+string(r.State)+": "+r.Reason)
		}
		return strings.Join(parts, "; ")
	})
	return all
}

// eventually waits until ok says true; shown says what there is instead.
func (h *house) eventually(what string, ok func() bool, shown func() string) {
	h.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !ok() {
		select {
		case <-ticker.C:
		case <-deadline.C:
			h.t.Fatalf("never: %s; there is %s", what, shown())
		}
	}
}

// person is somebody who looks at pages, without a browser and without a network.
type person struct {
	t       testing.TB
	pages   *Web
	cookies map[string]*http.Cookie
}

// nobody is not signed in.
func (h *house) nobody() *person {
	return &person{t: h.t, pages: h.pages, cookies: map[string]*http.Cookie{}}
}

// anyone reads with the switch on that lets anybody read.
func (h *house) anyone() *person {
	return &person{t: h.t, pages: h.public, cookies: map[string]*http.Cookie{}}
}

// admin is signed in with the token of the server.
func (h *house) admin() *person { return h.signedIn(testToken) }

// deployer is signed in with a named token that may deploy.
func (h *house) deployer() *person { return h.signedIn(h.token("dora", delivery.Deployer)) }

// reader is signed in with a named token that may only read.
func (h *house) reader() *person { return h.signedIn(h.token("rita", delivery.Reader)) }

// token makes a named token, once.
func (h *house) token(name string, role delivery.Access) string {
	h.t.Helper()
	if made := h.tokens[name]; made != "" {
		return made
	}
	_, secret, err := h.pages.d.Guard.Create(h.t.Context(), access.NewToken{Name: name, Access: role, By: "ann"})
	if err != nil {
		h.t.Fatal(err)
	}
	h.tokens[name] = secret
	return secret
}

func (h *house) signedIn(token string) *person {
	h.t.Helper()
	p := h.nobody()
	p.post("/sign-in", url.Values{"token": {token}}).want(http.StatusSeeOther)
	return p
}

// get asks for a page.
func (p *person) get(path string) *reply {
	p.t.Helper()
	return p.ask(httptest.NewRequest(http.MethodGet, path, nil))
}

// post sends a form.
func (p *person) post(path string, form url.Values) *reply {
	p.t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return p.ask(r)
}

// ask sends a request as a browser of this person does.
func (p *person) ask(r *http.Request) *reply {
	p.t.Helper()
	r.Host, r.RemoteAddr = "127.0.0.1:7500", "127.0.0.1:40000"
	for _, c := range p.cookies {
		r.AddCookie(c)
	}
	rec := httptest.NewRecorder()
	p.pages.ServeHTTP(rec, r.WithContext(p.t.Context()))
	for _, c := range rec.Result().Cookies() {
		if p.cookies[c.Name] = c; c.MaxAge < 0 {
			delete(p.cookies, c.Name)
		}
	}
	return &reply{t: p.t, asked: r.Method + " " + r.URL.RequestURI(), Status: rec.Code, Header: rec.Header(), Body: rec.Body.String()}
}

// reply is one answer.
type reply struct {
	t      testing.TB
	asked  string
	Status int
	Header http.Header
	Body   string
}

// want holds the status of an answer.
func (r *reply) want(status int) *reply {
	r.t.Helper()
	if r.Status != status {
		r.t.Fatalf("%s = %d, want %d:\n%s", r.asked, r.Status, status, r.text())
	}
	return r
}

// says holds that people read each of these on the page.
func (r *reply) says(texts ...string) *reply {
	r.t.Helper()
	all := r.text()
	for _, text := range texts {
		if !strings.Contains(all, text) {
			r.t.Errorf("%s does not say %q:\n%s", r.asked, text, all)
		}
	}
	return r
}

// hides holds that people read none of these on the page.
func (r *reply) hides(texts ...string) *reply {
	r.t.Helper()
	all := r.text()
	for _, text := range texts {
		if strings.Contains(all, text) {
			r.t.Errorf("%s says %q:\n%s", r.asked, text, all)
		}
	}
	return r
}

// has holds that each of these is in the HTML.
func (r *reply) has(marks ...string) *reply {
	r.t.Helper()
	for _, mark := range marks {
		if !strings.Contains(r.Body, mark) {
			r.t.Errorf("%s lacks %q:\n%s", r.asked, mark, r.Body)
		}
	}
	return r
}

var (
	htmlTag   = regexp.MustCompile(`(?s)<[^>]*>`)
	htmlSpace = regexp.MustCompile(`\s+`)
)

// text is what people read on the page, in one line.
func (r *reply) text() string {
	return strings.TrimSpace(htmlSpace.ReplaceAllString(html.UnescapeString(htmlTag.ReplaceAllString(r.Body, " ")), " "))
}

type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}
