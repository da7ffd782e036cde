package web

import (
	"net/http"
	"strings"
	"testing"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// A file is shown without its secrets, within bounds, and does nothing.
func TestSourceLines(t *testing.T) {
	config, _ := sourceLines("config: { CURRENCY: EUR, API_TOKEN: hunter2, MODE: fast }\r\n\n", delivery.Project{})
	if len(config) != 1 || config[0].Text != "config: { CURRENCY: EUR, API_TOKEN: (hidden), MODE: fast }" {
		t.Errorf("a list is shown as %v", config)
	}
	lines, more := sourceLines(strings.Repeat("a: b\n", maxSourceLines+7), delivery.Project{})
	if len(lines) != maxSourceLines || more != 7 || lines[9].N != 10 {
		t.Errorf("%d lines and %d more", len(lines), more)
	}
	wild, _ := sourceLines("x: \x1b[2J\u202e "+strings.Repeat("y", 1000), delivery.Project{})
	if strings.ContainsAny(wild[0].Text, "\x1b\u202e") || len(wild[0].Text) > 2*maxSourceBytes {
		t.Errorf("a wild line is shown as %q", wild[0].Text)
	}
}

// What looks like a secret in the configuration is on no page that a reader sees.
func TestSecretsOfConfiguration(t *testing.T) {
	t.Parallel()
	h := build(t).project(strings.ReplaceAll(harborYAML, "CURRENCY: EUR", "CURRENCY: EUR, API_TOKEN: hunter2, DB_URL: 'postgres://ann:hunter2@db/x'")).run()
	id := h.deploy("cart", "v1")
	h.settled(id)
	h.settled(h.submit(control.Submission{Service: "cart", Set: map[string]string{"API_TOKEN": "hunter22", "CURRENCY": "USD"}, Env: "staging"}))
	reader, dora := h.reader(), h.deployer()
	for _, path := range []string{"/services/cart/settings", "/settings", "/environments?from=staging&to=prod", "/services/cart", "/changes/1", "/changes/2"} {
		r := reader.get(path).want(http.StatusOK)
		if strings.Contains(r.Body, "hunter2") {
			t.Errorf("%s shows a secret", path)
		}
	}
	reader.get("/changes/2").says("API_TOKEN=(hidden)", "CURRENCY=USD")
	would := dora.get("/act/rollback?service=cart&env=staging").want(http.StatusOK).says("API_TOKEN", "(hidden)")
	if strings.Contains(would.Body, "hunter2") {
		t.Error("what a rollback would do shows a secret")
	}
}
