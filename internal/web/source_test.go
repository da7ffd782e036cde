package web

import (
	"fmt"
	"strings"
	"testing"
)

// What looks like a secret in a file is not on the page, in whichever form YAML has
// for it; what only looks a little like one is.
func TestSourceLines(t *testing.T) {
	const secret = "hunter2"
	for _, line := range []string{
		"  DB_PASSWORD: hunter2", "  password: 'hunter2'", `  "api_key": "hunter2"`, "  config: { CURRENCY: EUR, API_TOKEN: hunter2, MODE: fast }", "  - SECRET=hunter2",
		"  url: https://ann:hunter2@example.org/db", "  run: ./cart --token hunter2 --port 80", "  run: ./cart --api-key=hunter2", "  aws_secret_access_key: hunter2 # mine",
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
