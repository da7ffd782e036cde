package logs

import (
	"strings"
	"testing"
	"time"
)

const trace = "4bf92f3577b34da6a3ce929d0e0e4736"

// The lines of the loggers that people use.
func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, line string
		want       Line
	}{
		{"slog JSON", `{"time":"2026-11-23T05:00:00Z","level":"ERROR","msg":"request failed","status":502}`, Line{Error, "request failed", ""}},
		{"slog level with offset", `{"level":"INFO","msg":"listening"}`, Line{Info, "listening", ""}},
		{"zap", `{"level":"dpanic","ts":1700000000.1,"msg":"odd","trace_id":"` + trace + `"}`, Line{Fatal, "odd", trace}},
		{"pino", `{"level":50,"time":1700000000000,"pid":7,"msg":"boom"}`, Line{Error, "boom", ""}},
		{"bunyan fatal", `{"name":"a","level":60,"msg":"gone","v":0}`, Line{Fatal, "gone", ""}},
		{"winston", `{"level":"warn","message":"slow"}`, Line{Warn, "slow", ""}},
		{"log4j JSON", `{"level":{"name":"SEVERE"},"message":"x"}`, Line{Error, "x", ""}},
		{"ECS", `{"log.level":"error","message":"m","trace.id":"` + strings.ToUpper(trace) + `"}`, Line{Error, "m", trace}},
		{"ECS nested", `{"log":{"level":"warning"},"trace":{"id":"` + trace + `"},"message":"m"}`, Line{Warn, "m", trace}},
		{"Google", `{"severity":"CRITICAL","message":"m"}`, Line{Fatal, "m", ""}},
		{"Python JSON", `{"levelname": "WARNING", "message": "m"}`, Line{Warn, "m", ""}},
		{"capital fields", `{"Level":"Error","Message":"m"}`, Line{Error, "m", ""}},
		{"logfmt", `time=2026-11-23T05:00:00Z level=error msg="cannot \"dial\"" traceID=` + trace, Line{Error, `cannot "dial"`, trace}},
		{"logfmt without level", `a=1 b=2`, Line{Unknown, "a=1 b=2", ""}},
		{"logfmt after words", `ts=1 lvl=warn event=slow`, Line{Warn, "slow", ""}},
		{"klog", `E1123 05:00:00.123456       1 reflector.go:138] failed to list`, Line{Error, "E1123 05:00:00.123456       1 reflector.go:138] failed to list", ""}},
		{"log4j plain", `2026-11-23 05:00:00,123 [main] ERROR com.example.App - it broke`, Line{Error, "2026-11-23 05:00:00,123 [main] ERROR com.example.App - it broke", ""}},
		{"Spring", `2026-11-23T05:00:00.123Z  WARN 1 --- [main] o.s.b.App : slow`, Line{Warn, "2026-11-23T05:00:00.123Z  WARN 1 --- [main] o.s.b.App : slow", ""}},
		{"Python plain", `ERROR:root:it broke`, Line{Error, "ERROR:root:it broke", ""}},
		{"nginx", `2026/11/23 05:00:00 [crit] 7#7: *1 connect() failed`, Line{Fatal, "2026/11/23 05:00:00 [crit] 7#7: *1 connect() failed", ""}},
		{"serilog", `[05:00:00 ERR] it broke`, Line{Error, "[05:00:00 ERR] it broke", ""}},
		{"gunicorn", `[2026-11-23 05:00:00 +0000] [7] [INFO] Listening`, Line{Info, "[2026-11-23 05:00:00 +0000] [7] [INFO] Listening", ""}},
		{"Rust", `2026-11-23T05:00:00Z ERROR app: it broke`, Line{Error, "2026-11-23T05:00:00Z ERROR app: it broke", ""}},
		{"loguru", `2026-11-23 05:00:00.123 | ERROR    | app:main:7 - it broke`, Line{Error, "2026-11-23 05:00:00.123 | ERROR    | app:main:7 - it broke", ""}},
		{"Go panic", `panic: runtime error: index out of range`, Line{Fatal, "panic: runtime error: index out of range", ""}},
		{"Python exception", `Traceback (most recent call last):`, Line{Fatal, "Traceback (most recent call last):", ""}},
		{"Java exception", `Exception in thread "main" java.lang.NullPointerException`, Line{Fatal, `Exception in thread "main" java.lang.NullPointerException`, ""}},
		{"a word is no level", `there was no error in sight`, Line{Unknown, "there was no error in sight", ""}},
		{"a level far behind", strings.Repeat("x", 200) + " [ERROR] late", Line{Unknown, strings.Repeat("x", 200) + " [ERROR] late", ""}},
		{"plain with trace", `paid trace_id=` + trace, Line{Unknown, `paid trace_id=` + trace, trace}},
		{"half an object", `{"level":"error","msg":"cut`, Line{Unknown, `{"level":"error","msg":"cut`, ""}},
		{"a number as message", `{"level":"error","msg":7}`, Line{Error, `{"level":"error","msg":7}`, ""}},
		{"a bad trace", `{"level":"info","msg":"m","trace_id":"zz"}`, Line{Info, "m", ""}},
		{"nothing", "", Line{}},
		{"blanks", "  \t ", Line{}},
	} {
		if got := Parse(c.line); got != c.want {
			t.Errorf("%s: Parse(%q) = %+v, want %+v", c.name, c.line, got, c.want)
		}
	}
}

