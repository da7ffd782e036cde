package trace

import (
	"encoding/hex"
	"math"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/proxy/match"
)

// headers reads http.Header the way the data plane does.
type headers http.Header

func (h headers) Value(name string, i int) (string, bool) {
	if all := h[name]; i < len(all) {
		return all[i], true
	}
	return "", false
}

// The rest of match.Request, which reads baggage back.
func (h headers) Method() string   { return http.MethodGet }
func (h headers) Peer() netip.Addr { return netip.Addr{} }
func (h headers) RawQuery() string { return "" }

var _ match.Request = headers{}

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	spanID  = "b7ad6b7169203331"
	parent  = "00-" + traceID + "-" + spanID + "-01"
)

func parents(values ...string) headers { return headers{ParentHeader: values} }

func TestStartContinues(t *testing.T) {
	for name, tc := range map[string]struct {
		in      string
		sampled bool
	}{
		"sampled":               {parent, true},
		"not sampled":           {"00-" + traceID + "-" + spanID + "-00", false},
		"flags of later levels": {"00-" + traceID + "-" + spanID + "-03", true},
		"all flags":             {"00-" + traceID + "-" + spanID + "-fe", false},
		"later version":         {"cc-" + traceID + "-" + spanID + "-01", true},
		"later version, longer": {"cc-" + traceID + "-" + spanID + "-01-what-the-future-brings", true},
	} {
		c := Start(parents(tc.in), 0)
		if hex.EncodeToString(c.Trace[:]) != traceID || hex.EncodeToString(c.Parent[:]) != spanID || c.Sampled != tc.sampled {
			t.Errorf("%s: Start(%q) = %+v", name, tc.in, c)
		}
		flags := "-00"
		if tc.sampled {
			flags = "-01"
		}
		out := string(c.AppendParent(nil))
		if want := "00-" + traceID + "-" + hex.EncodeToString(c.Span[:]) + flags; out != want || c.Span == c.Parent || c.Span == [8]byte{} {
			t.Errorf("%s: AppendParent = %q, want %q with a span of our own", name, out, want)
		}
	}
}

func TestStartBeginsInPlaceOfTheMalformed(t *testing.T) {
	for name, in := range map[string][]string{
		"none":                   nil,
		"empty":                  {""},
		"two of them":            {parent, parent},
		"two in one line":        {parent + "," + parent},
		"version ff":             {"ff" + parent[2:]},
		"version 00, longer":     {parent + "-more"},
		"version 00, a dash":     {parent + "-"},
		"later, no dash":         {"cc" + parent[2:] + ".more"},
		"later, short":           {"cc" + parent[2:54]},
		"upper case version":     {"CC" + parent[2:]},
		"upper case trace":       {"00-" + strings.ToUpper(traceID) + "-" + spanID + "-01"},
		"upper case span":        {"00-" + traceID + "-" + strings.ToUpper(spanID) + "-01"},
		"upper case flags":       {parent[:53] + "0A"},
		"zero trace":             {"00-" + strings.Repeat("0", 32) + "-" + spanID + "-01"},
		"zero span":              {"00-" + traceID + "-" + strings.Repeat("0", 16) + "-01"},
		"not hex":                {"00-" + traceID[:31] + "g-" + spanID + "-01"},
		"flags not hex":          {parent[:53] + "x1"},
		"other separators":       {strings.ReplaceAll(parent, "-", "_")},
		"a dot for the last one": {parent[:52] + ".01"},
	} {
		c := Start(headers{ParentHeader: in, StateHeader: {"a=1"}}, delivery.Full)
		if hex.EncodeToString(c.Trace[:]) == traceID || c.Trace == [16]byte{} || c.Parent != [8]byte{} || !c.Sampled || c.KeepsState() {
			t.Errorf("%s: Start(%q) = %+v, want a new trace without the state of the old", name, in, c)
		}
		if again, ok := parse(string(c.AppendParent(nil))); !ok || again.Trace != c.Trace || again.Parent != c.Span {
			t.Errorf("%s: what was begun does not read back: %q", name, c.AppendParent(nil))
		}
	}
}

