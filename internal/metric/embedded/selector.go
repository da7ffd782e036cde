package embedded

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
)

// Selector picks series by name and labels, as in
//
//	http_requests_total{code=~"5..", method!="HEAD"}
//
// which is the instant vector selector of PromQL: = and != compare, =~ and !~
// match a whole RE2 expression, and a label that a series does not have is empty.
type Selector struct {
	Name     string
	Matchers []Matcher
}

// Matcher is one condition of a selector.
type Matcher struct {
	Label, Op, Value string
	re               *regexp.Regexp
}

// maxSelector bounds the text of a selector, in bytes.
const maxSelector = 4096

// ParseSelector reads a selector. What it does not understand is refused with
// the place and the reason.
func ParseSelector(text string) (Selector, error) {
	if len(text) > maxSelector {
		return Selector{}, delivery.Invalid("value", fmt.Sprintf("has %d bytes; a selector has at most %d", len(text), maxSelector))
	}
	p := parser{text: text}
	s, why := p.selector()
	if why != "" {
		return Selector{}, delivery.Invalid("value", fmt.Sprintf("%q: at character %d: %s", text, utf8.RuneCountInString(text[:p.at])+1, why))
	}
	return s, nil
}

// match says whether a series with these labels, sorted by name, is picked.
func (s Selector) match(labels []metric.Label) bool {
	for _, m := range s.Matchers {
		if !m.match(labelOf(labels, m.Label)) {
			return false
		}
	}
	return true
}

func labelOf(labels []metric.Label, name string) string {
	i, found := slices.BinarySearchFunc(labels, name, func(l metric.Label, name string) int { return strings.Compare(l.Name, name) })
	if !found {
		return ""
	}
	return labels[i].Value
}

func (m Matcher) match(value string) bool {
	switch m.Op {
	case "=":
		return value == m.Value
	case "!=":
		return value != m.Value
	case "=~":
		return m.re.MatchString(value)
	}
	return !m.re.MatchString(value)
}

// parser reads text from at on. Each method returns why it cannot.
type parser struct {
	text string
	at   int
}

func (p *parser) selector() (s Selector, why string) {
	p.space()
	if s.Name = p.word(":"); s.Name == "" {
		return s, "a selector begins with the name of a series"
	}
	p.space()
	if p.skip("{") {
		if s.Matchers, why = p.matchers(); why != "" {
			return s, why
		}
	}
	p.space()
	if p.at < len(p.text) {
		return s, "a selector ends here: functions and operators are for a Prometheus server (from: prometheus)"
	}
	return s, ""
}

func (p *parser) matchers() (list []Matcher, why string) {
	for {
		p.space()
		if p.skip("}") {
			return list, ""
		}
		m, why := p.matcher()
		if why != "" {
			return nil, why
		}
		list = append(list, m)
		p.space()
		if !p.skip(",") && !strings.HasPrefix(p.text[p.at:], "}") {
			return nil, `"," or "}" is missing`
		}
	}
}

func (p *parser) matcher() (m Matcher, why string) {
	if m.Label = p.word(""); m.Label == "" {
		return m, "the name of a label is missing"
	}
	p.space()
	for _, op := range []string{"=~", "!~", "!=", "="} {
		if p.skip(op) {
			m.Op = op
			break
		}
	}
	if m.Op == "" {
		return m, "one of = != =~ !~ is missing"
	}
	p.space()
	from := p.at
	if m.Value, why = p.quoted(); why != "" {
		return m, why
	}
	if strings.HasSuffix(m.Op, "~") {
		re, err := regexp.Compile("^(?s:" + m.Value + ")$")
		if err != nil {
			p.at = from
			return m, "is no regular expression: " + strings.TrimPrefix(err.Error(), "error parsing regexp: ")
		}
		m.re = re
	}
	return m, ""
}

// quoted reads a string in double quotes with the escapes of Go, or in backquotes.
func (p *parser) quoted() (value, why string) {
	text, err := strconv.QuotedPrefix(p.text[p.at:])
	if err != nil || strings.HasPrefix(text, "'") {
		return "", "a value stands in double quotes"
	}
	value, err = strconv.Unquote(text)
	if err != nil {
		return "", "the value cannot be read: " + err.Error()
	}
	p.at += len(text)
	return value, ""
}

// word reads letters, digits, underscores and any of more.
func (p *parser) word(more string) string {
	from := p.at
	for p.at < len(p.text) {
		c := p.text[p.at]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || strings.IndexByte(more, c) >= 0
		if !letter && (p.at == from || c < '0' || c > '9') {
			break
		}
		p.at++
	}
	return p.text[from:p.at]
}

func (p *parser) skip(s string) bool {
	if !strings.HasPrefix(p.text[p.at:], s) {
		return false
	}
	p.at += len(s)
	return true
}

func (p *parser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}
