package openmetrics

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"pgregory.net/rapid"
)

func parse(t testing.TB, page string, f Format) map[string]Family {
	t.Helper()
	all, err := read(page, f, Limits{})
	if err != nil {
		t.Fatalf("%v, in\n%s", err, page)
	}
	return all
}

func read(page string, f Format, l Limits) (map[string]Family, error) {
	all := map[string]Family{}
	err := Parse(strings.NewReader(page), f, l, func(f Family) error {
		was := all[f.Name]
		if len(was.Points) > 0 {
			f.Unit = "parts"
		}
		f.Points = append(was.Points, f.Points...)
		all[f.Name] = f
		return nil
	})
	return all, err
}

func page(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPagesOfClientLibraries(t *testing.T) {
	for _, tt := range []struct {
		file, family string
		format       Format
		kind         Kind
		series       string
		points       int
		first        string
	}{
		{"go.txt", "go_goroutines", Text, Gauge, "go_goroutines", 1, "{} 37"},
		{"go.txt", "go_gc_duration_seconds", Text, Summary, "go_gc_duration_seconds", 1, "{} 5 quantiles, 21 of 0.001473123"},
		{"go.txt", "http_requests_total", Text, Counter, "http_requests_total", 2, `{code="200" path="/a\\b\"c\nd"} 1000 at 2025-11-24T16:00:00Z`},
		{"go.txt", "http_request_duration_seconds", Text, Histogram, "http_request_duration_seconds", 2, `{code="200" method="get"} [0.005:311 0.05:998 1:1000 +Inf:1001], 1001 of 17.25`},
		{"node.txt", "nodejs_gc_duration_seconds", Text, Histogram, "nodejs_gc_duration_seconds", 1, `{kind="minor"} [0.001:4 0.01:5 0.1:5 +Inf:5], 5 of 0.004109829999506474`},
		{"node.txt", "checkout_basket_eur", Text, Summary, "checkout_basket_eur", 1, `{currency="EUR"} 1 quantiles, 0 of 0`},
		{"python.om", "python_gc_objects_collected", OpenMetrics, Counter, "python_gc_objects_collected_total", 2, `{generation="0"} 76`},
		{"python.om", "orders", OpenMetrics, Counter, "orders_total", 1, `{result="ok"} 17 since 2025-11-24T16:00:00.5Z`},
		{"python.om", "request_latency_seconds", OpenMetrics, Histogram, "request_latency_seconds", 1, `{route="/buy"} [0.1:8 1:11 +Inf:12], 12 of 3.75 since 2025-11-24T16:00:00.5Z`},
		{"python.om", "build", OpenMetrics, Info, "build_info", 1, `{version="1.2.3"} 1`},
		{"python.om", "mode", OpenMetrics, StateSet, "mode", 2, `{mode="ready"} 1`},
		{"python.om", "queue", OpenMetrics, GaugeHistogram, "queue", 1, `{} [10:3 +Inf:4], 4 of 31`},
		{"python.om", "odd", OpenMetrics, Unknown, "odd", 1, `{} -Inf at 2025-11-24T16:00:01.125Z`},
		{"java.om", "jvm_memory_used_bytes", OpenMetrics, Gauge, "jvm_memory_used_bytes", 3, `{area="heap" id="G1 Survivor Space"} 5.24288e+06`},
		{"java.om", "http_server_requests_seconds", OpenMetrics, Histogram, "http_server_requests_seconds", 1, `{exception="none" method="GET" outcome="SUCCESS" status="200" uri="/owners/{id}"} [0.001:0 0.268435456:41 +Inf:42], 42 of 1.873`},
		{"java.om", "http_server_requests_seconds_max", OpenMetrics, Gauge, "http_server_requests_seconds_max", 1, `{exception="none" method="GET" outcome="SUCCESS" status="200" uri="/owners/{id}"} 0.391`},
		{"java.om", "logback_events", OpenMetrics, Counter, "logback_events_total", 2, `{level="error"} 3`},
	} {
		f := parse(t, page(t, tt.file), tt.format)[tt.family]
		if f.Kind != tt.kind || f.Series() != tt.series || len(f.Points) != tt.points {
			t.Errorf("%s: %s is a %s %s of %d points, want %s %s of %d", tt.file, tt.family, f.Kind, f.Series(), len(f.Points), tt.kind, tt.series, tt.points)
			continue
		}
		if got := shown(f.Points[0]); got != tt.first {
			t.Errorf("%s: %s =\n%s, want\n%s", tt.file, tt.family, got, tt.first)
		}
	}
	if u := parse(t, page(t, "python.om"), OpenMetrics)["request_latency_seconds"].Unit; u != "seconds" {
		t.Errorf("unit = %q", u)
	}
}

// shown is a point in a line.
func shown(p Point) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, l := range p.Labels {
		fmt.Fprintf(&b, "%s%s=%q", strings.Repeat(" ", min(i, 1)), l.Name, l.Value)
	}
	b.WriteString("} ")
	switch {
	case len(p.Buckets) > 0:
		b.WriteByte('[')
		for i, k := range p.Buckets {
			fmt.Fprintf(&b, "%s%g:%d", strings.Repeat(" ", min(i, 1)), k.Upper, k.Count)
		}
		b.WriteString("], ")
	case len(p.Quantiles) > 0:
		fmt.Fprintf(&b, "%d quantiles, ", len(p.Quantiles))
	}
	if p.HasCount {
		fmt.Fprintf(&b, "%d of %v", p.Count, p.Sum)
	} else {
		fmt.Fprintf(&b, "%v", p.Value)
	}
	if !p.At.IsZero() {
		b.WriteString(" at " + p.At.UTC().Format(time.RFC3339Nano))
	}
	if !p.Created.IsZero() {
		b.WriteString(" since " + p.Created.UTC().Format(time.RFC3339Nano))
	}
	if p.Wrong != "" {
		b.WriteString(" BUT " + p.Wrong)
	}
	return b.String()
}

