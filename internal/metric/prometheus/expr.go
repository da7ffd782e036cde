package prometheus

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
)

// The word whose value is a duration, and so may stand outside of strings, and
// the one whose values are several.
const (
	stepWord      = "step"
	instancesWord = "instances"
)

// words are what stands for $words in the expressions of one release.
type words struct {
	text      map[string]string
	instances []string // for $instances; nil is whichever there are
}

func wordsOf(a metric.Ask, side metric.Side, step time.Duration) words {
	return words{
		text: map[string]string{
			"service": a.Service, "env": a.Env, "release": string(side.Release), "version": side.Version,
			stepWord: fmt.Sprintf("%ds", int64(step/time.Second)),
		},
		instances: side.Instances,
	}
}

// Check refuses an expression in which a $word stands where its value could not
// be put in without becoming a part of the expression.
func Check(expr string) error {
	w := words{text: map[string]string{"service": "s", "env": "e", "release": "r", "version": "v", stepWord: "1s"}}
	_, err := w.expand(expr)
	return err
}

// expand puts the values of words in. A value stands inside a string only, and is
// quoted for it; in a regular expression it means itself.
func (w words) expand(expr string) (string, error) {
	var out strings.Builder
	var quote, before byte // quote is 0 outside of strings; before is the last byte that was no space there
	regex := false
	for i := 0; i < len(expr); i++ {
		c := expr[i]
		switch {
		case c == '$':
			value, n, err := w.value(expr[i+1:], quote, regex)
			if err != nil {
				return "", err
			}
			if n > 0 {
				out.WriteString(value)
				i += n
				continue
			}
		case quote == 0 && c == '#': // a comment
			for i+1 < len(expr) && expr[i+1] != '\n' {
				i++
			}
			continue
		case quote == 0 && (c == '"' || c == '\'' || c == '`'):
			quote, regex = c, before == '~'
		case quote == 0:
			if c != ' ' && c != '\t' && c != '\n' && c != '\r' {
				before = c
			}
		case c == '\\' && quote != '`' && i+1 < len(expr):
			out.WriteByte(c)
			i++
			c = expr[i]
		case c == quote:
			quote, before = 0, c
		}
		out.WriteByte(c)
	}
	if quote != 0 {
		return "", delivery.InvalidNext("value", "a string in it has no end", "close it with "+string(quote))
	}
	return strings.TrimSpace(out.String()), nil
}

// value is what stands for the word at the beginning of rest, and how long the
// word is; 0 is none of ours, and left as it is inside of strings.
func (w words) value(rest string, quote byte, regex bool) (string, int, error) {
	n := 0
	for n < len(rest) && rest[n] >= 'a' && rest[n] <= 'z' {
		n++
	}
	name := rest[:n]
	text, known := w.text[name]
	switch {
	case quote == 0 && name == stepWord:
		return text, n, nil
	case quote == 0:
		return "", 0, delivery.InvalidNext("value", "$"+name+" stands outside of a string", `write it as in release="$release"; only [$step] needs no quotes`)
	case name == instancesWord && !regex:
		return "", 0, delivery.InvalidNext("value", "$instances is several", `write instance=~"$instances"`)
	case name == instancesWord && w.instances == nil:
		text = ".+"
	case name == instancesWord:
		all := make([]string, len(w.instances))
		for i, one := range w.instances {
			all[i] = regexp.QuoteMeta(one)
		}
		text = "(?:" + strings.Join(all, "|") + ")"
	case !known:
		return "", 0, nil
	case regex:
		text = regexp.QuoteMeta(text)
	}
	text = strings.ToValidUTF8(text, "\ufffd")
	if quote != '`' {
		return strings.NewReplacer(`\`, `\\`, string(quote), `\`+string(quote), "\n", `\n`).Replace(text), n, nil
	}
	if strings.Contains(text, "`") {
		return "", 0, delivery.InvalidNext("value", "the value of $"+name+" cannot stand between backquotes", `write "$`+name+`"`)
	}
	return text, n, nil
}

// mentions reports whether an expression depends on a $word.
func mentions(expr, word string) bool { return strings.Contains(expr, "$"+word) }

// selector is an expression that names series and does nothing with them.
type selector struct {
	name     string // "" when the matchers say it
	matchers string // what stands between the braces
}

// String is the expression.
func (s selector) String() string { return s.name + "{" + s.matchers + "}" }

// selectorOf reads a selector. ok is false for any other expression.
func selectorOf(expr string) (s selector, ok bool) {
	n := 0
	for n < len(expr) && (expr[n] == '_' || expr[n] == ':' || expr[n]|0x20 >= 'a' && expr[n]|0x20 <= 'z' || n > 0 && expr[n] >= '0' && expr[n] <= '9') {
		n++
	}
	s.name = expr[:n]
	rest := strings.TrimSpace(expr[n:])
	if rest == "" {
		return s, s.name != ""
	}
	if rest[0] != '{' {
		return s, false
	}
	var quote byte
	for i := 1; i < len(rest); i++ {
		switch c := rest[i]; {
		case quote != 0 && quote != '`' && c == '\\':
			i++
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
		case c == '"' || c == '\'' || c == '`':
			quote = c
		case c == '}':
			s.matchers = strings.TrimSuffix(strings.TrimSpace(rest[1:i]), ",")
			return s, strings.TrimSpace(rest[i+1:]) == ""
		}
	}
	return s, false
}

// histogram selects the histogram of that name, whichever form it was kept in:
// native ones have the name itself, classic ones a series for each bucket.
func (s selector) histogram() selector {
	if s.name == "" || strings.HasSuffix(s.name, "_bucket") {
		return s
	}
	by := `__name__=~"` + s.name + `(_bucket)?"`
	if s.matchers != "" {
		by += "," + s.matchers
	}
	return selector{matchers: by}
}