func TestState(t *testing.T) {
	many := func(n int) (s string) {
		for i := range n {
			s += "k" + strings.Repeat("x", i) + "=1,"
		}
		return s
	}
	for name, tc := range map[string]struct {
		lines []string
		want  bool
	}{
		"none":             {nil, true},
		"one":              {[]string{"rojo=00f067aa0ba902b7"}, true},
		"two lines":        {[]string{"rojo=1", "congo=t61rcWkgMzE"}, true},
		"empty members":    {[]string{"rojo=1,, \t,congo=2"}, true},
		"spaces inside":    {[]string{"rojo=a b , congo=2"}, true},
		"tenant":           {[]string{"fw529a3039@dt=1"}, true},
		"32 members":       {[]string{many(32)}, true},
		"33 members":       {[]string{many(33)}, false},
		"twice the key":    {[]string{"a=1,b=2", "a=3"}, false},
		"no value":         {[]string{"a"}, false},
		"empty value":      {[]string{"a="}, false},
		"empty key":        {[]string{"=1"}, false},
		"upper case key":   {[]string{"A=1"}, false},
		"equals in value":  {[]string{"a=1=2"}, false},
		"beyond ASCII":     {[]string{"a=ü"}, false},
		"control":          {[]string{"a=1\x01"}, false},
		"key of 256":       {[]string{strings.Repeat("k", 256) + "=1"}, true},
		"key of 257":       {[]string{strings.Repeat("k", 257) + "=1"}, false},
		"value of 256":     {[]string{"a=" + strings.Repeat("v", 256)}, true},
		"value of 257":     {[]string{"a=" + strings.Repeat("v", 257)}, false},
		"key with a space": {[]string{"a b=1"}, false},
	} {
		h := http.Header{ParentHeader: {parent}}
		if tc.lines != nil {
			h[StateHeader] = tc.lines
		}
		c := Start(headers(h), 0)
		if c.KeepsState() != tc.want {
			t.Errorf("%s: KeepsState of %q = %v, want %v", name, tc.lines, c.KeepsState(), tc.want)
		}
		c.Set(h)
		if (len(h[StateHeader]) > 0) != (tc.want && len(tc.lines) > 0) {
			t.Errorf("%s: tracestate is passed on as %q", name, h[StateHeader])
		}
		if got := h[ParentHeader]; len(got) != 1 || got[0] != string(c.AppendParent(nil)) {
			t.Errorf("%s: traceparent is passed on as %q", name, got)
		}
	}
}

// Of the traces begun here the share that was asked for is sampled, within six
// deviations, and none at 0 and all at 100 %.
func TestShareOfSampled(t *testing.T) {
	const n = 50000
	for _, share := range []delivery.Weight{0, 1, 100, 2500, 9999, delivery.Full} {
		got := 0
		for range n {
			c := Start(headers{}, share)
			if c.Sampled {
				got++
			}
		}
		p := float64(share) / float64(delivery.Full)
		if off := math.Abs(float64(got) - n*p); off > 6*math.Sqrt(n*p*(1-p)) {
			t.Errorf("%d of %d are sampled at %s", got, n, share)
		}
	}
}

func TestSetAllocatesOnce(t *testing.T) {
	h := http.Header{ParentHeader: {parent}, StateHeader: {"rojo=1,congo=2"}}
	from := headers{ParentHeader: {parent}, StateHeader: {"rojo=1,congo=2"}}
	c := new(Context) // as a part of the exchange, which is on the heap anyway
	for name, in := range map[string]headers{"continued": from, "begun": {}} {
		if n := testing.AllocsPerRun(200, func() { *c = Start(in, 100); c.Set(h) }); n > 1 {
			t.Errorf("%s: %v allocations, want at most 1", name, n)
		}
		var b [64]byte
		if n := testing.AllocsPerRun(200, func() { *c = Start(in, 100); c.AppendParent(b[:0]) }); n > 0 {
			t.Errorf("%s: %v allocations into a buffer, want none", name, n)
		}
	}
}

func FuzzStart(f *testing.F) {
	f.Add(parent, "rojo=1,congo=2")
	f.Add("cc-"+traceID+"-"+spanID+"-01-x", "a=1,a=2")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, p, s string) {
		c := Start(headers{ParentHeader: {p}, StateHeader: {s}}, 5000)
		out := string(c.AppendParent(nil))
		next, ok := parse(out)
		if !ok || len(out) != ParentLen || next.Trace != c.Trace || next.Parent != c.Span || next.Sampled != c.Sampled {
			t.Fatalf("Start(%q) passes on %q", p, out)
		}
		if came, ok := parse(p); ok != (c.Parent != [8]byte{}) || ok && (came.Trace != c.Trace || came.Sampled != c.Sampled) {
			t.Fatalf("Start(%q) = %+v, but the header reads %+v, %v", p, c, came, ok)
		}
	})
}

func BenchmarkTrace(b *testing.B) {
	for name, in := range map[string]headers{"continue": {ParentHeader: {parent}, StateHeader: {"rojo=1,congo=2"}}, "begin": {}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var buf [64]byte
			c := new(Context)
			for b.Loop() {
				*c = Start(in, 100)
				c.AppendParent(buf[:0])
			}
		})
	}
}

func drawn(t *rapid.T, name string) string {
	return string(rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, name))
}
