package match

import (
	"net/textproto"
	"net/url"
	"strings"
)

func canonical(name string) string { return textproto.CanonicalMIMEHeaderKey(name) }

// unescape decodes one piece of a query; a piece that is not well formed stands
// for itself.
func unescape(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

// Cookie returns the value of the first cookie of that name in Cookie headers
// (RFC 6265, 4.2.1), without the quotes that may surround it.
func Cookie(r Request, name string) (string, bool) {
	for i := 0; ; i++ {
		line, there := r.Value("Cookie", i)
		if !there {
			return "", false
		}
		for line != "" {
			var part string
			part, line, _ = strings.Cut(line, ";")
			part = strings.Trim(part, " \t")
			n, v, eq := strings.Cut(part, "=")
			if eq && n == name {
				if len(v) > 1 && v[0] == '"' && v[len(v)-1] == '"' {
					v = v[1 : len(v)-1]
				}
				return v, true
			}
		}
	}
}

// Baggage returns the decoded value of a member of W3C Baggage headers, without
// its properties.
func Baggage(r Request, name string) (string, bool) {
	for i := 0; ; i++ {
		line, there := r.Value("Baggage", i)
		if !there {
			return "", false
		}
		for line != "" {
			var part string
			part, line, _ = strings.Cut(line, ",")
			part, _, _ = strings.Cut(part, ";")
			n, v, eq := strings.Cut(part, "=")
			if eq && strings.Trim(n, " \t") == name {
				v = strings.Trim(v, " \t")
				if u, err := url.PathUnescape(v); err == nil {
					v = u
				}
				return v, true
			}
		}
	}
}
