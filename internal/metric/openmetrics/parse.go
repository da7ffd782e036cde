package openmetrics

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// Parse reads a page and hands over each family when it is complete. An error is
// a *SyntaxError, or says what bound was passed, or is r's or each's own. What was
// handed over before it is not to be trusted to be all there is: a page counts
// whole or not at all.
func Parse(r io.Reader, f Format, l Limits, each func(Family) error) error {
	l = l.orDefaults()
	p := &parser{format: f, limits: l, each: each, kinds: map[string]Kind{}}
	counted := &io.LimitedReader{R: r, N: l.Bytes + 1}
	lines := bufio.NewReaderSize(counted, l.Line)
	for {
		line, err := lines.ReadSlice('\n')
		if counted.N == 0 {
			return fmt.Errorf("openmetrics: the page is longer than %d bytes", l.Bytes)
		}
		p.line++
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return p.wrong(fmt.Sprintf("the line is longer than %d bytes", l.Line))
		case errors.Is(err, io.EOF):
			return p.end(line)
		case err != nil:
			return fmt.Errorf("openmetrics: %w", err)
		}
		if err := p.take(bytes.TrimSuffix(line[:len(line)-1], []byte{'\r'})); err != nil {
			return err
		}
	}
}

// parser reads line by line; the family at hand is in cur.
type parser struct {
	format Format
	limits Limits
	each   func(Family) error
	line   int
	points int
	most   int    // points of the family that has the most
	who    string // its name
	over   bool   // the EOF line was read
	kinds  map[string]Kind
	cur    *building
}

func (p *parser) wrong(why string) error { return &SyntaxError{Line: p.line, Why: why} }

// end is called with what stands behind the last line break.
func (p *parser) end(rest []byte) error {
	switch {
	case p.format == OpenMetrics && !p.over && string(rest) == "# EOF":
	case len(bytes.TrimSpace(rest)) > 0:
		return p.wrong("the page ends within a line")
	case p.format == OpenMetrics && !p.over:
		return p.wrong("the page ends without # EOF: it is cut off, or not OpenMetrics")
	}
	return p.flush()
}

func (p *parser) take(line []byte) error {
	if p.over {
		return p.wrong("there is more after # EOF")
	}
	c := &cursor{rest: line, format: p.format, most: p.limits.Labels}
	c.blanks()
	if len(c.rest) == 0 {
		if p.format == OpenMetrics {
			return p.wrong("the line is empty")
		}
		return nil
	}
	if c.rest[0] == '#' {
		return p.comment(c)
	}
	s, err := c.sample()
	if err == nil {
		err = p.add(s)
	}
	if err == nil {
		return nil
	}
	if _, done := errors.AsType[*handed](err); done {
		return err
	}
	return p.wrong(err.Error())
}

// comment reads # TYPE, # UNIT, # HELP and # EOF; all else is for people.
func (p *parser) comment(c *cursor) error {
	if p.format == OpenMetrics && string(c.rest) == "# EOF" {
		p.over = true
		return nil
	}
	c.rest = c.rest[1:]
	c.blanks()
	word := c.word()
	c.blanks()
	switch word {
	case "TYPE", "UNIT":
	case "HELP":
		if _, err := c.name(true); err != nil {
			return p.wrong(err.Error())
		}
		return nil
	default:
		return nil
	}
	name, err := c.name(true)
	if err != nil {
		return p.wrong(err.Error())
	}
	if c.blanks(); word == "UNIT" {
		return p.unit(name, c.word())
	}
	kind := c.word()
	if c.blanks(); len(c.rest) > 0 {
		return p.wrong("there is more on the line than a type")
	}
	return p.typed(name, kind)
}

func (p *parser) unit(name, unit string) error {
	if p.cur == nil || p.cur.Name != name {
		if _, twice := p.kinds[name]; twice {
			return p.wrong("family " + name + " comes twice")
		}
		if err := p.begin(name, Unknown); err != nil {
			return err
		}
	}
	p.cur.Unit = unit
	return nil
}

