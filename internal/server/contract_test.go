package server

import (
	"net/http"
	"strings"
	"testing"
)

// promised is one route of the contract.
type promised struct {
	method, path string
	example      string // a path that the route answers
}

// contract is every route the API promises.
func contract() []promised {
	digest := "sha256:" + strings.Repeat("0", 64)
	return []promised{
		{"GET", "/healthz", "/healthz"},
		{"PUT", "/project", "/project?file=slipway.yaml&dir=/srv"},
		{"GET", "/project", "/project"},
		{"GET", "/project/explain", "/project/explain?prefix=services"},
		{"POST", "/bundles", "/bundles"},
		{"GET", "/bundles/{digest}", "/bundles/" + digest},
		{"HEAD", "/bundles/{digest}", "/bundles/" + digest},
		{"POST", "/changes", "/changes"},
		{"GET", "/changes", "/changes?service=cart&env=prod&kind=code&outcome=done&by=ann&from=2026-01-01&to=2030-01-01&limit=2"},
		{"GET", "/changes/{id}", "/changes/1"},
		{"POST", "/changes/{id}/abort", "/changes/1/abort"},
		{"POST", "/changes/{id}/pause", "/changes/1/pause"},
		{"POST", "/changes/{id}/resume", "/changes/1/resume"},
		{"POST", "/changes/{id}/approve", "/changes/1/approve"},
		{"POST", "/changes/{id}/finish", "/changes/1/finish"},
		{"POST", "/changes/{id}/promote", "/changes/1/promote"},
		{"GET", "/changes/{id}/analysis", "/changes/1/analysis"},
		{"GET", "/changes/{id}/analysis/replay", "/changes/1/analysis/replay"},
		{"GET", "/services/{service}/analysis/plan", "/services/cart/analysis/plan?env=prod"},
		{"GET", "/metrics/query", "/metrics/query?service=cart&name=requests&step=10"},
		{"GET", "/metrics/promql", "/metrics/promql?query=up"},
		{"GET", "/metrics/promql/range", "/metrics/promql/range?query=up&step=10"},
		{"GET", "/changes/{id}/traces", "/changes/1/traces"},
		{"GET", "/traces/{id}", "/traces/0af7651916cd43dd8448eb211c80319c"},
		{"POST", "/services/{service}/abort", "/services/cart/abort"},
		{"POST", "/services/{service}/pause", "/services/cart/pause"},
		{"POST", "/services/{service}/resume", "/services/cart/resume"},
		{"POST", "/services/{service}/promote", "/services/cart/promote"},
		{"POST", "/services/{service}/rollback", "/services/cart/rollback"},
		{"POST", "/services/{service}/switch", "/services/cart/switch"},
		{"GET", "/services/{service}/versions", "/services/cart/versions"},
		{"POST", "/previews", "/previews"},
		{"GET", "/rollouts", "/rollouts?service=cart&env=prod&open=true&limit=1"},
		{"GET", "/rollouts/{change}/{env}", "/rollouts/1/prod"},
		{"GET", "/holds", "/holds"},
		{"POST", "/holds", "/holds"},
		{"POST", "/holds/lift", "/holds/lift"},
		{"GET", "/status", "/status"},
		{"GET", "/services/{service}/why", "/services/cart/why?env=prod"},
		{"GET", "/services/{service}/diff", "/services/cart/diff?from=staging&to=prod"},
		{"GET", "/services/{service}/logs", "/services/cart/logs?env=prod&tail=5"},
		{"GET", "/services/{service}/calls", "/services/cart/calls"},
		{"GET", "/services/{service}/releases", "/services/cart/releases?limit=5"},
		{"GET", "/services/{service}/links", "/services/cart/links?env=prod"},
		{"GET", "/environments", "/environments"},
		{"GET", "/drift", "/drift?from=staging&to=prod"},
		{"GET", "/services/{service}/signals", "/services/cart/signals?env=prod&last=24h"},
		{"GET", "/events", "/events?since=0"},
		{"GET", "/ledger", "/ledger?since=0&limit=3&newest=true"},
		{"GET", "/audit/verify", "/audit/verify"},
		{"GET", "/doctor", "/doctor"},
		{"GET", "/whoami", "/whoami"},
		{"GET", "/tokens", "/tokens"},
		{"POST", "/tokens", "/tokens"},
		{"POST", "/tokens/{name}/revoke", "/tokens/ci/revoke"},
		{"POST", "/sign-in-links", "/sign-in-links"},
		{"GET", "/openapi.json", "/openapi.json"},
		{"GET", "/openapi.yaml", "/openapi.yaml"},
		{"GET", "/docs", "/docs"},
	}
}

// Every route of the contract is there, and the document names no others.
func TestContract(t *testing.T) {
	h := build(t).shop()
	there := map[string]bool{}
	for _, route := range contract() {
		there[route.method+" "+route.path] = true
		if route.path == "/events" {
			continue // never ends; its own tests read it
		}
		r := h.call(ask{method: route.method, path: route.example})
		if r.Status == http.StatusMethodNotAllowed || strings.Contains(string(r.Body), "there is no route") {
			t.Errorf("%s = %d %s", r.asked, r.Status, r.Body)
		}
	}
	for path, item := range theSpec().doc["paths"].(map[string]any) {
		for method := range item.(map[string]any) {
			if !there[strings.ToUpper(method)+" "+path] {
				t.Errorf("the document has %s %s, which the contract does not", method, path)
			}
			delete(there, strings.ToUpper(method)+" "+path)
		}
	}
	for _, undescribed := range []string{"HEAD /bundles/{digest}", "GET /openapi.json", "GET /openapi.yaml", "GET /docs"} {
		delete(there, undescribed)
	}
	for route := range there {
		t.Errorf("the document does not have %s", route)
	}
}

// What is not there, and what is not allowed, is a problem too.
func TestLost(t *testing.T) {
	h := build(t)
	for _, path := range []string{"/nowhere", "/status/", "/changes/1/explode", "/services/cart", "/changes/1/abort/2"} {
		p := h.get(path).problem(http.StatusNotFound, codeNotFound)
		if !strings.Contains(p.Hint, "/docs") {
			t.Errorf("%s: hint = %q, want where the routes are", path, p.Hint)
		}
	}
	r := h.call(ask{method: "DELETE", path: "/changes"})
	r.problem(http.StatusMethodNotAllowed, codeMethod)
	if got := r.Header.Get("Allow"); !strings.Contains(got, "GET") || !strings.Contains(got, "POST") {
		t.Errorf("Allow = %q, want GET and POST", got)
	}
	h.call(ask{method: "POST", path: "/changes/1/explode", contentType: "application/json"}).problem(http.StatusNotFound, codeNotFound)
	h.call(ask{method: "OPTIONS", path: "/changes"}).problem(http.StatusMethodNotAllowed, codeMethod)
	h.call(ask{method: "BREW", path: "/status"}).problem(http.StatusMethodNotAllowed, codeMethod)
}
