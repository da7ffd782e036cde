package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// chart is a plot of the canary against the baseline over time.
type chart struct {
	Title    string      // with the unit: "error rate %"
	From, To int64       // Unix seconds
	Canary   []float64   // one value for each part of the time; NaN where nothing is known
	Baseline []float64   // as long as Canary
	Marks    []chartMark // steps, in the order of time
	Back     int64       // second of the rollback; 0: none
	Room     int         // columns that the heading may take; 0: as many as it likes
}

// chartMark labels a moment.
type chartMark struct {
	Second int64
	Label  string
}

const (
	chartRows = 6  // values on the y axis
	gutter    = 10 // columns left of the plot
	widest    = 4  // columns of a second
	roomy     = 60 // columns that a short rollout is drawn in
	finest    = 0.001
	near      = 6 // columns that a label may be moved to the right
	trailing  = 5 // seconds that a value sums over at least, so that single requests do not make spikes
)

// chartOf draws the points of one rollout into as many parts as there are
// columns. latency picks the p95 over the error rate.
func chartOf(points []control.Point, latency bool, width int) chart {
	c := chart{Title: "error rate %"}
	if latency {
		c.Title = "p95 in ms"
	}
	if len(points) == 0 {
		return c
	}
	c.From, c.To = points[0].Second, points[len(points)-1].Second+1
	seconds := int(c.To - c.From)
	n := max(1, min(width-gutter, seconds*max(1, min(widest, roomy/seconds))))
	for i := range n {
		end := c.From + (int64(i)+1)*(c.To-c.From)/int64(n)
		end = max(end, c.From+1)
		begin := min(end-trailing, c.From+int64(i)*(c.To-c.From)/int64(n))
		c.Canary = append(c.Canary, level(points, begin, end, latency, func(p control.Point) control.Side { return p.Canary }))
		c.Baseline = append(c.Baseline, level(points, begin, end, latency, func(p control.Point) control.Side { return p.Stable }))
	}
	return c
}

// level is one arm from second begin to before end: bad units in a hundred, or
// the mean of the p95 of its seconds, weighted by their units, in milliseconds.
// It is NaN if the last second saw nothing and none of the others did.
func level(points []control.Point, begin, end int64, latency bool, arm func(control.Point) control.Side) float64 {
	var units, bad uint64
	var slow float64
	for _, p := range points {
		if p.Second < begin || p.Second >= end {
			continue
		}
		a := arm(p)
		units, bad, slow = units+a.Units, bad+a.Bad, slow+a.P95*float64(a.Units)
	}
	switch {
	case units == 0:
		return math.NaN()
	case latency:
		return slow / float64(units) * 1000
	}
	return float64(bad) / float64(units) * 100
}

// draw returns the lines of the plot.
func (c chart) draw(l look) []string {
	if len(c.Canary) == 0 {
		return nil
	}
	step := c.step()
	n := len(c.Canary)
	canvas := make([][]string, chartRows) // row 0 is at the top
	for i := range canvas {
		canvas[i] = strings.Split(strings.Repeat(" ", n), "")
	}
	c.dots(canvas, step, l)
	c.line(canvas, step, l)
	back := c.backAt()
	lines := []string{c.heading(back, l)}
	for i, row := range canvas {
		if back >= 0 {
			row[back] = l.in(toneBad, "┃")
		}
		value := step * float64(chartRows-1-i)
		lines = append(lines, fmt.Sprintf("%*s ┤ %s", gutter-3, tick(value, step), strings.TrimRight(strings.Join(row, ""), " ")))
	}
	return append(lines, c.axis(l))
}