// typed begins a family.
func (p *parser) typed(name, text string) error {
	kind, ok := kindOf(text, p.format)
	if !ok {
		return p.wrong(strconv.Quote(text[:min(len(text), 40)]) + " is no type")
	}
	if p.cur != nil && p.cur.Name == name && len(p.cur.Points) == 0 && !p.cur.typed {
		p.cur.Kind, p.cur.typed, p.kinds[name] = kind, true, kind // a UNIT line came first
		return nil
	}
	if _, twice := p.kinds[name]; twice {
		return p.wrong("family " + name + " comes twice, or its type after its numbers")
	}
	if err := p.begin(name, kind); err != nil {
		return err
	}
	p.cur.typed = true
	return nil
}

func kindOf(text string, f Format) (Kind, bool) {
	switch k := Kind(text); k {
	case Counter, Gauge, Histogram, Summary:
		return k, true
	case GaugeHistogram, Info, StateSet, Unknown:
		return k, f == OpenMetrics
	}
	return Unknown, text == "untyped" && f == Text
}

// begin hands the family at hand over and starts another.
func (p *parser) begin(name string, k Kind) error {
	if err := p.flush(); err != nil {
		return err
	}
	if len(p.kinds) >= p.limits.Points {
		return p.wrong(fmt.Sprintf("there are more than %d families", p.limits.Points))
	}
	p.kinds[name] = k
	p.cur = &building{Family: Family{Name: name, Kind: k, Line: p.line, format: p.format}, at: map[string]int{}}
	return nil
}

// handed marks errors of each, which are no fault of the page.
type handed struct{ err error }

func (h *handed) Error() string { return h.err.Error() }
func (h *handed) Unwrap() error { return h.err }

func (p *parser) flush() error {
	if p.cur == nil {
		return nil
	}
	b := p.cur
	p.cur = nil
	if b.lines > p.most {
		p.most, p.who = b.lines, b.Name
	}
	if len(b.Points) == 0 {
		return nil
	}
	if err := p.each(b.finish()); err != nil {
		return &handed{err}
	}
	return nil
}

// add puts a line with a number where it belongs.
func (p *parser) add(s sample) error {
	at, err := when(s.at, p.format)
	if err != nil {
		return err
	}
	r, err := p.place(s.name)
	if err != nil {
		return err
	}
	if p.points++; p.points > p.limits.Points {
		if p.cur.lines > p.most {
			p.most, p.who = p.cur.lines, p.cur.Name
		}
		return fmt.Errorf("there are more than %d numbers on the page, and %s has most of them", p.limits.Points, p.who)
	}
	return p.cur.add(r, s, at)
}

// place finds the family of a series, and what the series is in it. Where a Text
// page goes back to an earlier family, that is begun again.
func (p *parser) place(name string) (role, error) {
	if p.cur != nil {
		if r, ok := roleOf(p.cur.Kind, p.format, p.cur.Name, name); ok {
			return r, nil
		}
	}
	for _, suffix := range suffixes() {
		base, ok := strings.CutSuffix(name, suffix)
		if kind, seen := p.kinds[base]; ok && seen {
			r, fits := roleOf(kind, p.format, base, name)
			switch {
			case fits && p.format == OpenMetrics:
				return r, errors.New("family " + base + " comes twice")
			case fits:
				return r, p.begin(base, kind)
			case suffix == "":
				return r, fmt.Errorf("%s is a %s, which has no number of just that name", name, kind)
			}
		}
	}
	return whole, p.begin(name, Unknown)
}

// when reads a time: milliseconds of a Text page, seconds of OpenMetrics.
func when(text string, f Format) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if f == Text {
		ms, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return time.Time{}, errors.New("the time is no whole number of milliseconds")
		}
		return time.UnixMilli(ms), nil
	}
	s, err := number(text)
	if err != nil {
		return time.Time{}, err
	}
	at, ok := seconds(s)
	if !ok {
		return time.Time{}, errors.New("the time is none")
	}
	return at, nil
}

// seconds is a moment of Unix time, if it is one.
func seconds(s float64) (time.Time, bool) {
	if !(math.Abs(s) < 1<<40) {
		return time.Time{}, false
	}
	whole, part := math.Modf(s)
	return time.Unix(int64(whole), int64(part*1e9)), true
}