func TestPagesThatCannotBeRead(t *testing.T) {
	for _, tt := range []struct {
		name, page string
		format     Format
		want       string
	}{
		{"no page", "<html>\n", Text, "line 1: there is no name"},
		{"cut off", "a 1\nb 2", Text, "line 2: the page ends within a line"},
		{"cut off within labels", "a{b=\"c\n", Text, "line 1: the labels do not end"},
		{"cut off OpenMetrics", "a 1\n", OpenMetrics, "ends without # EOF"},
		{"more after EOF", "# EOF\na 1\n", OpenMetrics, "line 2: there is more after # EOF"},
		{"empty line", "a 1\n\n# EOF\n", OpenMetrics, "line 2: the line is empty"},
		{"no value", "a{b=\"c\"}\n", Text, "there is no value"},
		{"no number", "a 1,5\n", Text, `"1,5" is no number`},
		{"hexadecimal", "a 0x1p4\n", Text, "is no number"},
		{"too large", "a 1e999\n", Text, "is no number that can be held"},
		{"trailing", "a 1 2 3\n", Text, "more on the line"},
		{"time", "a 1 1.5\n", Text, "no whole number of milliseconds"},
		{"no time", "a 1 1e300\n# EOF\n", OpenMetrics, "the time is none"},
		{"label twice", "a{b=\"1\",b=\"2\"} 1\n", Text, "a label is there twice"},
		{"escape", `a{b="\t"} 1` + "\n", Text, "a backslash"},
		{"not UTF-8", "a{b=\"\xff\"} 1\n", Text, "not UTF-8"},
		{"type", "# TYPE a rate\n", Text, `"rate" is no type`},
		{"type of the other format", "# TYPE a info\n", Text, "is no type"},
		{"type after its numbers", "a 1\n# TYPE a counter\n", Text, "line 2: family a comes twice"},
		{"family twice", "# TYPE a counter\na_total 1\n# TYPE b counter\nb_total 1\n# TYPE a counter\n# EOF\n", OpenMetrics, "line 5: family a comes twice"},
		{"family in two places", "# TYPE a counter\na_total{c=\"1\"} 1\nb 1\na_total{c=\"2\"} 1\n# EOF\n", OpenMetrics, "line 4: family a comes twice"},
		{"series twice", "# TYPE a gauge\na 1\na 2\n", Text, "line 3: the same series is there twice"},
		{"series twice after its begin", "# TYPE a counter\na_created 1\na_total 1\na_total 1\n# EOF\n", OpenMetrics, "line 4: the same series"},
		{"sum twice", "# TYPE a summary\na_sum 1\na_sum 1\n", Text, "the same series"},
		{"no le", "# TYPE a histogram\na_bucket 1\n", Text, "has no label le"},
		{"le is no number", "# TYPE a histogram\na_bucket{le=\"x\"} 1\n", Text, "the label le is no number"},
		{"histogram without a suffix", "# TYPE a histogram\na 1\n", Text, "a is a histogram, which has no number of just that name"},
		{"exemplar without labels", "# TYPE a counter\na_total 1 # 2\n# EOF\n", OpenMetrics, "an exemplar has no labels"},
	} {
		_, err := read(tt.page, tt.format, Limits{})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if s := (*SyntaxError)(nil); err != nil && (!errors.As(err, &s) || s.Line == 0) {
			t.Errorf("%s: %v names no line", tt.name, err)
		}
	}
}

