package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// folder makes a state folder with these files.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// serve runs a real server and returns a client of it.
func serve(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	t.Cleanup(s.CloseClientConnections)
	return client.New(s.URL+"/", "secret", "ann")
}

func TestStateFolder(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, named string
		vars        map[string]string
		want        string
	}{
		{"named", "/a", map[string]string{"SLIPWAY_HOME": "/b", "XDG_STATE_HOME": "/c", "HOME": "/d"}, "/a"},
		{"named here", "a", nil, filepath.Join(here, "a")},
		{"SLIPWAY_HOME", "", map[string]string{"SLIPWAY_HOME": "/b", "XDG_STATE_HOME": "/c", "HOME": "/d"}, "/b"},
		{"SLIPWAY_HOME here", "", map[string]string{"SLIPWAY_HOME": "b"}, filepath.Join(here, "b")},
		{"XDG", "", map[string]string{"XDG_STATE_HOME": "/c", "HOME": "/d"}, "/c/slipway"},
		{"XDG that is not absolute", "", map[string]string{"XDG_STATE_HOME": "c", "HOME": "/d"}, "/d/.local/state/slipway"},
		{"HOME", "", map[string]string{"HOME": "/d"}, "/d/.local/state/slipway"},
	} {
		got, err := client.StateFolder(c.named, func(name string) string { return c.vars[name] })
		if err != nil || got != c.want {
			t.Errorf("%s: StateFolder = %q, %v, want %q", c.name, got, err, c.want)
		}
	}
	_, err = client.StateFolder("", func(string) string { return "" })
	if f, ok := errors.AsType[*delivery.FieldError](err); !ok || f.Field != "state" || !strings.Contains(f.Next, "--state") {
		t.Errorf("nowhere: error = %v, want one that names --state", err)
	}
}

func TestFind(t *testing.T) {
	const good = `{"url":"http://127.0.0.1:7500"}`
	c, err := client.Find(folder(t, map[string]string{"api.json": good, "token": "secret\n"}), "ann")
	if err != nil || c.Base != "http://127.0.0.1:7500" || c.Token != "secret" || c.User != "ann" {
		t.Fatalf("Find = %+v, %v", c, err)
	}
	for _, f := range []struct {
		name  string
		files map[string]string
		none  bool   // no server runs here
		says  string // in the error
	}{
		{"no server", nil, true, "no server runs here"},
		{"a token alone", map[string]string{"token": "secret"}, true, "no server runs here"},
		{"cut off", map[string]string{"api.json": `{"url":"http:`, "token": "secret"}, false, "api.json is damaged"},
		{"empty", map[string]string{"api.json": "", "token": "secret"}, false, "api.json is damaged"},
		{"without an address", map[string]string{"api.json": "{}", "token": "secret"}, false, "api.json is damaged: it names no address"},
		{"without a token", map[string]string{"api.json": good}, false, "token"},
		{"with an empty token", map[string]string{"api.json": good, "token": "\n"}, false, "token is damaged: it is empty"},
	} {
		_, err := client.Find(folder(t, f.files), "ann")
		if err == nil || errors.Is(err, client.ErrNoServer) != f.none || !strings.Contains(err.Error(), f.says) || strings.Contains(err.Error(), "%!") {
			t.Errorf("%s: error = %v, want one that says %q", f.name, err, f.says)
		}
	}
}

