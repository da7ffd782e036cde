package web

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// anyValue draws a number of any size, often a gap and sometimes none that JSON has.
func anyValue() *rapid.Generator[float64] {
	return rapid.OneOf(
		rapid.Float64Range(-1e6, 1e6),
		rapid.Float64(),
		rapid.SampledFrom([]float64{math.NaN(), math.NaN(), math.Inf(1), math.Inf(-1), 0, math.Copysign(0, -1), math.MaxFloat64, math.SmallestNonzeroFloat64}),
	)
}

// However many values there are, what is drawn is short, keeps the lowest and the
// highest, invents none and keeps a gap that is wider than a bucket.
func TestThinKeepsPeaks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(anyValue(), 0, 3000).Draw(t, "values")
		n := len(values) + rapid.IntRange(0, 50).Draw(t, "longer")
		per := perBucket(n)
		got := thin(values, n, per)
		if len(got) > maxPoints {
			t.Fatalf("%d values of %d are drawn, want no more than %d", len(got), n, maxPoints)
		}
		if n <= maxPoints && len(got) != n {
			t.Fatalf("%d values of %d are drawn, want all", len(got), n)
		}
		wantLow, wantHigh := extremes(values)
		if low, high := extremes(got); !alike(low, wantLow) || !alike(high, wantHigh) {
			t.Fatalf("drawn from %v to %v, want %v to %v", low, high, wantLow, wantHigh)
		}
		there := map[float64]bool{}
		for _, v := range values {
			there[v] = true
		}
		for _, v := range got {
			if !math.IsNaN(v) && (gap(v) || !there[v]) {
				t.Fatalf("%v is drawn and was not there", v)
			}
		}
		if per == 1 {
			return
		}
		for i := 0; i < len(got); i += 2 {
			low, _ := extremes(values[min(len(values), i/2*per):min(len(values), (i/2+1)*per)])
			if math.IsNaN(low) != math.IsNaN(got[i]) || math.IsNaN(got[i]) != math.IsNaN(got[i+1]) {
				t.Fatalf("bucket %d is drawn %v, %v and has a number: %v", i/2, got[i], got[i+1], !math.IsNaN(low))
			}
		}
	})
}

func alike(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }

// A peak stays on its side of a trough of the same bucket.
func TestThinKeepsOrder(t *testing.T) {
	values := make([]float64, 1000)
	values[600], values[601] = 9, -9
	got := thin(values, len(values), perBucket(len(values)))
	peak, trough := -1, -1
	for i, v := range got {
		switch v {
		case 9:
			peak = i
		case -9:
			trough = i
		}
	}
	if peak < 0 || trough != peak+1 {
		t.Errorf("the peak is at %d, the trough at %d; want them side by side", peak, trough)
	}
}

// readChart is how static/chart.js sees a chart.
type readChart struct {
	From, To int64
	Step     float64
	Series   [][]*float64
}

func decodeChart(t interface{ Fatalf(string, ...any) }, c chart) readChart {
	text, err := c.JSON()
	if err != nil {
		t.Fatalf("JSON() = %v", err)
	}
	var d struct {
		F, E int64
		D    float64
		S    [][]json.RawMessage
	}
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	out := readChart{From: d.F, To: d.E, Step: d.D}
	for _, s := range d.S {
		var values []*float64
		if len(s) != 4 {
			t.Fatalf("a series has %d parts, want name, class, form and values", len(s))
		}
		if err := json.Unmarshal(s[3], &values); err != nil {
			t.Fatalf("%s: %v", s[3], err)
		}
		out.Series = append(out.Series, values)
	}
	return out
}