// Numbers that cannot be cost their series and no other.
func TestNumbersThatCannotBe(t *testing.T) {
	for want, page := range map[string]string{
		"is negative":               "# TYPE a counter\na -1\n",
		"is not a number":           "# TYPE a counter\na NaN\n",
		"is infinite":               "# TYPE a counter\na +Inf\n",
		"is no count":               "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1.5\n",
		`has no bucket le="+Inf"`:   "# TYPE a histogram\na_bucket{le=\"1\"} 1\n",
		"has 5 up to 1 and only 3":  "# TYPE a histogram\na_bucket{le=\"+Inf\"} 3\na_bucket{le=\"1\"} 5\n",
		"has two buckets le=1":      "# TYPE a histogram\na_bucket{le=\"1\"} 1\na_bucket{le=\"1.0\"} 1\na_bucket{le=\"+Inf\"} 3\n",
		"a count of 4":              "# TYPE a histogram\na_bucket{le=\"+Inf\"} 3\na_count 4\n",
		"its sum is no number":      "# TYPE a histogram\na_bucket{le=\"+Inf\"} 3\na_sum NaN\n",
		"has 9007199254740992 up t": "# TYPE a histogram\na_bucket{le=\"1\"} 9007199254740992\na_bucket{le=\"+Inf\"} 3\n",
	} {
		all := parse(t, page+"# TYPE b gauge\nb NaN\n", Text)
		if got := all["a"].Points[0].Wrong; !strings.Contains(got, want) {
			t.Errorf("%q is wrong for %q, want %q", page, got, want)
		}
		if b := all["b"].Points[0]; b.Wrong != "" || !math.IsNaN(b.Value) {
			t.Errorf("the gauge beside it is %+v", b)
		}
	}
}

