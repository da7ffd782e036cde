package delivery

import (
	"os/exec"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// What a person says is kept as it is, or refused with the field and the reason.
func TestPlain(t *testing.T) {
	for text, ok := range map[string]bool{
		"": true, "two\nlines\tand ünïcödé": true, strings.Repeat("x", maxSaid): true,
		strings.Repeat("x", maxSaid+1): false, "\x1b[31mred": false, "bell\x07": false, "back\rhome": false, "\u0085": false,
	} {
		err := Plain("reason", text)
		if (err == nil) != ok || err != nil && !strings.HasPrefix(err.Error(), "reason: ") {
			t.Errorf("Plain(%.20q) = %v, want ok %t", text, err, ok)
		}
	}
}

// A shell reads a quoted word as what it was.
func TestShell(t *testing.T) {
	if got := Shell("v1.2-rc+3"); got != "v1.2-rc+3" {
		t.Errorf("Shell quotes a plain word: %s", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringOf(rapid.RuneFrom([]rune("ab '\"$`\\;&|<>()*?[]{}!~#\n\t=é"))).Draw(t, "word")
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf '%s.' "+Shell(word)).Output()
		if err != nil || string(out) != word+"." {
			t.Fatalf("sh reads %s as %q, %v, want %q", Shell(word), out, err, word)
		}
	})
}
