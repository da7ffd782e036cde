// Package field finds one field of a JSON text that streams past, and tells
// whether it says anything. It keeps no more of the text than a key, and is no
// validator. Its judge is a fuzz test beside encoding/json.
//
// Source: RFC 8259.
package field

import (
	"encoding/json"
	"mime"
	"strings"
)

// Limit is how many bytes of a text are looked at.
const Limit = 64 << 10

// Path leads from the text's object to a field of it, or of an object in it.
type Path []string

// Parse reads a path with dots, such as "status.error". "" is none.
func Parse(dotted string) Path {
	if dotted == "" {
		return nil
	}
	return strings.Split(dotted, ".")
}

// JSON says whether a content type is one of JSON texts.
func JSON(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && (kind == "application/json" || strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json"))
}

// Scanner looks for a path in one text, piece by piece. It stops at the first
// field there that says something, at the end of the text's object, at what is no
// JSON, and at Limit; a text that is no object has no fields. How deep the text is
// nested does not matter.
type Scanner struct {
	path  Path
	state func(*Scanner, byte) // nil when it has stopped
	read  int
	found bool

	level   int    // objects on the path that are open, without the first
	matches bool   // the key before is the path's at this level
	depth   int    // brackets open in a value that is passed over
	quoted  bool   // in a string that is passed over
	escaped bool   // behind a backslash
	key     []byte // as written; of the last key
	long    bool   // the key is longer than any way to write the path's
}

// New returns a scanner that has seen nothing yet.
func New(p Path) *Scanner { return &Scanner{path: p, state: (*Scanner).text} }

// Found says whether a field at the path was seen that is neither null, false, 0,
// "" nor empty.
func (s *Scanner) Found() bool { return s != nil && s.found }

// Stopped says whether more of the text changes nothing.
func (s *Scanner) Stopped() bool { return s == nil || s.state == nil }

// Write looks at the next piece. It never fails.
func (s *Scanner) Write(p []byte) (int, error) {
	if s == nil {
		return len(p), nil
	}
	for _, c := range p {
		if s.state == nil {
			break
		}
		if s.read == Limit {
			s.state = nil
			break
		}
		s.read++
		s.state(s, c)
	}
	return len(p), nil
}

func space(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

func (s *Scanner) says() { s.found, s.state = true, nil }

// text is before the text's object.
func (s *Scanner) text(c byte) {
	switch {
	case space(c):
	case c == '{':
		s.state = (*Scanner).member
	default:
		s.state = nil
	}
}

// member is before a key, or the end of an object.
func (s *Scanner) member(c byte) {
	switch {
	case space(c):
	case c == '"':
		s.key, s.long, s.escaped = s.key[:0], false, false
		s.state = (*Scanner).name
	case c == '}':
		s.leave()
	default:
		s.state = nil
	}
}

// most is how many bytes one of a key can take: "\u0061".
const most = 6

// name is within a key.
func (s *Scanner) name(c byte) {
	switch {
	case s.escaped:
		s.escaped = false
	case c == '\\':
		s.escaped = true
	case c == '"':
		s.matches = !s.long && s.named()
		s.state = (*Scanner).colon
		return
	}
	if s.long = s.long || len(s.key) == most*len(s.path[s.level]); !s.long {
		s.key = append(s.key, c)
	}
}

// named says whether the key is the one that is looked for.
func (s *Scanner) named() bool {
	want := s.path[s.level]
	if string(s.key) == want {
		return true
	}
	for _, c := range s.key {
		if c == '\\' || c >= 0x80 { // there are other ways to write it
			var key string
			return json.Unmarshal([]byte(`"`+string(s.key)+`"`), &key) == nil && key == want
		}
	}
	return false
}

func (s *Scanner) colon(c byte) {
	switch {
	case space(c):
	case c == ':':
		s.state = (*Scanner).value
	default:
		s.state = nil
	}
}

// value is before a value.
func (s *Scanner) value(c byte) {
	last := s.matches && s.level == len(s.path)-1
	switch {
	case space(c):
	case last:
		s.judge(c)
	case s.matches && c == '{':
		s.level++
		s.state = (*Scanner).member
	default:
		s.pass(c)
	}
}

// judge is at the beginning of the value that is looked for.
func (s *Scanner) judge(c byte) {
	switch c {
	case '"':
		s.state = (*Scanner).emptyString
	case '[', '{':
		s.state = (*Scanner).emptyList
	case 't':
		s.says()
	case 'n', 'f':
		s.state = (*Scanner).scalar
	default:
		s.state = (*Scanner).zero
		s.zero(c)
	}
}

func (s *Scanner) emptyString(c byte) {
	if c != '"' {
		s.says()
		return
	}
	s.state = (*Scanner).after
}

func (s *Scanner) emptyList(c byte) {
	switch {
	case space(c):
	case c == ']' || c == '}':
		s.state = (*Scanner).after
	default:
		s.says()
	}
}

// zero is within a number that is 0 so far.
func (s *Scanner) zero(c byte) {
	switch {
	case '1' <= c && c <= '9':
		s.says()
	case c == '-' || c == '0' || c == '.':
	case c == 'e' || c == 'E':
		s.state = (*Scanner).scalar
	default:
		s.state = (*Scanner).after
		s.after(c)
	}
}

// scalar is within a number or word that says nothing more.
func (s *Scanner) scalar(c byte) {
	if c == ',' || c == '}' || space(c) {
		s.state = (*Scanner).after
		s.after(c)
	}
}

// pass is at the beginning of a value that does not matter.
func (s *Scanner) pass(c byte) {
	s.depth, s.quoted, s.escaped = 0, false, false
	switch c {
	case '"', '[', '{':
		s.state = (*Scanner).over
		s.over(c)
	default:
		s.state = (*Scanner).scalar
	}
}

// over is within such a string, list or object.
func (s *Scanner) over(c byte) {
	switch {
	case s.escaped:
		s.escaped = false
	case s.quoted && c == '\\':
		s.escaped = true
	case c == '"':
		s.quoted = !s.quoted
	case s.quoted:
	case c == '[' || c == '{':
		s.depth++
	case c == ']' || c == '}':
		s.depth--
	}
	if s.depth == 0 && !s.quoted {
		s.state = (*Scanner).after
	}
}

// after is behind a value.
func (s *Scanner) after(c byte) {
	switch {
	case space(c):
	case c == ',':
		s.state = (*Scanner).member
	case c == '}':
		s.leave()
	default:
		s.state = nil
	}
}

// leave is at the end of an object on the path.
func (s *Scanner) leave() {
	if s.level == 0 {
		s.state = nil
		return
	}
	s.level--
	s.state = (*Scanner).after
}
