package otlp

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// Record is one line of a log.
type Record struct {
	At    time.Time
	Level slog.Level
	Text  string
	Attrs []Attr   // no key twice
	Trace [16]byte // zero: of none
}

// append appends the record as a field of the message around it.
func (r *Record) append(dst []byte, field int) []byte {
	at := len(dst)
	nanos := uint64(r.At.UnixNano())
	dst = tag(dst, 1, fixed64)
	dst = binary.LittleEndian.AppendUint64(dst, nanos)
	dst = number(dst, 2, severity(r.Level))
	dst = text(dst, 3, r.Level.String())
	body := len(dst)
	dst = text(dst, 1, r.Text)
	dst = nest(dst, body, 5)
	for _, a := range r.Attrs {
		dst = attribute(dst, 6, a)
	}
	if r.Trace != [16]byte{} {
		dst = raw(dst, 9, r.Trace[:])
	}
	dst = tag(dst, 11, fixed64)
	dst = binary.LittleEndian.AppendUint64(dst, nanos) // observed when it was written
	return nest(dst, at, field)
}

// severity is the number of a level: slog's levels are those of OpenTelemetry's
// data model for logs, less nine.
func severity(l slog.Level) uint64 { return uint64(min(max(int(l)+9, 1), 24)) }

// maxText is how many bytes of one text are sent.
const maxText = 8 << 10

// Tee returns a handler that hands each line to the next one, and to a collector
// where there is one. The attribute trace_id names the trace that a line is of.
func Tee(next slog.Handler, to *Records) slog.Handler { return &tee{next: next, to: to} }

type tee struct {
	next   slog.Handler
	to     *Records
	attrs  []Attr
	trace  [16]byte
	prefix string // of the groups that are open, with a dot
}

func (t *tee) Enabled(ctx context.Context, l slog.Level) bool { return t.next.Enabled(ctx, l) }

func (t *tee) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *t
	with.next, with.attrs = t.next.WithAttrs(attrs), slices.Clone(t.attrs)
	for _, a := range attrs {
		with.put(t.prefix, a)
	}
	return &with
}

func (t *tee) WithGroup(name string) slog.Handler {
	if name == "" {
		return t
	}
	with := *t
	with.next, with.prefix = t.next.WithGroup(name), t.prefix+name+"."
	return &with
}

func (t *tee) Handle(ctx context.Context, r slog.Record) error {
	if t.to.On() {
		line := tee{attrs: slices.Clone(t.attrs), trace: t.trace}
		r.Attrs(func(a slog.Attr) bool {
			line.put(t.prefix, a)
			return true
		})
		t.to.Add(&Record{At: r.Time, Level: r.Level, Text: bounded(r.Message), Attrs: line.attrs, Trace: line.trace})
	}
	return t.next.Handle(ctx, r)
}

// put adds an attribute, and of a group all that are in it. The last of a name
// stands, since a collector may refuse one that comes twice.
func (t *tee) put(prefix string, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, inner := range v.Group() {
			t.put(prefix, inner)
		}
		return
	}
	if prefix == "" && a.Key == "trace_id" {
		if id, err := hex.DecodeString(v.String()); err == nil && len(id) == len(t.trace) {
			copy(t.trace[:], id)
			return
		}
	}
	out := Attr{Key: prefix + a.Key}
	switch v.Kind() {
	case slog.KindInt64:
		out.Number = v.Int64()
	case slog.KindFloat64:
		out.Text = strconv.FormatFloat(v.Float64(), 'g', -1, 64)
	case slog.KindTime:
		out.Text = v.Time().Format(time.RFC3339Nano)
	case slog.KindAny:
		if v.Any() == nil {
			return
		}
		out.Text = bounded(fmt.Sprint(v.Any()))
	case slog.KindString, slog.KindBool, slog.KindDuration, slog.KindUint64, slog.KindGroup, slog.KindLogValuer:
		out.Text = bounded(v.String())
	}
	if a.Key == "" || out.Text == "" && v.Kind() != slog.KindInt64 {
		return
	}
	t.attrs = slices.DeleteFunc(t.attrs, func(had Attr) bool { return had.Key == out.Key })
	t.attrs = append(t.attrs, out)
}

// bounded cuts a text that is longer than a collector should be sent.
func bounded(s string) string {
	if len(s) <= maxText {
		return s
	}
	cut := maxText
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return fmt.Sprintf("%s… (%d bytes more)", s[:cut], len(s)-cut)
}
