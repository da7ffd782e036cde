package web

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// chart is numbers over time as a page shows them: drawn by static/chart.js, as one
// sentence for who cannot see a drawing, and as a table of the same numbers.
//
// Values are in the unit ("%": 6.1 is 6.1 %) and evenly spaced from From to To; NaN is
// a gap, and so is what a series lacks at its end.
type chart struct {
	ID       string  // of the element, one on a page and the same at each look
	Title    string  // what is drawn, in a few words
	Sentence string  // what it shows, in one sentence with its numbers
	Note     string  // what to know to read it right; "" is nothing
	Unit     string  // "%", "ms", "req/s"; "" is a count
	From, To int64   // Unix seconds of the first value and the last
	Offset   int     // of the server's zone, in seconds east of UTC; see zone
	Zone     string  // and its name: "CET"
	Size     string  // height: "" is common, "tall" the one that matters, "low" a strip
	Top      float64 // where the drawing ends if that is known before: 100 for shares; 0 fits it
	Series   []series
	Band     band
	Marks    []mark
}

// series is one line of a chart.
type series struct {
	Name   string // "canary v1.8.0"
	Class  string // its colour: "canary", "stable", "twin", "good", "bad", "c1" … "c6"
	Form   string // "" is a line, "steps" holds each value until the next and fills below
	Values []float64
}

// band is where the truth about a series may lie. The zero band is none.
type band struct {
	Name      string // "99 % interval"
	Class     string // of the series it belongs to
	Low, High []float64
}

// mark is a moment of a chart.
type mark struct {
	At   int64  // Unix seconds
	Text string // a word or two: "25 %"
	Kind string // "step" is a thin line, "back" the bar of a rollback
}

// maxPoints is how many values of a series a page gets. More are not told apart on
// a screen, and weigh.
const maxPoints = 400

// drawn returns c with series of one length and no more than maxPoints values, each a
// number that can be shown or a gap.
func (c chart) drawn() chart {
	n := c.length()
	per := perBucket(n)
	c.Series = slices.Clone(c.Series)
	for i, s := range c.Series {
		c.Series[i].Values = thin(s.Values, n, per)
	}
	if c.Band.Low != nil || c.Band.High != nil {
		c.Band.Low, c.Band.High = thin(c.Band.Low, n, per), thin(c.Band.High, n, per)
	}
	return c
}

// step is the time between two of n values, in seconds.
func (c chart) step(n int) float64 {
	if n < 2 || c.To <= c.From {
		return 1
	}
	return float64(c.To-c.From) / float64(n-1)
}

// length is how many values the longest series has.
func (c chart) length() int {
	n := max(len(c.Band.Low), len(c.Band.High))
	for _, s := range c.Series {
		n = max(n, len(s.Values))
	}
	return n
}

// perBucket is how many of n values two drawn ones stand for; 1 is each for itself.
// It is even but for 1, so that the two are half of it apart.
func perBucket(n int) int {
	if n <= maxPoints {
		return 1
	}
	per := (2*n + maxPoints - 1) / maxPoints
	return per + per%2
}

// gap reports whether v is no number that a chart can show: rounded to five digits,
// the largest ones have none in JSON.
func gap(v float64) bool { return math.IsNaN(v) || math.Abs(v) > 1e300 }

// thin returns n values in buckets of per: the lowest and the highest of each in the
// order they came, so that no peak is lost. What values lacks of n is a gap.
func thin(values []float64, n, per int) []float64 {
	values = slices.Clone(values)
	for i, v := range values {
		if gap(v) {
			values[i] = math.NaN()
		}
	}
	for len(values) < n {
		values = append(values, math.NaN())
	}
	if per <= 1 {
		return values
	}
	out := make([]float64, 0, maxPoints)
	for bucket := range slices.Chunk(values, per) {
		low, high := -1, -1
		for i, v := range bucket {
			if math.IsNaN(v) {
				continue
			}
			if low < 0 || v < bucket[low] {
				low = i
			}
			if high < 0 || v > bucket[high] {
				high = i
			}
		}
		if low < 0 {
			out = append(out, math.NaN(), math.NaN())
			continue
		}
		out = append(out, bucket[min(low, high)], bucket[max(low, high)])
	}
	return out
}

// column is the values of one series as chart.js reads them: five digits, and null
// for what JSON has no number for.
type column []float64

// MarshalJSON implements json.Marshaler.
func (c column) MarshalJSON() ([]byte, error) {
	b := []byte{'['}
	for i, v := range c {
		if i > 0 {
			b = append(b, ',')
		}
		if gap(v) {
			b = append(b, "null"...)
			continue
		}
		b = strconv.AppendFloat(b, v, 'g', 5, 64)
	}
	return append(b, ']'), nil
}

