package cli

import (
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// story is a canary that gets worse at its second step and goes back.
func story() []control.Point {
	begin := time.Date(2026, 3, 4, 14, 26, 0, 0, time.Local).Unix()
	var points []control.Point
	for i := range int64(60) {
		p := control.Point{Second: begin + i, Stable: control.Side{Units: 40, P95: 0.040}}
		if i%9 == 4 {
			p.Stable.Bad = 1
		}
		if i >= 5 && i < 45 {
			p.Canary = control.Side{Units: 20, P95: 0.050 + float64(i)/500}
			if i >= 20 {
				p.Canary.Bad = uint64(i-18) / 10
			}
		}
		points = append(points, p)
	}
	return points
}

func TestPlot(t *testing.T) {
	points := story()
	begin := points[0].Second
	var all []string
	for _, latency := range []bool{false, true} {
		c := chartOf(points, latency, 80)
		c.Marks = []chartMark{{begin + 5, "5 %"}, {begin + 20, "25 %"}, {begin + 21, "too near"}}
		all = append(all, c.draw(look{})...)
		c.Back = begin + 45
		all = append(all, c.draw(look{})...)
	}
	quiet := []control.Point{{Second: begin, Stable: control.Side{Units: 3}}, {Second: begin + 1, Canary: control.Side{Units: 1}}}
	all = append(all, chartOf(quiet, false, 80).draw(look{})...)
	golden(t, "plot.txt", strings.Join(all, "\n")+"\n")
	if got := chartOf(nil, false, 80).draw(look{}); got != nil {
		t.Errorf("a plot of nothing is %q", got)
	}
}

// Whatever was measured: the plot keeps to its width and its rows, and colour
// does not move anything.
func TestPlotKeepsItsShape(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		side := rapid.Custom(func(t *rapid.T) control.Side {
			units := rapid.Uint64Range(0, 50).Draw(t, "units")
			return control.Side{Units: units, Bad: rapid.Uint64Range(0, units).Draw(t, "bad"), P95: rapid.Float64Range(0, 100).Draw(t, "p95")}
		})
		begin := rapid.Int64Range(0, 1<<32).Draw(t, "begin")
		var points []control.Point
		for i := range rapid.Int64Range(1, 400).Draw(t, "seconds") {
			points = append(points, control.Point{Second: begin + i, Stable: side.Draw(t, "stable"), Canary: side.Draw(t, "canary")})
		}
		width := rapid.IntRange(20, 140).Draw(t, "width")
		c := chartOf(points, rapid.Bool().Draw(t, "latency"), width)
		if len(c.Canary) > width-gutter || len(c.Canary) != len(c.Baseline) {
			t.Fatalf("%d and %d values in %d columns", len(c.Canary), len(c.Baseline), width)
		}
		if back := rapid.Int64Range(0, 500).Draw(t, "back"); back > 0 {
			c.Back = begin + back
		}
		plain, colour := c.draw(look{}), c.draw(look{colour: true})
		if len(plain) != chartRows+2 || len(colour) != len(plain) {
			t.Fatalf("%d lines, want %d", len(plain), chartRows+2)
		}
		for i := range plain {
			if columns(colour[i]) != columns(plain[i]) {
				t.Fatalf("colour changes the width of %q", plain[i])
			}
			if i > 0 && i <= chartRows && columns(plain[i]) > width {
				t.Fatalf("%q is wider than %d", plain[i], width)
			}
		}
	})
}

// The highest value fits below the top of the plot and fills more than a third of it.
func TestPlotStep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		top := rapid.Float64Range(0.01, 1e5).Draw(t, "top")
		c := chart{Canary: []float64{top, math.NaN()}, Baseline: []float64{0, 0}}
		if full := c.step() * (chartRows - 1); full < top*(1-1e-6) || full > 2.6*top {
			t.Fatalf("the axis ends at %v for %v", full, top)
		}
	})
}

func TestPressing(t *testing.T) {
	for name, c := range map[string]struct {
		v    *delivery.Verdict
		want bool
	}{
		"nothing":  {nil, false},
		"errors":   {&delivery.Verdict{Checks: []delivery.Check{{Metric: "error rate", Against: 5, FailAt: 10}, {Metric: "latency", Against: 5, FailAt: 100}}}, false},
		"latency":  {&delivery.Verdict{Checks: []delivery.Check{{Metric: "error rate", Against: 5, FailAt: 100}, {Metric: "latency", Against: 5, FailAt: 10}}}, true},
		"the fail": {&delivery.Verdict{Checks: []delivery.Check{{Metric: "error rate", Against: 500, FailAt: 100}, {Metric: "latency", Against: 1, FailAt: 10, Outcome: delivery.Fail}}}, true},
	} {
		if got := pressing(c.v); got != c.want {
			t.Errorf("%s: latency %v, want %v", name, got, c.want)
		}
	}
}
