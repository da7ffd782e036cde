package trace

import "strings"

// BaggageHeader carries baggage, in the spelling of http.Header.
const BaggageHeader = "Baggage"

// Bounds of the baggage that is passed on. Members beyond them are dropped.
const (
	MaxBaggage        = 8192 // bytes
	MaxBaggageMembers = 180
)

// Pair is a member of baggage.
type Pair struct {
	Name  string // a token (RFC 9110, 5.6.2)
	Value string // any bytes
}

// AppendBaggage appends one line of baggage: the members of set first, since a
// hop that cuts cuts at the end, then those that from came with and set does not
// name, in their order. A member of set without a value is removed. Malformed
// members and those that would pass a bound are dropped. Nothing is appended
// when nothing is left. match.Baggage reads members.
func AppendBaggage(dst []byte, from Carrier, set ...Pair) []byte {
	start, members := len(dst), 0
	for _, p := range set {
		if p.Value == "" || !token(p.Name) {
			continue
		}
		before := len(dst)
		if members > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, p.Name...)
		dst = append(dst, '=')
		dst = encode(dst, p.Value)
		if members == MaxBaggageMembers || len(dst)-start > MaxBaggage {
			dst = dst[:before]
			continue
		}
		members++
	}
	for i := 0; ; i++ {
		line, there := from.Value(BaggageHeader, i)
		if !there {
			return dst
		}
		for line != "" {
			var member string
			member, line, _ = strings.Cut(line, ",")
			member = strings.Trim(member, " \t")
			key := nameOf(member)
			if key == "" || named(set, key) || members == MaxBaggageMembers || len(dst)-start+min(members, 1)+len(member) > MaxBaggage {
				continue
			}
			if members > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, member...)
			members++
		}
	}
}

func named(set []Pair, name string) bool {
	for _, p := range set {
		if p.Name == name {
			return true
		}
	}
	return false
}

// nameOf returns the name of a member, or "" when it is malformed.
func nameOf(member string) string {
	key, value, _ := strings.Cut(member, "=")
	key = strings.Trim(key, " \t")
	value, properties, _ := strings.Cut(value, ";")
	if len(key) == len(member) || !token(key) || !printable(properties) {
		return ""
	}
	value = strings.Trim(value, " \t")
	for i := range len(value) {
		if !baggageOctet(value[i]) {
			return ""
		}
	}
	return key
}

func token(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

func printable(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != '\t' && (c < 0x20 || c > 0x7e) {
			return false
		}
	}
	return true
}

// baggageOctet is what a value may hold as it is: no control character, space,
// quote, comma, semicolon or backslash, and nothing beyond ASCII.
func baggageOctet(c byte) bool {
	return c > 0x20 && c < 0x7f && c != '"' && c != ',' && c != ';' && c != '\\'
}

func encode(dst []byte, s string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; baggageOctet(c) && c != '%' {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		}
	}
	return dst
}
