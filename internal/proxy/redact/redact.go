// Package redact takes secrets out of what is shown of a request: header values,
// query values, user names and passwords in URLs, and what an error quotes. It
// decides what may be shown and shows nothing; its tests look for planted secrets.
package redact

import (
	"iter"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of what is shown, in bytes.
const (
	MaxHead  = 4096 // of a head
	MaxText  = 512  // of a host, a path, an error or one header's value
	maxQuery = 256
	maxName  = 64
)

// shown reports whether the values of a header may be seen. Whatever is not
// known to be harmless is not: any header may carry a token.
func shown(name string) bool {
	switch name {
	case "Accept", "Accept-Encoding", "Accept-Language", "Accept-Ranges", "Age", "Allow",
		"Cache-Control", "Connection", "Content-Encoding", "Content-Language", "Content-Length",
		"Content-Range", "Content-Type", "Date", "Expect", "Expires", "Grpc-Status",
		"Host", "Last-Modified", "Range", "Retry-After", "Server", "Traceparent",
		"Transfer-Encoding", "Upgrade", "User-Agent", "Vary", "X-Request-Id":
		return true
	}
	return false
}

// Head returns the lines of a head, "Name: value" each: values of harmless
// headers as they are, of every other one only their length. What is beyond
// MaxHead is left out, and a last line says so.
func Head(lines iter.Seq2[string, string]) string {
	const more = "…"
	var out []byte
	for name, value := range lines {
		before := len(out)
		if before > 0 {
			out = append(out, '\n')
		}
		out = append(out, clean(cut(name, maxName))...)
		out = append(out, ": "...)
		if shown(name) && len(value) <= MaxText {
			out = append(out, Text(value)...)
		} else {
			out = append(out, '(')
			out = strconv.AppendInt(out, int64(len(value)), 10)
			out = append(out, " bytes)"...)
		}
		if len(out) > MaxHead-len(more)-1 {
			return string(append(out[:before], "\n"+more...))
		}
	}
	return string(out)
}

// Query appends the names of a query's parameters, "a&b", without their values.
// A part that has no "=" may itself be a secret: only its length is shown.
func Query(dst []byte, raw string) []byte {
	start := len(dst)
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		before := len(dst)
		if before > start {
			dst = append(dst, '&')
		}
		if name, _, both := strings.Cut(part, "="); both && len(name) <= maxName {
			dst = append(dst, clean(name)...)
		} else {
			dst = append(dst, '(')
			dst = strconv.AppendInt(dst, int64(len(part)), 10)
			dst = append(dst, " bytes)"...)
		}
		if len(dst)-start > maxQuery {
			return append(dst[:before], "&…"...)
		}
	}
	return dst
}

// Host returns a Host header's value without user name and password, which do
// not belong there.
func Host(host string) string {
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		host = host[i+1:]
	}
	return clean(cut(host, MaxText))
}

// Text returns a path or a harmless value, bounded. The URLs in it lose user
// name, password and query.
func Text(s string) string {
	s = clean(cut(s, MaxText))
	if !strings.Contains(s, "://") {
		return s
	}
	var out strings.Builder
	for {
		before, after, found := strings.Cut(s, "://")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		out.WriteString("://")
		end := strings.IndexAny(after, " <>") // a password may hold any other mark
		if end < 0 {
			end = len(after)
		}
		out.WriteString(bare(after[:end]))
		s = after[end:]
	}
}

// bare returns what follows the scheme of an URL, without user and query.
func bare(url string) string {
	url, _, asks := strings.Cut(url, "?")
	border := strings.IndexAny(url, "/#")
	if border < 0 {
		border = len(url)
	}
	if at := strings.LastIndexByte(url[:border], '@'); at >= 0 {
		url = "(user)" + url[at:]
	}
	if asks {
		url += "?…"
	}
	return url
}

// Error returns an error's text without what it quotes: parsers quote what they
// could not read, and that may be anything.
func Error(err error) string {
	if err == nil {
		return ""
	}
	s := err.Error()
	if !strings.ContainsAny(s, "\"`") {
		return Text(s)
	}
	var out strings.Builder
	for s != "" {
		i := strings.IndexAny(s, "\"`")
		if i < 0 {
			out.WriteString(s)
			break
		}
		out.WriteString(s[:i])
		out.WriteString(`"…"`)
		quoted, err := strconv.QuotedPrefix(s[i:])
		if err != nil {
			break // a quote that is not closed: the rest may be anything
		}
		s = s[i+len(quoted):]
	}
	return Text(out.String())
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// clean makes s safe for a line of text: no control characters, valid UTF-8.
func clean(s string) string {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f {
			return strings.Map(func(r rune) rune {
				if r < 0x20 || r == 0x7f || r == utf8.RuneError {
					return '?'
				}
				return r
			}, s)
		}
	}
	return s
}
