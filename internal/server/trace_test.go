package server

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/traces"
)

func TestTraces(t *testing.T) {
	h := build(t).shop()
	const kept, recent = "0af7651916cd43dd8448eb211c80319c", "0bf7651916cd43dd8448eb211c80319c"
	h.get("/traces/" + kept).want(http.StatusNotFound)
	keeper := traces.NewKeeper(h.store, h.server.d.Log)
	h.server.d.Traces = keeper
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	span := delivery.Span{ID: "b7ad6b7169203331", Name: "GET /", Kind: "server", Service: "cart", Start: noon, Failed: true, Why: "answered 500"}
	keeper.Buffer.Add(recent, span)
	s := h.deploy("cart", "v1")
	err := h.store.Write(t.Context(), func(tx *store.Tx) error {
		return tx.PutTrace(delivery.Trace{ID: kept, At: noon, Change: s.Change.ID, Service: "cart", Env: "prod", Why: "answered 500", Spans: []delivery.Span{span}})
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/changes/1/traces":                `"why":"answered 500"`,
		"/traces/" + kept:                  `"change":1`,
		"/traces/" + strings.ToUpper(kept): `"change":1`,
		"/traces/" + recent:                `"id":"` + recent + `"`,
	} {
		if body := string(h.get(path).want(http.StatusOK).Body); !strings.Contains(body, want) {
			t.Errorf("GET %s = %s, want %s in it", path, body, want)
		}
	}
	h.get("/traces/" + strings.Repeat("0", 31) + "1").want(http.StatusNotFound)
	h.get("/traces/x").want(http.StatusUnprocessableEntity)
	h.get("/changes/99/traces").want(http.StatusNotFound)
}