// A request says who asks, and comes as what it is.
func TestDo(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_ = json.NewEncoder(w).Encode(map[string]string{
			"method": r.Method, "path": r.URL.String(), "auth": r.Header.Get("Authorization"), "user": r.Header.Get("Slipway-User"),
			"type": r.Header.Get("Content-Type"), "key": r.Header.Get("Idempotency-Key"), "accept": r.Header.Get("Accept"), "body": string(body),
		})
	})
	want := func(got map[string]string, err error, pairs ...string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(pairs); i += 2 {
			if got[pairs[i]] != pairs[i+1] {
				t.Errorf("%s = %q, want %q", pairs[i], got[pairs[i]], pairs[i+1])
			}
		}
	}
	var got map[string]string
	err := c.Do(t.Context(), http.MethodPost, "/x?a=1", map[string]int{"n": 7}, &got)
	want(got, err, "method", "POST", "path", "/api/v1/x?a=1", "auth", "Bearer secret", "user", "ann", "type", "application/json", "body", `{"n":7}`, "key", "")
	got = nil
	err = c.Do(t.Context(), http.MethodGet, "/x", nil, &got)
	want(got, err, "method", "GET", "type", "", "body", "")
	got = nil
	err = c.Send(t.Context(), client.Request{Method: http.MethodPut, Path: "/x", Type: "application/yaml", Body: strings.NewReader("a: 1"), Key: "k1", Accept: "text/plain"}, &got)
	want(got, err, "method", "PUT", "type", "application/yaml", "body", "a: 1", "key", "k1", "accept", "text/plain")
	var raw json.RawMessage
	if err := c.Do(t.Context(), http.MethodGet, "/x", nil, &raw); err != nil || !json.Valid(raw) {
		t.Errorf("raw = %s, %v, want the answer as it came", raw, err)
	}
	if err := c.Do(t.Context(), http.MethodGet, "/x", nil, nil); err != nil {
		t.Errorf("an answer nobody wants: %v", err)
	}
	if err := c.Do(t.Context(), http.MethodPost, "/x", func() {}, nil); err == nil || errors.Is(err, client.ErrNoServer) {
		t.Errorf("what is no JSON: error = %v, want one before anything is sent", err)
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/v1/nothing":
			w.WriteHeader(http.StatusNoContent)
		case "/api/v1/half":
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"project":`)
		case "/api/v1/html":
			_, _ = io.WriteString(w, "<html>")
		}
	})
	out := map[string]string{}
	if err := c.Do(t.Context(), http.MethodGet, "/nothing", nil, &out); err != nil || len(out) != 0 {
		t.Errorf("no content = %v, %v, want nothing", out, err)
	}
	for _, path := range []string{"/half", "/html"} {
		if err := c.Do(t.Context(), http.MethodGet, path, nil, &out); err == nil || !strings.Contains(err.Error(), path) || errors.Is(err, client.ErrNoServer) {
			t.Errorf("%s: error = %v, want one that names the path", path, err)
		}
	}
	var raw json.RawMessage
	if err := c.Do(t.Context(), http.MethodGet, "/half", nil, &raw); err == nil {
		t.Errorf("half an answer as it came = %s, want an error", raw)
	}
}

func TestProblems(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for _, c := range []struct {
		name   string
		status int
		body   string
		want   client.Problem
		says   string
	}{
		{
			"as Slipway says it", 409, `{"status":409,"title":"Held","detail":"cart is held in prod","code":"held","hint":"slipway release cart --env prod","who":"anyone with access"}`,
			client.Problem{Status: 409, Title: "Held", Detail: "cart is held in prod", Code: "held", Hint: "slipway release cart --env prod", Who: "anyone with access"},
			"cart is held in prod",
		},
		{"a title alone", 500, `{"title":"Broken"}`, client.Problem{Status: 500, Title: "Broken"}, "Broken"},
		{"a status that is another", 502, `{"status":200,"title":"Broken"}`, client.Problem{Status: 502, Title: "Broken"}, "Broken"},
		{"no JSON", 502, "bad gateway\n", client.Problem{Status: 502, Title: "502 Bad Gateway", Detail: "bad gateway"}, "bad gateway"},
		{"JSON that is no problem", 400, `"no"`, client.Problem{Status: 400, Title: "400 Bad Request", Detail: `"no"`}, `"no"`},
		{"JSON that nearly is", 400, `{"title":"Odd","detail":7}`, client.Problem{Status: 400, Title: "400 Bad Request", Detail: `{"title":"Odd","detail":7}`}, `{"title":"Odd","detail":7}`},
		{"empty object", 404, `{}`, client.Problem{Status: 404, Title: "404 Not Found"}, "404 Not Found"},
		{"nothing", 503, "", client.Problem{Status: 503, Title: "503 Service Unavailable"}, "503 Service Unavailable"},
		{"a whole page", 500, long, client.Problem{Status: 500, Title: "500 Internal Server Error", Detail: long[:500]}, long[:500]},
	} {
		api := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		})
		err := api.Do(t.Context(), http.MethodGet, "/x", nil, nil)
		p, ok := errors.AsType[*client.Problem](err)
		if !ok || p.Status != c.want.Status || p.Title != c.want.Title || p.Detail != c.want.Detail || p.Code != c.want.Code || p.Hint != c.want.Hint || p.Who != c.want.Who {
			t.Errorf("%s: problem = %+v, want %+v", c.name, err, c.want)
		}
		if ok && p.Error() != c.says {
			t.Errorf("%s: says %q, want %q", c.name, p, c.says)
		}
		if errors.Is(err, client.ErrNoServer) {
			t.Errorf("%s: matches ErrNoServer, though a server answered", c.name)
		}
	}
	several := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = io.WriteString(w, `{"errors":[{"location":"body.a","message":"is missing"},{"location":"body.b","message":"is 7","value":7}]}`)
	})
	p, ok := errors.AsType[*client.Problem](several.Do(t.Context(), http.MethodGet, "/x", nil, nil))
	if !ok || len(p.Errors) != 2 || p.Errors[1].Location != "body.b" || p.Errors[1].Value != float64(7) {
		t.Errorf("several mistakes = %+v, want both", p)
	}
}

func TestServerIsAway(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	c := client.New(s.URL, "", "")
	s.Close()
	if err := c.Do(t.Context(), http.MethodGet, "/x", nil, nil); !errors.Is(err, client.ErrNoServer) {
		t.Errorf("error = %v, want ErrNoServer", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := c.Do(ctx, http.MethodGet, "/x", nil, nil); !errors.Is(err, context.Canceled) || errors.Is(err, client.ErrNoServer) {
		t.Errorf("stopped by the caller: error = %v, want context.Canceled alone", err)
	}
}

// What only reads waits for a server that is started anew, and finds it at its
// new address with its new token; what changes something is not sent twice.
func TestPatience(t *testing.T) {
	old := httptest.NewServer(http.NotFoundHandler())
	dir := folder(t, map[string]string{"api.json": `{"url":"` + old.URL + `"}`, "token": "old"})
	c, err := client.Find(dir, "ann")
	if err != nil {
		t.Fatal(err)
	}
	old.Close()
	c.Patience = 30 * time.Second
	if err := c.Do(t.Context(), http.MethodPost, "/x", map[string]string{}, nil); !errors.Is(err, client.ErrNoServer) {
		t.Errorf("a change: error = %v, want ErrNoServer at once", err)
	}
	asked := 0
	renewed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked++; asked == 1 { // still stopping
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `{"code":"stopping"}`)
			return
		}
		_ = json.NewEncoder(w).Encode(r.Header.Get("Authorization"))
	}))
	t.Cleanup(renewed.Close)
	for name, text := range map[string]string{"token": "new", "api.json": `{"url":"` + renewed.URL + `"}`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var got string
	if err := c.Do(t.Context(), http.MethodGet, "/x", nil, &got); err != nil || got != "Bearer new" || asked != 2 {
		t.Errorf("answer = %q, %v after %d asks, want Bearer new after 2", got, err, asked)
	}
}
