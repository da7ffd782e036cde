package delivery

import (
	"math"
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

// Numbers are read in groups of three digits, and a thing of which there is one is one.
func TestPlural(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 12: "12", 999: "999", 1000: "1,000", 1930: "1,930", 1234567: "1,234,567", -12: "-12", -1930: "-1,930", math.MinInt64: "-9,223,372,036,854,775,808",
	} {
		if got := Grouped(n); got != want {
			t.Errorf("Grouped(%d) = %q, want %q", n, got, want)
		}
	}
	if got, want := Grouped(uint64(math.MaxUint64)), "18,446,744,073,709,551,615"; got != want {
		t.Errorf("Grouped = %q, want %q", got, want)
	}
	if got := Plural(1, "request") + ", " + Plural(uint64(1930), "request") + ", " + Plural(0, "hold"); got != "1 request, 1,930 requests, 0 holds" {
		t.Errorf("Plural = %q", got)
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