// step is the value of one row: 1, 2 or 5 times a power of ten, so that the
// highest value fits.
func (c chart) step() float64 {
	top := 0.0
	for i := range c.Canary {
		top = math.Max(top, math.Max(known(c.Canary[i]), known(c.Baseline[i])))
	}
	if top == 0 {
		return 1
	}
	rough := top / (chartRows - 1)
	power := math.Pow(10, math.Floor(math.Log10(rough)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= rough*(1-1e-9) {
			return max(finest, m*power)
		}
	}
	return max(finest, 10*power)
}

func known(v float64) float64 {
	if math.IsNaN(v) {
		return 0
	}
	return v
}

// tick writes a value of the y axis with the digits that its step needs.
func tick(v, step float64) string {
	digits := max(0, int(math.Ceil(-math.Log10(step)-1e-9)))
	return strconv.FormatFloat(v, 'f', digits, 64)
}

func rowOf(v, step float64) int {
	return chartRows - 1 - int(math.Min(chartRows-1, math.Round(v/step)))
}

func (c chart) dots(canvas [][]string, step float64, l look) {
	for x, v := range c.Baseline {
		if !math.IsNaN(v) {
			canvas[rowOf(v, step)][x] = l.in(toneFaint, "·")
		}
	}
}

// line draws the canary as one line: corners where it changes rows.
func (c chart) line(canvas [][]string, step float64, l look) {
	put := func(row, x int, glyph string) { canvas[row][x] = l.in(toneCanary, glyph) }
	last := -1
	for x, v := range c.Canary {
		if math.IsNaN(v) {
			last = -1
			continue
		}
		row := rowOf(v, step)
		switch {
		case last < 0 || last == row:
			put(row, x, "─")
		case row < last: // up
			put(last, x, "╯")
			put(row, x, "╭")
		default:
			put(last, x, "╮")
			put(row, x, "╰")
		}
		for between := min(row, last) + 1; last >= 0 && between < max(row, last); between++ {
			put(between, x, "│")
		}
		last = row
	}
}

// column is where a second is drawn, or -1 outside the plot.
func (c chart) column(second int64) int {
	if second < c.From || second > c.To || c.To == c.From {
		return -1
	}
	return min(len(c.Canary)-1, int((second-c.From)*int64(len(c.Canary))/(c.To-c.From)))
}

func (c chart) backAt() int {
	if c.Back == 0 {
		return -1
	}
	return c.column(c.Back)
}

// heading is the line above the plot: what is plotted, the legend, and the
// moment of the rollback above its bar.
func (c chart) heading(back int, l look) string {
	margin := strings.Repeat(" ", gutter)
	legend := l.in(toneCanary, "─") + " canary  " + l.in(toneFaint, "·") + " baseline"
	text := c.Title + "   " + legend
	if back < 0 {
		return margin + text
	}
	label := "rollback " + time.Unix(c.Back, 0).Format(time.TimeOnly)
	flag := l.in(toneBad, "╭ ") + label
	fits := func(columns int) bool { return c.Room == 0 || gutter+columns <= c.Room }
	if !fits(columns(text) + 5 + columns(label)) {
		text = c.Title
	}
	if back >= columns(text)+2 && fits(back+columns(flag)) {
		return margin + pad(text, back) + flag
	}
	if back > columns(label)+2+columns(text) {
		return margin + pad(text, back-columns(label)-1) + label + l.in(toneBad, " ╮")
	}
	return margin + text + "   " + l.in(toneBad, "┃ ") + label
}

// axis is the line below the plot: when it begins, and the steps where they are.
// A label that would run into the one before is left out.
func (c chart) axis(l look) string {
	line := time.Unix(c.From, 0).Format("15:04")
	marks := c.Marks
	if c.Back != 0 {
		marks = append(append([]chartMark{}, marks...), chartMark{c.Back, "0 %"})
	}
	for _, m := range marks {
		x := c.column(m.Second)
		if x < 0 || columns(line) > x+near {
			continue
		}
		line = pad(line, max(x, columns(line)+1)) + m.Label
	}
	return strings.Repeat(" ", gutter) + l.in(toneFaint, line)
}

// pressing reports whether latency, not errors, is what speaks most against a release.
func pressing(v *delivery.Verdict) (latency bool) {
	if v == nil {
		return false
	}
	worst := 0.0
	for _, c := range v.Checks {
		weight := c.Against
		if c.FailAt > 0 {
			weight /= c.FailAt
		}
		if c.Outcome == delivery.Fail {
			weight += 1e9
		}
		if weight > worst {
			worst, latency = weight, c.Metric == "latency"
		}
	}
	return latency
}
