package prometheus_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
	"github.com/slipway-cd/slipway/internal/metric/prometheus"
)

// ask is a question about the last minute but one.
func ask(m delivery.Metric) metric.Ask {
	if m.Name == "" {
		m.Name = "number"
	}
	m.From = delivery.FromPrometheus
	now := time.Now().Unix()
	return metric.Ask{
		Metric: m, Service: "shop", Env: "prod", First: now - 120, Last: now - 60,
		Stable: metric.Side{Release: "r1", Version: "v1"}, Canary: metric.Side{Release: "r2", Version: "v2"},
	}
}

var errorShare = delivery.Metric{Kind: delivery.KindShare, Value: `x_total{code="500",release="$release"}`, Per: `x_total{release="$release"}`}

func answering(t *testing.T, with http.HandlerFunc) *prometheus.Driver {
	t.Helper()
	s := httptest.NewServer(with)
	t.Cleanup(s.Close)
	return driver(t, s.URL)
}

// A source that does not answer as it should is an error, and no judgement.
func TestGarbage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		says   string
	}{
		"a page":           {say(200, "<html>Sign in</html>"), "not what Prometheus does"},
		"nothing":          {say(200, ""), "not what Prometheus does"},
		"half an answer":   {say(200, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"x`), "not what Prometheus does"},
		"an error page":    {say(500, "oops"), "500"},
		"an API error":     {say(422, `{"status":"error","errorType":"execution","error":"too many samples"}`), "too many samples"},
		"a success in 503": {say(503, `{"status":"success","data":{"resultType":"matrix","result":[]}}`), "503"},
		"a vector":         {say(200, `{"status":"success","data":{"resultType":"vector","result":[]}}`), "vector"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://example.org/", http.StatusFound)
		}, "302"},
		"no time":         {matrix(`[["soon","1"]]`), "not a time"},
		"no value":        {matrix(`[[1,"many"]]`), "not a value"},
		"no pair":         {matrix(`[[1]]`), "not a time and a value"},
		"time goes back":  {matrix(`[[2,"1"],[1,"2"]]`), "order of time"},
		"the same moment": {matrix(`[[2,"1"],[2,"2"]]`), "order of time"},
	} {
		got, err := answering(t, c.answer).Read(t.Context(), ask(errorShare))
		if err == nil || !strings.Contains(err.Error(), c.says) || len(got.Readings) > 0 {
			t.Errorf("%s: Read = %+v, %v; want an error that says %q", name, got, err, c.says)
		}
	}
}

func say(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

func matrix(values string) http.HandlerFunc {
	return say(200, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"x_total"},"values":`+values+`}]}}`)
}

func TestHangs(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	d := answering(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-r.Context().Done():
		case <-gone:
		}
	})
	t.Cleanup(func() { close(gone) })
	ctx, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	if got, err := d.Read(ctx, ask(errorShare)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Read = %+v, %v; want the deadline", got, err)
	}
}

// More than anybody meant is not read on, and is no failure of the source.
func TestTooMuch(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]*prometheus.Driver{
		"bytes": answering(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"status":"success","data":{"resultType":"matrix","result":[`)
			junk := strings.Repeat(" ", 1<<20)
			for range 40 {
				if _, err := io.WriteString(w, junk); err != nil {
					return
				}
			}
		}),
		"series": answering(t, say(200, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{}}`+strings.Repeat(`,{"metric":{}}`, 10_000)+`]}}`)),
	} {
		got, err := d.Read(t.Context(), ask(errorShare))
		if err != nil || len(got.Readings) > 0 || !strings.Contains(got.Missing, "selects too much") {
			t.Errorf("%s: Read = %+v, %v; want nothing, and that it selects too much", name, got, err)
		}
	}
}

// Who asks is shown to the server, and to nobody else: no error has the secret.
func TestIdentity(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t-t0ken"
	var seen string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Get("Authorization")
		w.WriteHeader(401)
	}))
	t.Cleanup(s.Close)
	file := filepath.Join(t.TempDir(), "token")
	for _, c := range []struct {
		at   delivery.Prometheus
		want string
	}{
		{delivery.Prometheus{URL: s.URL, TokenFile: file}, "Bearer " + secret},
		{delivery.Prometheus{URL: s.URL, User: "us", PasswordFile: file}, "Basic dXM6czNjcjN0LXQwa2Vu"},
	} {
		if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := prometheus.New(c.at)
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Read(t.Context(), ask(errorShare))
		if err == nil || seen != c.want {
			t.Errorf("the server was shown %q (%v), want %q", seen, err, c.want)
		}
		for _, text := range []string{fmt.Sprint(err), fmt.Sprintf("%+v %#v", d, d)} {
			if strings.Contains(text, secret) {
				t.Errorf("the secret is in %q", text)
			}
		}
		seen = ""
		for _, content := range []string{"", "two\nlines"} {
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Read(t.Context(), ask(errorShare)); err == nil || seen != "" {
				t.Errorf("with %q for a secret Read = %v and the server was shown %q, want an error and nothing", content, err, seen)
			}
		}
		d.Close()
	}
}

// What the server says of its own answer is handed on.
func TestWarnings(t *testing.T) {
	t.Parallel()
	d := answering(t, say(200, `{"status":"success","warnings":["store eu is down"],"data":{"resultType":"matrix","result":[]}}`))
	got, err := d.Read(t.Context(), ask(errorShare))
	if err != nil || !strings.Contains(got.Missing, "store eu is down") || !strings.Contains(got.Missing, "r1") {
		t.Errorf("Read = %+v, %v; want the warning and what is missing", got, err)
	}
}

func TestNew(t *testing.T) {
	for _, c := range []struct {
		at    delivery.Prometheus
		field string
	}{
		{delivery.Prometheus{TokenFile: "/x"}, "prometheus.url"},
		{delivery.Prometheus{URL: "localhost:9090"}, "prometheus.url"},
		{delivery.Prometheus{URL: "http://me:secret@localhost:9090"}, "prometheus.url"},
		{delivery.Prometheus{URL: "http://localhost:9090?x=1"}, "prometheus.url"},
		{delivery.Prometheus{URL: "http://localhost:9090", TokenFile: "/x", User: "u", PasswordFile: "/y"}, "prometheus.token_file"},
		{delivery.Prometheus{URL: "http://localhost:9090", User: "u"}, "prometheus.user"},
		{delivery.Prometheus{URL: "http://localhost:9090", User: "u:v", PasswordFile: "/y"}, "prometheus.user"},
		{delivery.Prometheus{URL: "http://localhost:9090", CAFile: "/x"}, "prometheus.ca_file"},
	} {
		_, err := prometheus.New(c.at)
		f, ok := errors.AsType[*delivery.FieldError](err)
		if !ok || f.Field != c.field {
			t.Errorf("New(%+v) = %v, want what is wrong with %s", c.at, err, c.field)
		}
	}
}
