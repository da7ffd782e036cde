package web

import (
	"fmt"
	"html/template"
	"strings"
)

// glyphs returns icons as part of the page itself, hidden, to be shown by template
// "glyph". A page with hundreds of signs is half as heavy with them.
func glyphs(names ...string) (template.HTML, error) {
	var b strings.Builder
	b.WriteString(`<svg hidden aria-hidden="true">`)
	for _, name := range names {
		symbol, err := symbolOf(name)
		if err != nil {
			return "", err
		}
		b.WriteString(symbol)
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()), nil //nolint:gosec // a file of ours, embedded
}

// symbolOf is one icon of icons.svg under the id that template "glyph" refers to.
func symbolOf(name string) (string, error) {
	all := string(assets()["icons.svg"])
	open := `<symbol id="` + name + `"`
	_, rest, found := strings.Cut(all, open)
	body, _, whole := strings.Cut(rest, "</symbol>")
	if !found || !whole {
		return "", fmt.Errorf("there is no icon %s", name)
	}
	return `<symbol id="g-` + name + `"` + body + "</symbol>", nil
}

// signGlyphs are the icons of all signs.
func signGlyphs() (template.HTML, error) {
	return glyphs("waiting", "running", "good", "failed", "back", "paused", "blocked", "unknown", "superseded", "warning")
}
