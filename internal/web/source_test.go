package web

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/slipway-cd/slipway/internal/control"
)

// What looks like a secret in a file is not on the page, in whichever form YAML has
// for it; what only looks a little like one is.
func TestSourceLines(t *testing.T) {
	const secret = "hunter2"
	for _, line := range []string{
		"  DB_PASSWORD: hunter2", "  password: 'hunter2'", `  "api_key": "hunter2"`, "  config: { CURRENCY: EUR, API_TOKEN: hunter2, MODE: fast }", "  - SECRET=hunter2",
		"  url: https://ann:hunter2@example.org/db", "  url: https://ann:p@hunter2@example.org", "  url: https://ann:p/hunter2@example.org", "  run: ./cart --token hunter2 --port 80", "  run: ./cart --api-key=hunter2", "  aws_secret_access_key: hunter2 # mine",
		"  PRIVATE_KEY: |\n    hunter2\n\n    hunter2 too\n  NEXT: shown", "  CLIENT_SECRET: >-\n      hunter2\n  NEXT: shown", `  password: "a \" hunter2"`,
	} {
		lines, _ := sourceLines("config:\n" + line + "\n")
		text := fmt.Sprint(lines)
		if strings.Contains(text, secret) || !strings.Contains(text, hidden) || strings.Contains(line, "NEXT") && !strings.Contains(text, "NEXT: shown") {
			t.Errorf("%q is shown as %s", line, text)
		}
	}
	for _, line := range []string{"  token_file: /run/token", "prometheus: { url: http://127.0.0.1:9090, password_file: /run/pw }", "  rollout: { steps: [{ weight: 25 }] }", "  listen: 127.0.0.1:8080", "  # tokens are made by an admin"} {
		if lines, _ := sourceLines(line); lines[0].Text != line {
			t.Errorf("%q is shown as %q", line, lines[0].Text)
		}
	}
	config, _ := sourceLines("config: { CURRENCY: EUR, API_TOKEN: hunter2, MODE: fast }")
	if config[0].Text != "config: { CURRENCY: EUR, API_TOKEN: (hidden), MODE: fast }" {
		t.Errorf("a list is shown as %q", config[0].Text)
	}
	lines, more := sourceLines(strings.Repeat("a: b\n", maxSourceLines+7))
	if len(lines) != maxSourceLines || more != 7 || lines[9].N != 10 {
		t.Errorf("%d lines and %d more", len(lines), more)
	}
	wild, _ := sourceLines("x: \x1b[2J\u202e " + strings.Repeat("y", 1000))
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