func TestLevels(t *testing.T) {
	for l := Debug; l <= Fatal; l++ {
		if got := ParseLevel(strings.ToUpper(l.String())); got != l {
			t.Errorf("ParseLevel(%q) = %v", l, got)
		}
	}
	if Unknown.String() != "" || Level(99).String() != "" || ParseLevel("errors") != Unknown || ofNumber(5) != Unknown || ofNumber(35) != Info {
		t.Error("what is no level is one")
	}
}

func TestFilter(t *testing.T) {
	now := time.Date(2026, 11, 23, 5, 0, 0, 0, time.UTC)
	bad := `{"level":"error","msg":"Bank refused","trace_id":"` + trace + `"}`
	for _, c := range []struct {
		name   string
		filter Filter
		line   string
		want   bool
	}{
		{"everything", Filter{}, "", true},
		{"level", Filter{Least: Error}, bad, true},
		{"above", Filter{Least: Fatal}, bad, false},
		{"unknown level", Filter{Least: Debug}, "hello", false},
		{"text of any case", Filter{Text: "bank REFUSED"}, bad, true},
		{"other text", Filter{Text: "shop"}, bad, false},
		{"trace", Filter{Trace: trace}, bad, true},
		{"trace in a plain line", Filter{Trace: trace}, "got " + trace, true},
		{"other trace", Filter{Trace: strings.Repeat("a", 32)}, bad, false},
		{"since", Filter{Since: now}, "", true},
		{"before", Filter{Since: now.Add(1)}, "", false},
		{"until", Filter{Until: now}, "", true},
		{"after", Filter{Until: now.Add(-1)}, "", false},
		{"all of them", Filter{Least: Warn, Text: "refused", Trace: trace, Since: now, Until: now}, bad, true},
	} {
		if got := c.filter.Selects(now, c.line); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// Whatever a program writes, reading it ends, fits its bounds and says the same again.
func FuzzParse(f *testing.F) {
	for _, line := range []string{`{"level":{"name":{}}}`, `a="b`, `= =`, "E1123 05:00:00.1 1 a:1] ", `{"msg":"` + strings.Repeat("[", 1000), "\x1b[31mERROR\x1b[0m x"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		l := Parse(line)
		if l != Parse(line) || l.Level < Unknown || l.Level > Fatal || len(l.Message) > maxLine || l.Trace != "" && sound(l.Trace) != l.Trace {
			t.Errorf("Parse(%q) = %+v", line, l)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for name, line := range map[string]string{
		"json":   `{"time":"2026-11-23T05:00:00Z","level":"ERROR","msg":"request failed","service":"payment","status":502,"took_ms":3}`,
		"logfmt": `time=2026-11-23T05:00:00Z level=error msg="request failed" status=502`,
		"plain":  `2026-11-23 05:00:00,123 [main] ERROR com.example.App - it broke`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Parse(line)
			}
		})
	}
}