// What the browser reads is what is drawn, to five digits, gaps as gaps; series have
// one length, and their times end where the chart does.
func TestChartJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := chart{ID: "c", From: rapid.Int64Range(0, 2e9).Draw(t, "from")}
		c.To = c.From + rapid.Int64Range(0, 1e6).Draw(t, "for")
		for range rapid.IntRange(0, 3).Draw(t, "series") {
			c.Series = append(c.Series, series{Name: rapid.String().Draw(t, "name"), Values: rapid.SliceOfN(anyValue(), 0, 900).Draw(t, "values")})
		}
		got, want := decodeChart(t, c), c.drawn()
		for i, s := range got.Series {
			if len(s) != len(got.Series[0]) || len(s) != len(want.Series[i].Values) {
				t.Fatalf("series %d has %d values, the first %d, drawn are %d", i, len(s), len(got.Series[0]), len(want.Series[i].Values))
			}
			for j, v := range s {
				w := want.Series[i].Values[j]
				if (v == nil) != math.IsNaN(w) {
					t.Fatalf("value %d is read %v, want %v", j, v, w)
				}
				if v != nil && math.Abs(*v-w) > math.Abs(w)*1e-4 {
					t.Fatalf("value %d is read %v, want %v to five digits", j, *v, w)
				}
			}
			if n := len(s); n > 1 && c.To > c.From {
				last := float64(got.From) + got.Step*float64(n-1)
				if last < float64(c.To)-2*got.Step || last > float64(c.To)+2*got.Step {
					t.Fatalf("the last of %d values is at %v, want about %d", n, last, c.To)
				}
			}
		}
	})
}

func TestChartOfAlmostNothing(t *testing.T) {
	for _, c := range []struct {
		name   string
		chart  chart
		values int
		want   string // in its table
	}{
		{"no series", chart{From: 5, To: 9}, 0, ""},
		{"no values", chart{Series: []series{{Name: "canary"}}}, 0, ""},
		{"one point", chart{From: 60, To: 60, Series: []series{{Name: "canary", Values: []float64{6.1}}}}, 1, "6.1"},
		{"one gap", chart{From: 60, To: 60, Series: []series{{Name: "canary", Values: []float64{math.NaN()}}}}, 1, "–"},
		{"infinite", chart{From: 60, To: 61, Series: []series{{Name: "canary", Values: []float64{math.Inf(1), 2}}}}, 2, "2.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := decodeChart(t, c.chart)
			if got.To <= got.From || got.Step <= 0 {
				t.Errorf("from %d to %d in steps of %v, want some time", got.From, got.To, got.Step)
			}
			for _, s := range got.Series {
				if len(s) != c.values {
					t.Errorf("%d values, want %d", len(s), c.values)
				}
			}
			var cells strings.Builder
			for _, row := range c.chart.Numbers().Rows {
				cells.WriteString(strings.Join(row.Cells, " ") + " ")
			}
			if !strings.Contains(cells.String(), c.want) {
				t.Errorf("table is %q, want %q in it", cells.String(), c.want)
			}
		})
	}
}

// The table is short, its times are the server's, and its foot tells the extremes
// that its rows leave out.
func TestNumbers(t *testing.T) {
	values := make([]float64, 1000)
	values[501] = 42
	c := chart{Title: "Error rate", Unit: "%", From: 1_766_000_000, To: 1_766_000_999, Offset: 3600, Zone: "CET", Series: []series{{Name: "canary", Values: values}}}
	got := c.Numbers()
	if len(got.Rows) > maxRows || got.Caption != "Error rate, %" {
		t.Errorf("%d rows under %q", len(got.Rows), got.Caption)
	}
	if first := got.Rows[0].Head; first != "20:33:20" {
		t.Errorf("first row is at %s, want 20:33:20", first)
	}
	if len(got.Foot) != 2 || got.Foot[0].Cells[0] != "0.0" || got.Foot[1].Cells[0] != "42" {
		t.Errorf("foot is %v", got.Foot)
	}
}

// A spark stays within its edges whatever it is given.
func TestSparkStaysWithin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := sparkOf("x", series{Values: rapid.SliceOfN(anyValue(), 0, 300).Draw(t, "a")}, series{Values: rapid.SliceOfN(anyValue(), 0, 300).Draw(t, "b")})
		for _, l := range s.Lines {
			for _, point := range strings.FieldsFunc(l.Path, func(r rune) bool { return r == 'M' || r == 'L' }) {
				var x, y float64
				if err := json.Unmarshal([]byte("["+strings.Replace(strings.TrimSuffix(point, "h0"), " ", ",", 1)+"]"), &[]any{&x, &y}); err != nil {
					t.Fatalf("point %q of %q: %v", point, l.Path, err)
				}
				if x < 0 || x > sparkWidth || y < 0 || y > sparkHeight {
					t.Fatalf("point %v,%v is outside of %d x %d", x, y, sparkWidth, sparkHeight)
				}
			}
		}
	})
}
