package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

var update = flag.Bool("update", false, "write golden files anew")

// golden compares got with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run with -update to accept\n--- got\n%s--- want\n%s", path, got, want)
	}
}

// moment is what the server of a test answers about a change at one time.
type moment struct {
	whole  client.Whole
	live   map[delivery.RolloutID]control.Live
	events []delivery.Event
	why    []delivery.Answer
}

// house is a server that speaks the contract of the API. What a change looks
// like is a function of how often it was asked for.
type house struct {
	project delivery.Project
	board   delivery.Board
	refuse  *client.Problem // of POST /changes
	done    control.Submitted
	at      func(n int) moment

	mu   sync.Mutex
	n    int                 // looks at the change
	got  control.Submission  // last POST /changes
	asks []string            // verbs and paths that were posted
	seen map[string][]string // header -> values
}

func (h *house) now() moment {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at(h.n)
}

func (h *house) asked() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.asks...)
}

func answer(w http.ResponseWriter, status int, v any) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (h *house) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/api/v1")
	if r.Header.Get("Authorization") != "Bearer sesame" {
		answer(w, http.StatusUnauthorized, client.Problem{Status: 401, Title: "No valid token", Code: "unauthorized"})
		return
	}
	switch {
	case r.Method == http.MethodPost && path == "/changes":
		h.submit(w, r)
	case r.Method == http.MethodPost && path == "/bundles":
		_, _ = io.Copy(io.Discard, r.Body)
		answer(w, http.StatusOK, map[string]any{"digest": delivery.DigestOf([]byte("code"))})
	case r.Method == http.MethodPost:
		h.mu.Lock()
		h.asks = append(h.asks, path)
		h.mu.Unlock()
		all := h.now().whole.Rollouts
		answer(w, http.StatusOK, all[len(all)-1])
	case path == "/project":
		answer(w, http.StatusOK, map[string]any{"project": h.project, "source": ""})
	case path == "/status":
		answer(w, http.StatusOK, h.board)
	case strings.HasPrefix(path, "/changes/"):
		h.mu.Lock()
		h.n++
		h.mu.Unlock()
		answer(w, http.StatusOK, h.now().whole)
	case strings.HasPrefix(path, "/rollouts/"):
		answer(w, http.StatusOK, h.now().live[delivery.RolloutID(strings.TrimPrefix(path, "/rollouts/"))])
	case path == "/rollouts":
		answer(w, http.StatusOK, client.List[delivery.Rollout]{Items: h.now().whole.Rollouts})
	case path == "/ledger":
		h.ledger(w, r)
	case strings.HasSuffix(path, "/logs"): // nothing was written
	case strings.HasSuffix(path, "/why"):
		answer(w, http.StatusOK, client.List[delivery.Answer]{Items: h.now().why})
	default:
		answer(w, http.StatusNotFound, client.Problem{Status: 404, Title: "Not there", Detail: "no route " + path, Code: "not_found"})
	}
}

func (h *house) submit(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.got, h.seen = control.Submission{}, r.Header
	if err := json.NewDecoder(r.Body).Decode(&h.got); err != nil {
		answer(w, http.StatusBadRequest, client.Problem{Status: 400, Detail: err.Error(), Code: "malformed"})
		return
	}
	if h.refuse != nil {
		answer(w, h.refuse.Status, h.refuse)
		return
	}
	answer(w, http.StatusCreated, h.done)
}

func (h *house) ledger(w http.ResponseWriter, r *http.Request) {
	var since int64
	_, _ = fmt.Sscan(r.URL.Query().Get("since"), &since)
	out := client.List[delivery.Event]{Items: []delivery.Event{}}
	for _, e := range h.now().events {
		if e.Seq > since && r.URL.Query().Get("newest") == "" {
			out.Items = append(out.Items, e)
		}
	}
	answer(w, http.StatusOK, out)
}

// run is one run of the program against a house.
type run struct {
	code           int
	stdout, stderr string
}

// open serves h and returns the folder by which the program finds it.
func open(t *testing.T, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return announce(t, t.TempDir(), srv.URL)
}

