package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-cd/slipway/internal/artifact"
	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// bundle makes a folder of about size bytes that cannot be compressed.
func bundle(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	noise := make([]byte, size)
	source := rand.NewChaCha8([32]byte{7})
	_, _ = source.Read(noise)
	for name, content := range map[string][]byte{"run": []byte("#!/bin/sh\n"), "lib/data": noise} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestUpload(t *testing.T) {
	store, err := artifact.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/bundles" || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-tar" {
			t.Errorf("asked %s %s as %s", r.Method, r.URL, r.Header.Get("Content-Type"))
		}
		d, err := store.Unpack(r.Context(), r.Body, artifact.Limits{Bytes: 1 << 30, Files: 100})
		if err != nil {
			t.Error(err)
		}
		_ = json.NewEncoder(w).Encode(map[string]delivery.Digest{"digest": d})
	})
	dir := bundle(t, 3<<20)
	got, err := c.Upload(t.Context(), dir)
	want, sumErr := artifact.Sum(t.Context(), dir)
	if err != nil || sumErr != nil || got != want || !store.Has(want) {
		t.Errorf("Upload = %s, %v, want %s, which the server keeps", got, err, want)
	}
}

// A refusal is heard, however early it comes and however much is still to send.
func TestUploadRefusedEarly(t *testing.T) {
	dir := bundle(t, 24<<20)
	for _, read := range []int64{0, 1, 300 << 10} {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.CopyN(io.Discard, r.Body, read)
			w.WriteHeader(http.StatusInsufficientStorage)
			_, _ = io.WriteString(w, `{"title":"Full","detail":"the disk is full","hint":"slipway doctor"}`)
		})
		for range 5 {
			_, err := c.Upload(t.Context(), dir)
			if p, ok := errors.AsType[*client.Problem](err); !ok || p.Hint != "slipway doctor" {
				t.Errorf("after %d bytes: error = %v, want the server's refusal", read, err)
			}
		}
	}
}

// What cannot be packed is the mistake of who asks, not of a server.
func TestUploadOfWhatCannotBePacked(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, `{"digest":"sha256:half"}`)
	})
	escapes := bundle(t, 1)
	if err := os.Symlink("/etc/passwd", filepath.Join(escapes, "out")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		path string
		is   error
	}{
		"not there":          {filepath.Join(escapes, "nothing"), delivery.ErrInvalid},
		"a link that leaves": {escapes, delivery.ErrInvalid},
	} {
		d, err := c.Upload(t.Context(), want.path)
		if d != "" || !errors.Is(err, want.is) || errors.Is(err, client.ErrNoServer) {
			t.Errorf("%s: Upload = %q, %v, want %v", name, d, err, want.is)
		}
	}
}

func TestUploadWithoutAServer(t *testing.T) {
	c := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if _, err := c.Upload(t.Context(), bundle(t, 1<<20)); !errors.Is(err, client.ErrNoServer) {
		t.Errorf("cut off: error = %v, want ErrNoServer", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	slow := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = r.Body.Read(make([]byte, 1))
		stop()
		_, _ = io.Copy(io.Discard, r.Body) // until the caller is gone
	})
	if _, err := slow.Upload(ctx, bundle(t, 24<<20)); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped by the caller: error = %v, want context.Canceled", err)
	}
}

// Each call asks for what its name says.
func TestCalls(t *testing.T) {
	var asked, body string
	var keys []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		asked, body = r.Method+" "+strings.TrimPrefix(r.URL.RequestURI(), "/api/v1"), string(b)
		keys = append(keys, r.Header.Get("Idempotency-Key"))
		_, _ = io.WriteString(w, "{}")
	})
	ctx := t.Context()
	drop := func(_ any, err error) error { return err }
	for _, call := range []struct {
		do    func() error
		asked string
		body  string
	}{
		{func() error { _, _, err := c.Project(ctx); return err }, "GET /project", ""},
		{func() error { _, _, err := c.PutProject(ctx, "a b.yaml", "/x", []byte("name: shop")); return err }, "PUT /project?dir=%2Fx&file=a+b.yaml", "name: shop"},
		{func() error { return drop(c.Submit(ctx, control.Submission{Service: "cart", Version: "v2"})) }, "POST /changes", `{"service":"cart","version":"v2"}`},
		{func() error { return drop(c.Change(ctx, 7)) }, "GET /changes/7", ""},
		{func() error { return drop(c.Live(ctx, "7/prod.2")) }, "GET /rollouts/7/prod.2", ""},
		{func() error { return drop(c.Ask(ctx, "abort", control.Request{Change: 7, Env: "prod", Reason: "bad"})) }, "POST /changes/7/abort", `{"env":"prod","reason":"bad"}`},
		{func() error { return drop(c.Ask(ctx, "pause", control.Request{Service: "a/b"})) }, "POST /services/a%2Fb/pause", `{}`},
		{func() error { return drop(c.Promote(ctx, control.PromoteRequest{Change: 7, To: "prod"})) }, "POST /changes/7/promote", `{"to":"prod"}`},
		{func() error { return drop(c.Promote(ctx, control.PromoteRequest{Service: "cart"})) }, "POST /services/cart/promote", `{}`},
		{func() error { return drop(c.Rollback(ctx, control.RollbackRequest{Service: "cart", To: "v1"})) }, "POST /services/cart/rollback", `{"to":"v1"}`},
		{func() error { return drop(c.Lift(ctx, control.Lift{Service: "cart", Version: "v2"})) }, "POST /holds/lift", `{"service":"cart","version":"v2"}`},
		{func() error { return drop(c.Holds(ctx)) }, "GET /holds", ""},
		{func() error {
			return drop(c.PutHold(ctx, control.HoldRequest{Service: "cart", Env: "prod", Why: "closing"}))
		}, "POST /holds", `{"service":"cart","env":"prod","why":"closing"}`},
		{func() error { return drop(c.PutHold(ctx, control.HoldRequest{Service: "cart", Version: "v2"})) }, "POST /holds", `{"service":"cart","version":"v2","why":""}`},
		{func() error { return drop(c.Board(ctx)) }, "GET /status", ""},
	} {
		keys = nil
		if err := call.do(); err != nil || asked != call.asked || body != call.body {
			t.Errorf("asked %s with %s (%v), want %s with %s", asked, body, err, call.asked, call.body)
		}
		if hasKey := !slices.Equal(keys, []string{""}); hasKey != (call.asked == "POST /changes") {
			t.Errorf("%s: idempotency key %q", asked, keys)
		}
	}
}