// drawing is a chart as chart.js reads it. Its names are short because it is sent
// each time that a number changes.
type drawing struct {
	Unit   string  `json:"u,omitempty"`
	From   int64   `json:"f"`           // of the first value
	Step   float64 `json:"d"`           // seconds between two
	To     int64   `json:"e"`           // where the drawing ends
	Offset int     `json:"z,omitempty"` // seconds east of UTC
	Zone   string  `json:"n,omitempty"`
	Size   string  `json:"h,omitempty"`
	Top    float64 `json:"y,omitempty"`
	Series [][]any `json:"s"`           // name, class, form, values
	Band   []any   `json:"b,omitempty"` // name, class, low, high
	Marks  [][]any `json:"m,omitempty"` // second, text, kind
}

// JSON is what chart.js draws.
func (c chart) JSON() (string, error) {
	n := c.length()
	d := drawing{Unit: c.Unit, From: c.From, Step: c.step(n), To: max(c.To, c.From+1), Offset: c.Offset, Zone: c.Zone, Size: c.Size, Top: c.Top, Series: [][]any{}}
	if per := perBucket(n); per > 1 {
		d.Step *= float64(per) / 2
	}
	c = c.drawn()
	for _, s := range c.Series {
		d.Series = append(d.Series, []any{s.Name, s.Class, s.Form, column(s.Values)})
	}
	if c.Band.Low != nil {
		d.Band = []any{c.Band.Name, c.Band.Class, column(c.Band.Low), column(c.Band.High)}
	}
	for _, m := range c.Marks {
		d.Marks = append(d.Marks, []any{m.At, m.Text, m.Kind})
	}
	b, err := json.Marshal(d)
	if err != nil {
		return "", fmt.Errorf("web: chart %s: %w", c.ID, err)
	}
	return string(b), nil
}

// Legend is what each line of the chart is, for who has no script.
func (c chart) Legend() []series {
	out := make([]series, 0, len(c.Series))
	for _, s := range c.Series {
		if c.Band.Low != nil && c.Band.Class == s.Class {
			s.Name += " (band: " + c.Band.Name + ")"
		}
		out = append(out, s)
	}
	return out
}

// maxRows is how many rows the table of a chart has.
const maxRows = 20

// numbers is the table of a chart.
type numbers struct {
	Caption string
	Head    []string // of each column but the first, which is the time
	Rows    []numberRow
	Foot    []numberRow // the lowest and the highest of all, not of the rows
}

type numberRow struct {
	Head  string
	Cells []string
}

// Numbers returns the chart as a table: each of its values if they are few, else
// some at equal distances.
func (c chart) Numbers() numbers {
	n := c.length()
	each := max(1, (n+maxRows-1)/maxRows)
	out := numbers{Caption: c.Title}
	if c.Unit != "" {
		out.Caption += ", " + c.Unit
	}
	for _, s := range c.Series {
		out.Head = append(out.Head, s.Name)
	}
	zone := time.FixedZone(c.Zone, c.Offset)
	layout := "15:04:05"
	if c.To-c.From > 24*60*60 {
		layout = "2006-01-02 15:04"
	}
	step := c.step(n)
	for i := 0; i < n; i += each {
		at := time.Unix(c.From+int64(float64(i)*step), 0).In(zone)
		row := numberRow{Head: at.Format(layout)}
		for _, s := range c.Series {
			row.Cells = append(row.Cells, cellOf(s.Values, i))
		}
		out.Rows = append(out.Rows, row)
	}
	if n > 1 {
		low, high := numberRow{Head: "lowest"}, numberRow{Head: "highest"}
		for _, s := range c.Series {
			l, h := extremes(s.Values)
			low.Cells, high.Cells = append(low.Cells, short(l)), append(high.Cells, short(h))
		}
		out.Foot = []numberRow{low, high}
	}
	return out
}

func cellOf(values []float64, i int) string {
	if i >= len(values) {
		return short(math.NaN())
	}
	return short(values[i])
}

// extremes returns the lowest and the highest of values; NaN if there is none.
func extremes(values []float64) (low, high float64) {
	low, high = math.NaN(), math.NaN()
	for _, v := range values {
		if gap(v) {
			continue
		}
		if math.IsNaN(low) || v < low {
			low = v
		}
		if math.IsNaN(high) || v > high {
			high = v
		}
	}
	return low, high
}

// short writes a number with the digits that matter; a gap is a dash.
func short(v float64) string {
	switch a := math.Abs(v); {
	case gap(v):
		return "–"
	case a != 0 && a < 0.095:
		return strconv.FormatFloat(v, 'g', 2, 64)
	case a < 9.95:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 0, 64)
}

// zone returns the server's zone at t: for the Offset and the Zone of a chart.
func zone(t time.Time) (offset int, name string) {
	name, offset = t.Local().Zone()
	return offset, name
}