func announce(t *testing.T, state, url string) string {
	t.Helper()
	for name, text := range map[string]string{"api.json": fmt.Sprintf(`{"url":%q,"pid":1}`, url), "token": "sesame\n"} {
		if err := os.WriteFile(filepath.Join(state, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return state
}

// slipway runs the program with a state folder, in a folder of its own.
func slipway(ctx context.Context, t *testing.T, state string, args ...string) run {
	t.Helper()
	return under(ctx, t, Roof{Version: "test"}, t.TempDir(), state, args...)
}

// under runs the program below a roof, in a folder.
func under(ctx context.Context, t *testing.T, roof Roof, dir, state string, args ...string) run {
	t.Helper()
	var out, errs bytes.Buffer
	code := Main(ctx, Env{
		Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Dir: dir,
		Vars: func(name string) string {
			return map[string]string{"SLIPWAY_HOME": state, "USER": "ann", "TERM": "xterm"}[name]
		},
		Roof: roof,
	})
	return run{code, out.String(), errs.String()}
}

// born is when every test of a change begins.
var born = time.Date(2026, 3, 4, 14, 26, 0, 0, time.UTC)

// shop is a project of one service with three environments.
func shop(t *testing.T) delivery.Project {
	t.Helper()
	return delivery.Project{
		Name: "shop", Services: []delivery.Service{{Name: "payment", Dir: t.TempDir()}},
		Environments: []delivery.Environment{{Name: "dev", Promote: delivery.Auto}, {Name: "prod", Promote: delivery.Auto}},
	}
}

// submitted is change 7: payment v1 to v2.
func submitted() control.Submitted {
	before := delivery.Release{Service: "payment", Version: "v1", Config: map[string]string{"FEE": "1"}}.Seal()
	after := delivery.Release{Service: "payment", Version: "v2", Config: map[string]string{"FEE": "2"}}.Seal()
	plan := delivery.Plan{Strategy: delivery.Canary, Steps: []delivery.Step{
		{Do: delivery.DoWeight, Weight: delivery.Percent(5)}, {Do: delivery.DoWeight, Weight: delivery.Percent(25)}, {Do: delivery.DoWeight, Weight: delivery.Full},
	}}
	return control.Submitted{
		Change: delivery.Change{
			ID: 7, Kind: delivery.Code, Kinds: []delivery.Kind{delivery.Code, delivery.Config}, By: "ann", Submitted: born,
			Members: []delivery.Member{{Service: "payment", From: before.ID, To: after.ID, Version: "v2"}},
		},
		Release: after, Before: &before,
		Plans: []control.EnvPlan{{Env: "dev", Plan: plan, Promote: delivery.Auto}, {Env: "prod", Plan: plan, Promote: delivery.Auto}},
	}
}

// rolling is a rollout of change 7.
func rolling(env string, state delivery.State) delivery.Rollout {
	s := submitted()
	r := delivery.Rollout{
		ID: delivery.RolloutID("7/" + env), Change: 7, Service: "payment", Env: env, From: s.Before.ID, Was: "v1", To: s.Release.ID, Version: "v2",
		Plan: s.Plans[0].Plan, State: state, Created: born, Started: born, Exposed: born.Add(time.Second), Reason: "because the test says so",
	}
	if state.Final() {
		r.Ended = born.Add(42 * time.Second)
	}
	return r
}

// at is a moment of change 7 with these rollouts.
func at(rollouts ...delivery.Rollout) moment {
	s := submitted()
	m := moment{whole: client.Whole{Change: s.Change, Rollouts: rollouts, Release: s.Release, Holds: []delivery.Hold{}}, live: map[delivery.RolloutID]control.Live{}}
	for _, r := range rollouts {
		m.live[r.ID] = control.Live{Rollout: r, Points: []control.Point{}}
	}
	return m
}

// always is a house whose change never changes.
func always(t *testing.T, m moment) *house {
	t.Helper()
	return &house{project: shop(t), done: submitted(), at: func(int) moment { return m }}
}
