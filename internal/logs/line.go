package logs

import (
	"bytes"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Line is what could be read of one line. What could not is empty.
type Line struct {
	Level   Level
	Message string // the whole line when it has no message of its own
	Trace   string // W3C trace ID, 32 lower-case hex digits
}

// The fields in which loggers put a level, a message and a trace ID. A name with
// a dot is that of a field within another, too. The first that is there counts.
var (
	levelFields   = []string{"level", "severity", "lvl", "log.level", "levelname", "severity_text", "loglevel"}
	messageFields = []string{"msg", "message", "body", "event", "text"}
	traceFields   = []string{"trace_id", "traceid", "trace.id", "otel.trace_id", "dd.trace_id", "trace"}
)

// Bounds of what is looked at, in bytes.
const (
	maxLine  = 64 << 10 // of a line; the rest is not read
	maxHead  = 160      // of a plain line, in which its level stands
	maxField = 64       // of the name of a field of logfmt
)

// Parse reads one line: JSON objects, logfmt, and plain lines that say their
// level near the beginning, as klog, Python, Java and most others do. It never
// fails: what it cannot read is a message.
func Parse(text string) Line {
	text = strings.TrimSpace(text[:min(len(text), maxLine)])
	var l Line
	switch {
	case strings.HasPrefix(text, "{"):
		l = ofJSON(text)
	case strings.Contains(text, "="):
		l = ofPairs(text)
	}
	if l.Level == Unknown && l.Message == "" {
		l.Level = ofPlain(text)
	}
	if l.Message == "" {
		l.Message = text
	}
	if l.Trace == "" {
		l.Trace = traceIn(text)
	}
	return l
}

// ofJSON reads a JSON object; one that is broken says nothing.
func ofJSON(text string) Line {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var doc map[string]any
	if dec.Decode(&doc) != nil {
		return Line{}
	}
	level, message, trace := find(doc, levelFields), find(doc, messageFields), find(doc, traceFields)
	var l Line
	switch v := level.(type) {
	case string:
		if l.Level = ParseLevel(v); l.Level == Unknown {
			n, _ := strconv.ParseFloat(v, 64)
			l.Level = ofNumber(n)
		}
	case json.Number:
		n, _ := v.Float64()
		l.Level = ofNumber(n)
	case map[string]any: // winston and logback write {"level": {"name": "error"}}
		name, _ := v["name"].(string)
		l.Level = ParseLevel(name)
	}
	l.Message, _ = message.(string)
	if s, ok := trace.(string); ok {
		l.Trace = sound(s)
	}
	return l
}

// find returns the first of the fields that doc has, whatever their case.
func find(doc map[string]any, fields []string) any {
	for _, name := range fields {
		if v, ok := doc[name]; ok {
			return v
		}
		if outer, inner, ok := strings.Cut(name, "."); ok {
			if nested, ok := doc[outer].(map[string]any); ok {
				if v, ok := nested[inner]; ok {
					return v
				}
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(doc)) {
		if among(k, fields) {
			return doc[k]
		}
	}
	return nil
}

// ofPairs reads logfmt: name=value, where a value with blanks is quoted.
func ofPairs(text string) Line {
	var l Line
	for rest := text; rest != ""; {
		var name, value string
		name, value, rest = pair(rest)
		switch {
		case name == "" || len(name) > maxField:
		case l.Level == Unknown && among(name, levelFields):
			l.Level = ParseLevel(value)
		case l.Message == "" && among(name, messageFields):
			l.Message = value
		case l.Trace == "" && among(name, traceFields):
			l.Trace = sound(value)
		}
	}
	return l
}

func among(name string, fields []string) bool {
	for _, f := range fields {
		if strings.EqualFold(name, f) {
			return true
		}
	}
	return false
}

// pair returns the first pair of logfmt; one without a name is a word.
func pair(text string) (name, value, rest string) {
	text = strings.TrimLeft(text, " \t")
	end := strings.IndexAny(text, "= \t")
	if end < 0 || text[end] != '=' {
		if end < 0 {
			return "", text, ""
		}
		return "", text[:end], text[end:]
	}
	name, text = text[:end], text[end+1:]
	if strings.HasPrefix(text, `"`) {
		if quoted, err := strconv.QuotedPrefix(text); err == nil {
			if value, err = strconv.Unquote(quoted); err == nil {
				return name, value, text[len(quoted):]
			}
		}
	}
	if end = strings.IndexAny(text, " \t"); end < 0 {
		end = len(text)
	}
	return name, text[:end], text[end:]
}

var (
	// marked is a level that stands out: in brackets, before a colon, or alone in capitals.
	marked = regexp.MustCompile(`\[\s*([A-Za-z]{3,11})\s*\]|<([A-Za-z]{3,11})>|\b([A-Za-z]{3,11})\s?:|\|\s*([A-Za-z]{3,11})\s*\||\b([A-Z]{3,11})\b`)
	// klog is the head of a line of klog and glog: severity, month, day, time, thread, place.
	klog = regexp.MustCompile(`^([IWEF])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [^ ]+:\d+\] `)
	// broken is how programs end that do not log it.
	broken = regexp.MustCompile(`^(?:panic: |fatal error: |Traceback \(most recent call last\)|Exception in thread |Unhandled exception|Uncaught |thread '.*' panicked at )`)
	// traced is a trace ID in a plain line.
	traced = regexp.MustCompile(`(?i)\btrace[._-]?id["']?\s*[=:]\s*["']?([0-9a-f]{32})\b`)
)

func ofPlain(text string) Level {
	if broken.MatchString(text) {
		return Fatal
	}
	if m := klog.FindStringSubmatch(text); m != nil {
		return map[string]Level{"I": Info, "W": Warn, "E": Error, "F": Fatal}[m[1]]
	}
	for _, m := range marked.FindAllStringSubmatch(text[:min(len(text), maxHead)], 8) {
		for _, word := range m[1:] {
			if l := ParseLevel(word); word != "" && l != Unknown {
				return l
			}
		}
	}
	return Unknown
}

func traceIn(text string) string {
	if m := traced.FindStringSubmatch(text); m != nil {
		return sound(m[1])
	}
	return ""
}

// sound returns a W3C trace ID in lower case, or "" for what is none.
func sound(id string) string {
	if len(id) != 32 {
		return ""
	}
	b := bytes.ToLower([]byte(id))
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return ""
		}
	}
	return string(b)
}
