package logs

import "strings"

// Level is how bad a line is. The zero Level is not known.
type Level int

// The levels, rising.
const (
	Unknown Level = iota
	Debug         // and trace
	Info          // and notice
	Warn
	Error
	Fatal // and critical, alert, emergency, panic
)

// names are the words of the levels.
var names = [...]string{"", "debug", "info", "warn", "error", "fatal"}

// String returns the word of a level, "" for Unknown.
func (l Level) String() string {
	if l < 0 || int(l) >= len(names) {
		return ""
	}
	return names[l]
}

// ParseLevel returns the level that a word names, in any case, or Unknown. It
// knows the words of syslog (RFC 5424), slog, log4j, Python, Rust and of the
// loggers of Node.
func ParseLevel(word string) Level {
	if len(word) > len("emergency") {
		return Unknown
	}
	switch strings.ToLower(word) {
	case "trace", "trc", "debug", "dbg", "finest", "finer", "fine", "verbose", "silly":
		return Debug
	case "info", "inf", "information", "informational", "notice", "config", "http":
		return Info
	case "warn", "warning", "wrn":
		return Warn
	case "error", "err", "eror", "severe":
		return Error
	case "fatal", "ftl", "crit", "critical", "alert", "emerg", "emergency", "panic", "dpanic":
		return Fatal
	}
	return Unknown
}

// ofNumber is the level of a number in the field of a level: those of pino and
// bunyan (10 trace to 60 fatal), of which a smaller or larger one means the
// nearest below.
func ofNumber(n float64) Level {
	switch {
	case !(n >= 10 && n < 100):
		return Unknown
	case n < 30:
		return Debug
	case n < 40:
		return Info
	case n < 50:
		return Warn
	case n < 60:
		return Error
	}
	return Fatal
}
