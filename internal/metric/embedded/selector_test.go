package embedded

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
)

func TestSelector(t *testing.T) {
	labels := []metric.Label{{Name: "code", Value: "503"}, {Name: "method", Value: "GET"}, {Name: "path", Value: "a\nb\"c\\"}}
	for text, want := range map[string]bool{
		`n`:                             true,
		` n { } `:                       true,
		`n{code="503"}`:                 true,
		`n{code="50"}`:                  false,
		`n{code!="500", method="GET",}`: true,
		`n{code=~"5.."}`:                true,
		`n{code=~"5"}`:                  false, // the whole value
		`n{code=~"1|503"}`:              true,
		`n{code!~"5.."}`:                false,
		`n{code!~"4.."}`:                true,
		`n{none=""}`:                    true,
		`n{none!=""}`:                   false,
		`n{none=~".+"}`:                 false,
		`n{path="a\nb\"c\\"}`:           true,
		"n{path=~`a.b\"c\\\\`}":         true, // a dot is any character
		"ns:n_total{_x1=\"\"}":          true,
	} {
		s, err := ParseSelector(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := s.match(labels); got != want {
			t.Errorf("%s picks %v, want %v", text, got, want)
		}
	}
}

func TestSelectorRefuses(t *testing.T) {
	for text, want := range map[string]string{
		``:                           "at character 1: a selector begins with the name of a series",
		`{code="500"}`:               "at character 1: a selector begins with the name",
		`5n`:                         "at character 1: a selector begins with the name",
		`rate(n[5m])`:                "at character 5: a selector ends here",
		`n + 1`:                      "at character 3: a selector ends here",
		`n{code="500"} / n`:          "at character 15: a selector ends here",
		`n{`:                         "at character 3: the name of a label is missing",
		`n{"code"="500"}`:            "at character 3: the name of a label is missing",
		`n{code}`:                    "at character 7: one of = != =~ !~ is missing",
		`n{code=500}`:                "at character 8: a value stands in double quotes",
		`n{code='5'}`:                "at character 8: a value stands in double quotes",
		`n{code="500`:                "at character 8: a value stands in double quotes",
		`n{code="500" method="GET"}`: `at character 14: "," or "}" is missing`,
		`n{code=~"("}`:               "at character 9: is no regular expression: missing closing ): `^(?s:()$`",
		`n{ü="x"}`:                   "at character 3: the name of a label is missing",
		`n{c="ü", d}`:                "at character 11: one of",
		"n{c=\"" + strings.Repeat("x", maxSelector) + "\"}": "a selector has at most 4096",
	} {
		_, err := ParseSelector(text)
		if err == nil || !errors.Is(err, delivery.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %q", text, err, want)
		}
	}
}

// Anything is read or refused, and what is read picks without harm.
func TestSelectorOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`n\{[a-z"=~!,\\(x)]{0,20}\}?`)).Draw(t, "text")
		if s, err := ParseSelector(text); err == nil {
			s.match([]metric.Label{{Name: "x", Value: text}})
		}
	})
}
