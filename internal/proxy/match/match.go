// Package match says whether a request meets conditions. It reads requests
// through an interface of its own, whoever parsed them, and knows no sockets; its
// tests hold it against net/http's reading of the same request.
package match

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Request is what conditions may look at. Names of headers are canonical, and
// what is returned is valid only while the request is.
type Request interface {
	Method() string
	Value(name string, i int) (value string, there bool) // of the i-th header line of that name, from 0
	Peer() netip.Addr                                    // the caller's address, as far as it can be believed
	RawQuery() string                                    // without the question mark
}

// When is a list of conditions, ready to be asked. The zero value holds for
// every request.
type When []condition

type condition struct {
	delivery.Condition
	pattern *regexp.Regexp
}

// Compile prepares conditions. The error is a *delivery.FieldError under field.
func Compile(field string, all []delivery.Condition) (When, error) {
	if len(all) == 0 {
		return nil, nil
	}
	out := make(When, len(all))
	for i, c := range all {
		out[i].Condition = c
		if c.On == delivery.OnHeader {
			out[i].Name = canonical(c.Name)
		}
		if c.Pattern == "" {
			continue
		}
		re, err := regexp.Compile(`^(?:` + c.Pattern + `)$`)
		if err != nil {
			return nil, delivery.Invalid(fmt.Sprintf("%s condition %d pattern", field, i+1), err.Error())
		}
		out[i].pattern = re
	}
	return out, nil
}

// Holds says whether every condition is true of r.
func (w When) Holds(r Request) bool {
	for i := range w {
		if w[i].holds(r) == w[i].Not {
			return false
		}
	}
	return true
}

func (c *condition) holds(r Request) bool {
	switch c.On {
	case delivery.OnMethod:
		return c.meets(r.Method())
	case delivery.OnHeader:
		return c.header(r)
	case delivery.OnCookie:
		v, there := Cookie(r, c.Name)
		return there && c.meets(v)
	case delivery.OnQuery:
		return c.query(r.RawQuery())
	case delivery.OnBaggage:
		v, there := Baggage(r, c.Name)
		return there && c.meets(v)
	}
	return false
}

// meets says whether a value that is there is a wanted one.
func (c *condition) meets(value string) bool {
	switch {
	case len(c.Is) > 0:
		return slices.Contains(c.Is, value)
	case c.Prefix != "":
		return strings.HasPrefix(value, c.Prefix)
	case c.pattern != nil:
		return c.pattern.MatchString(value)
	}
	return true
}

// header asks every line of that name.
func (c *condition) header(r Request) bool {
	for i := 0; ; i++ {
		v, there := r.Value(c.Name, i)
		if !there {
			return false
		}
		if c.meets(v) {
			return true
		}
	}
}

// query asks every parameter of that name.
func (c *condition) query(raw string) bool {
	for part := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(part, "=")
		if unescape(name) == c.Name && c.meets(unescape(value)) {
			return true
		}
	}
	return false
}
