package web

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestInert(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"plain", "payment v1.8.0: naïve café, 支払い 👩‍💻\tok", "payment v1.8.0: naïve café, 支払い 👩‍💻\tok"},
		{"colours", "\x1b[31mred\x1b[0m", "⟨U+001B⟩[31mred⟨U+001B⟩[0m"},
		{"bell and delete", "a\x07b\x7f\r", "a⟨U+0007⟩b⟨U+007F⟩⟨U+000D⟩"},
		{"C1", "a\u009bb", "a⟨U+009B⟩b"},
		{"right to left", "evil\u202egpj.exe\u2066x\u2069", "evil⟨U+202E⟩gpj.exe⟨U+2066⟩x⟨U+2069⟩"},
		{"hidden", "a\u200bb\ufeffc\u2028d", "a⟨U+200B⟩b⟨U+FEFF⟩c⟨U+2028⟩d"},
		{"no text", "a\xffb", "a\ufffdb"},
		{"empty", "", ""},
	} {
		if got := inert(c.text); got != c.want {
			t.Errorf("%s: inert(%q) = %q, want %q", c.name, c.text, got, c.want)
		}
	}
	long := inert(strings.Repeat("ö", 10_000))
	if !strings.HasSuffix(long, "ö… (17952 bytes more)") || !utf8.ValidString(long) || len(long) > maxInert+64 {
		t.Errorf("a long text ends %q", long[len(long)-40:])
	}
}