// An endless page, an endless line, endless labels and a million values of one
// label are refused in bounded memory.
func TestBounds(t *testing.T) {
	for want, r := range map[string]string{
		"longer than 4194304 bytes":                  strings.Repeat("# comment\n", 1<<20),
		"line 2: the line is longer than 65536":      "a 1\na{b=\"" + strings.Repeat("x", 1<<17) + "\"} 1\n",
		"there are more than 64 labels":              "a{" + numbered(65, "l%[1]d=\"\",") + "} 1\n",
		"more than 10000 numbers on the page, and b": "a 1\n" + numbered(20_000, "b{user=\"%d\"} 1\n"),
		"more than 10000 families":                   numbered(20_000, "# TYPE a%d gauge\n"),
	} {
		if _, err := read(r, Text, Limits{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	whole := "a 1\n"
	if _, err := read(whole, Text, Limits{Bytes: int64(len(whole))}); err != nil {
		t.Errorf("a page of just the bound: %v", err)
	}
	mine := errors.New("mine")
	if err := Parse(strings.NewReader(whole), Text, Limits{}, func(Family) error { return mine }); !errors.Is(err, mine) {
		t.Errorf("error of each = %v", err)
	}
}

func numbered(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func TestFormatOf(t *testing.T) {
	for typ, want := range map[string]Format{"": Text, "text/plain; version=0.0.4; charset=utf-8": Text, "application/openmetrics-text; version=1.0.0": OpenMetrics} {
		if f, err := FormatOf(typ); f != want || err != nil {
			t.Errorf("FormatOf(%q) = %v, %v", typ, f, err)
		}
	}
	for _, typ := range []string{"text/html; charset=utf-8", "application/json", ";;;"} {
		if _, err := FormatOf(typ); err == nil {
			t.Errorf("FormatOf(%q) is taken", typ)
		}
	}
}

// drawPage makes a page of the text format that a library could have written.
func drawPage(t *rapid.T) string {
	var b strings.Builder
	value := func() string {
		return rapid.SampledFrom([]string{"0", "1", "17.5", "1e+06", "NaN", "+Inf", "-Inf", "-3", "9007199254740993", "0.1"}).Draw(t, "value")
	}
	count := func() string { return rapid.SampledFrom([]string{"0", "3", "12", "1e3"}).Draw(t, "count") }
	blank := func() string { return rapid.SampledFrom([]string{" ", "  ", "\t"}).Draw(t, "blank") }
	labels := func(more string) string {
		var all []string
		for i := range rapid.IntRange(0, 3).Draw(t, "labels") {
			v := rapid.SampledFrom([]string{"x", "a b", `q\"q`, `n\nn`, `s\\s`, "ü", "{}", "#", ","}).Draw(t, "text")
			all = append(all, fmt.Sprintf(`l%d="%s"`, i, v))
		}
		if more != "" {
			all = append(all, more)
		}
		if len(all) == 0 {
			return rapid.SampledFrom([]string{"", "{}"}).Draw(t, "none")
		}
		return "{" + strings.Join(all, ",") + rapid.SampledFrom([]string{"", ","}).Draw(t, "comma") + "}"
	}
	when := func() string { return rapid.SampledFrom([]string{"", " 1764000000123", " -5"}).Draw(t, "when") }
	for i := range rapid.IntRange(1, 5).Draw(t, "families") {
		name := fmt.Sprintf("f%d", i)
		kind := rapid.SampledFrom([]string{"", "counter", "gauge", "untyped", "summary", "histogram"}).Draw(t, "kind")
		if rapid.Bool().Draw(t, "help") {
			fmt.Fprintf(&b, "# HELP %s some \\\\ help\n", name)
		}
		if kind != "" {
			fmt.Fprintf(&b, "#%sTYPE %s %s\n", blank(), name, kind)
		}
		for j := range rapid.IntRange(1, 3).Draw(t, "points") {
			own := fmt.Sprintf(`p="%d"`, j)
			switch kind {
			case "summary":
				fmt.Fprintf(&b, "%s%s%s%s%s\n", name, labels(own+`,quantile="0.5"`), blank(), value(), when())
				fmt.Fprintf(&b, "%s_sum{%s} %s\n%s_count{%s} %s\n", name, own, value(), name, own, count())
			case "histogram":
				fmt.Fprintf(&b, "%s_bucket{le=\"0.1\",%s} 1\n%s_bucket{%s,le=\"+Inf\"} %s\n", name, own, name, own, count())
				fmt.Fprintf(&b, "%s_sum{%s} %s\n%s_count{%s} %s\n", name, own, value(), name, own, count())
			default:
				fmt.Fprintf(&b, "%s%s%s%s%s\n", name, labels(own), blank(), value(), when())
			}
			if rapid.Bool().Draw(t, "comment") {
				b.WriteString("# a comment\n\n")
			}
		}
	}
	return b.String()
}

// Whatever a library writes, Prometheus' own decoder and this one read the same.
func TestReadsAsPrometheusDoes(t *testing.T) {
	for _, name := range []string{"go.txt", "node.txt"} {
		if why := differs(page(t, name)); why != "" {
			t.Fatalf("%s: %s", name, why)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := drawPage(t)
		if rapid.IntRange(0, 3).Draw(t, "broken") == 0 {
			at := rapid.IntRange(0, len(text)-1).Draw(t, "at")
			text = text[:at] + rapid.SampledFrom([]string{"", "\"", "{", "}", "\\", " ", "=", ",", "x", "9"}).Draw(t, "with") + text[at+1:]
		}
		if why := differs(text); why != "" {
			t.Fatalf("%s\n%s", why, text)
		}
	})
}

// differs says how the two decoders disagree on a page. Where this one is
// stricter on purpose that is no difference: a series or a label that is there
// twice, a bucket without a bound, a TYPE without a type, and a count that is none.
func differs(text string) string {
	mine, err := read(text, Text, Limits{})
	p := expfmt.NewTextParser(model.LegacyValidation)
	theirs, terr := p.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		stricter := slices.ContainsFunc([]string{"has no label", "twice", "no number of just that name", "is no type"}, func(s string) bool { return strings.Contains(err.Error(), s) })
		if terr == nil && !stricter {
			return fmt.Sprintf("refused here (%v) and read there", err)
		}
		return ""
	}
	if terr != nil {
		if strings.Contains(terr.Error(), "expected integer") || strings.Contains(terr.Error(), "second TYPE") || inComment(text, terr.Error()) {
			return ""
		}
		return fmt.Sprintf("read here and refused there: %v", terr)
	}
	want := map[string]int{}
	for name, f := range theirs {
		for _, m := range f.GetMetric() {
			want[name+line(f.GetType(), m)]++
		}
	}
	for name, f := range mine {
		if f.Unit == "parts" || f.Kind == Histogram && uncounted(theirs[name]) {
			continue // it was interrupted and each part is told by itself, or it has no count and the last bucket's is told
		}
		for _, pt := range f.Points {
			key := name + own(f.Kind, pt)
			if want[key] == 0 && !strings.Contains(pt.Wrong, "count") {
				return fmt.Sprintf("%s is only here; there are %v", key, want)
			}
			want[key]--
		}
	}
	if len(mine) != len(theirs) {
		return fmt.Sprintf("%d families here and %d there", len(mine), len(theirs))
	}
	return ""
}

func uncounted(f *dto.MetricFamily) bool {
	return slices.ContainsFunc(f.GetMetric(), func(m *dto.Metric) bool { return m.GetHistogram().GetSampleCount() == 0 })
}

// inComment says whether an error of expfmt is about a comment, of which only the
// types are read here.
func inComment(text, why string) bool {
	var n int
	_, err := fmt.Sscanf(why, "text format parsing error in line %d", &n)
	lines := strings.Split(text, "\n")
	return err == nil && n > 0 && n <= len(lines) && strings.HasPrefix(strings.TrimLeft(lines[n-1], " \t"), "#")
}

func line(k dto.MetricType, m *dto.Metric) string {
	var b bytes.Buffer
	labels := slices.SortedFunc(slices.Values(m.GetLabel()), func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
	for _, l := range labels {
		if l.GetValue() != "" {
			fmt.Fprintf(&b, "|%s=%s", l.GetName(), l.GetValue())
		}
	}
	switch k {
	case dto.MetricType_COUNTER:
		fmt.Fprintf(&b, " %v", m.GetCounter().GetValue())
	case dto.MetricType_GAUGE:
		fmt.Fprintf(&b, " %v", m.GetGauge().GetValue())
	case dto.MetricType_SUMMARY:
		fmt.Fprintf(&b, " %d %v", m.GetSummary().GetSampleCount(), m.GetSummary().GetSampleSum())
		for _, q := range m.GetSummary().GetQuantile() {
			fmt.Fprintf(&b, " %v:%v", q.GetQuantile(), q.GetValue())
		}
	case dto.MetricType_HISTOGRAM:
		fmt.Fprintf(&b, " %d %v", m.GetHistogram().GetSampleCount(), m.GetHistogram().GetSampleSum())
		for _, q := range m.GetHistogram().GetBucket() {
			fmt.Fprintf(&b, " %v:%v", q.GetUpperBound(), q.GetCumulativeCount())
		}
	case dto.MetricType_UNTYPED, dto.MetricType_GAUGE_HISTOGRAM:
		fmt.Fprintf(&b, " %v", m.GetUntyped().GetValue())
	}
	if m.TimestampMs != nil {
		fmt.Fprintf(&b, " @%d", m.GetTimestampMs())
	}
	return b.String()
}

func own(k Kind, p Point) string {
	var b bytes.Buffer
	for _, l := range p.Labels {
		fmt.Fprintf(&b, "|%s=%s", l.Name, l.Value)
	}
	switch k {
	case Summary:
		fmt.Fprintf(&b, " %d %v", p.Count, p.Sum)
		for _, q := range p.Quantiles {
			fmt.Fprintf(&b, " %v:%v", q.Q, q.Value)
		}
	case Histogram:
		fmt.Fprintf(&b, " %d %v", p.Count, p.Sum)
		for _, q := range p.Buckets {
			fmt.Fprintf(&b, " %v:%v", q.Upper, q.Count)
		}
	case Unknown, Counter, Gauge, GaugeHistogram, Info, StateSet:
		fmt.Fprintf(&b, " %v", p.Value)
	}
	if !p.At.IsZero() {
		fmt.Fprintf(&b, " @%d", p.At.UnixMilli())
	}
	return b.String()
}

// Whatever a page is made of: it ends, within its bounds, and what is read of it
// is sound.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"go.txt", "node.txt", "python.om", "java.om"} {
		f.Add(page(f, name), strings.HasSuffix(name, ".om"))
	}
	f.Fuzz(func(t *testing.T, text string, open bool) {
		format := Text
		if open {
			format = OpenMetrics
		}
		points := 0
		err := Parse(strings.NewReader(text), format, Limits{Points: 50, Labels: 5, Line: 200}, func(f Family) error {
			for _, p := range f.Points {
				points++
				if f.Name == "" || len(p.Labels) > 5 || p.Wrong == "" && f.Kind == Histogram && !math.IsInf(p.Buckets[len(p.Buckets)-1].Upper, 1) {
					t.Errorf("%+v of %+v", p, f)
				}
			}
			return nil
		})
		if s := (*SyntaxError)(nil); points > 50 || err != nil && !errors.As(err, &s) {
			t.Errorf("%d points, %v", points, err)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	text := page(b, "go.txt")
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if err := Parse(strings.NewReader(text), Text, Limits{}, func(Family) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
