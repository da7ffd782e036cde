package server

import (
	"net/http"
	"strings"
	"testing"
)

// What is asked of the judge and of the numbers is answered, or refused with the
// field and the cure.
func TestAnalysisRoutes(t *testing.T) {
	h := build(t).shop()
	h.deploy("cart", "v1")
	for _, c := range []struct {
		path   string
		status int
		says   string
	}{
		{"/changes/1/analysis", http.StatusOK, `"nothing":"it is the first release here`},
		{"/changes/1/analysis/replay", http.StatusOK, `"same":true`},
		{"/changes/99/analysis", http.StatusNotFound, "99"},
		{"/changes/99/analysis/replay", http.StatusNotFound, "99"},
		{"/services/nobody/analysis/plan", http.StatusNotFound, "nobody"},
		{"/services/cart/analysis/plan?env=moon", http.StatusNotFound, "moon"},
		{"/metrics/query?name=requests&service=cart", http.StatusOK, `"items":[`},
		{"/metrics/query?name=latency&show=quantile&quantile=0.99&service=cart", http.StatusOK, `"items":[`},
		{"/metrics/query", http.StatusUnprocessableEntity, "name"},
		{"/metrics/query?name=%7B%7D", http.StatusUnprocessableEntity, "name"},
		{"/metrics/query?name=requests&from=1&to=2000000000&step=1", http.StatusUnprocessableEntity, "step"},
		{"/metrics/query?name=request", http.StatusUnprocessableEntity, "it has requests, failed, units, units_bad and latency"},
		{"/metrics/query?name=requests&show=mean", http.StatusUnprocessableEntity, "says nothing of requests, which is a counter"},
		{"/metrics/query?name=requests&source=moon", http.StatusUnprocessableEntity, "source"},
	} {
		r := h.call(ask{method: http.MethodGet, path: c.path})
		if r.Status != c.status || !strings.Contains(string(r.Body), c.says) {
			t.Errorf("%s = %d %s; want %d and %q", c.path, r.Status, r.Body, c.status, c.says)
		}
	}
}
