package openmetrics

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/slipway-cd/slipway/internal/metric"
)

// sample is one line with a number.
type sample struct {
	name   string
	labels []metric.Label // by name
	value  float64
	at     string // as written; "" when not
}

// cursor walks along one line.
type cursor struct {
	rest   []byte
	format Format
	most   int // labels
}

var (
	errName     = errors.New("there is no name where one belongs")
	errLabels   = errors.New("the labels do not end")
	errValue    = errors.New("there is no value")
	errTrailing = errors.New("there is more on the line than a value and a time")
	errEscape   = errors.New(`a backslash stands before a letter other than \, " and n`)
	errUTF8     = errors.New("a label is not UTF-8")
	errTwice    = errors.New("a label is there twice")
)

// blanks skips spaces and tabs.
func (c *cursor) blanks() { c.rest = bytes.TrimLeft(c.rest, " \t") }

// name reads a metric's name, or a label's when colons are not allowed.
func (c *cursor) name(colons bool) (string, error) {
	n := 0
	for n < len(c.rest) && nameByte(c.rest[n], n == 0, colons) {
		n++
	}
	if n == 0 {
		return "", errName
	}
	name := string(c.rest[:n])
	c.rest = c.rest[n:]
	return name, nil
}

func nameByte(b byte, first, colons bool) bool {
	switch {
	case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b == '_':
		return true
	case b >= '0' && b <= '9':
		return !first
	}
	return b == ':' && colons
}

// word reads up to the next blank.
func (c *cursor) word() string {
	n := bytes.IndexAny(c.rest, " \t")
	if n < 0 {
		n = len(c.rest)
	}
	w := string(c.rest[:n])
	c.rest = c.rest[n:]
	return w
}

// sample reads the whole line.
func (c *cursor) sample() (s sample, err error) {
	if s.name, err = c.name(true); err != nil {
		return s, err
	}
	c.blanks()
	if len(c.rest) > 0 && c.rest[0] == '{' {
		if s.labels, err = c.labels(); err != nil {
			return s, err
		}
	}
	c.blanks()
	text := c.word()
	if text == "" {
		return s, errValue
	}
	if s.value, err = number(text); err != nil {
		return s, err
	}
	c.blanks()
	if len(c.rest) > 0 && c.rest[0] != '#' {
		s.at = c.word()
		c.blanks()
	}
	if len(c.rest) > 0 && c.format == OpenMetrics && c.rest[0] == '#' {
		return s, c.exemplar()
	}
	if len(c.rest) > 0 {
		return s, errTrailing
	}
	return s, nil
}

// exemplar reads over " # {labels} value [time]".
func (c *cursor) exemplar() error {
	c.rest = c.rest[1:]
	c.blanks()
	if len(c.rest) == 0 || c.rest[0] != '{' {
		return errors.New("an exemplar has no labels")
	}
	if _, err := c.labels(); err != nil {
		return err
	}
	c.blanks()
	if _, err := number(c.word()); err != nil {
		return err
	}
	c.blanks()
	if at := c.word(); at != "" {
		if _, err := number(at); err != nil {
			return err
		}
	}
	if c.blanks(); len(c.rest) > 0 {
		return errTrailing
	}
	return nil
}

// labels reads {name="value",...}, with or without a comma at the end.
func (c *cursor) labels() ([]metric.Label, error) {
	var all []metric.Label
	for c.rest = c.rest[1:]; ; {
		c.blanks()
		if len(c.rest) > 0 && c.rest[0] == '}' {
			c.rest = c.rest[1:]
			return ordered(all)
		}
		l, err := c.label()
		if err != nil {
			return nil, err
		}
		if all = append(all, l); len(all) > c.most {
			return nil, errors.New("there are more than " + strconv.Itoa(c.most) + " labels")
		}
		c.blanks()
		switch {
		case len(c.rest) > 0 && c.rest[0] == ',':
			c.rest = c.rest[1:]
		case len(c.rest) == 0 || c.rest[0] != '}':
			return nil, errLabels
		}
	}
}

func (c *cursor) label() (l metric.Label, err error) {
	if l.Name, err = c.name(false); err != nil {
		if len(c.rest) == 0 {
			err = errLabels
		}
		return l, err
	}
	c.blanks()
	if len(c.rest) == 0 || c.rest[0] != '=' {
		return l, errLabels
	}
	c.rest = c.rest[1:]
	c.blanks()
	if len(c.rest) == 0 || c.rest[0] != '"' {
		return l, errLabels
	}
	c.rest = c.rest[1:]
	l.Value, err = c.quoted()
	return l, err
}

// quoted reads up to the closing quote.
func (c *cursor) quoted() (string, error) {
	end := bytes.IndexAny(c.rest, `"\`)
	if end < 0 {
		return "", errLabels
	}
	if c.rest[end] == '"' {
		v := c.rest[:end]
		c.rest = c.rest[end+1:]
		return valid(string(v))
	}
	var b strings.Builder
	for i := 0; i < len(c.rest); i++ {
		switch ch := c.rest[i]; ch {
		case '"':
			c.rest = c.rest[i+1:]
			return valid(b.String())
		case '\\':
			i++
			if i == len(c.rest) {
				return "", errLabels
			}
			switch c.rest[i] {
			case '\\', '"':
				b.WriteByte(c.rest[i])
			case 'n':
				b.WriteByte('\n')
			default:
				return "", errEscape
			}
		default:
			b.WriteByte(ch)
		}
	}
	return "", errLabels
}

func valid(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", errUTF8
	}
	return s, nil
}

// ordered sorts labels by name; one of them twice is an error. An empty value is
// no label.
func ordered(all []metric.Label) ([]metric.Label, error) {
	slices.SortFunc(all, func(a, b metric.Label) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(all); i++ {
		if all[i].Name == all[i-1].Name {
			return nil, errTwice
		}
	}
	return slices.DeleteFunc(all, func(l metric.Label) bool { return l.Value == "" }), nil
}

// number reads a value: a decimal, NaN or an infinity, but neither a hexadecimal
// nor one that is too large to be held.
func number(s string) (float64, error) {
	if s == "" {
		return 0, errValue
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || strings.ContainsAny(s, "xXpP_") {
		return 0, errors.New(strconv.Quote(s[:min(len(s), 40)]) + " is no number that can be held")
	}
	return v, nil
}
