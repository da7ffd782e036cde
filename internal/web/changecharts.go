package web

import (
	"fmt"
	"math"
	"slices"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// chartsOf draws a rollout: errors with what is known of them, the share of the
// requests, and latency, all over the same time. Without numbers it says why.
func chartsOf(of changeFacts, weights []weighed) (charts []chart, none string) {
	r, t := of.Picked, of.Trail
	if of.Judged.Verdict == nil {
		return nil, "Charts compare a new release with the stable one. Here nothing was compared."
	}
	if len(t.Moments) < 2 {
		if r.State.Final() {
			return nil, "It was over before there was anything to draw."
		}
		return nil, "The first numbers are drawn in a few seconds."
	}
	first, last := t.Moments[0].Second, t.Moments[len(t.Moments)-1].Second
	if n := len(weights); n > 0 { // a way back is drawn when it was, though nothing is judged any more by then
		last = max(last, first+((weights[n-1].At.Unix()-first)/t.Every+1)*t.Every)
	}
	base := chart{From: first, To: last, Marks: marksOf(r, weights, first, last)}
	base.Offset, base.Zone = zone(of.Change.Submitted)
	n := int((last-first)/t.Every) + 1
	at := func(m control.Moment) int { return int((m.Second - first) / t.Every) }
	return []chart{errorChart(of, base, n, at), weightChart(of, base, n, weights), latencyChart(of, base, n, at)}, ""
}

// marksOf are the steps of a rollout and its way back, as far as they are drawn.
func marksOf(r delivery.Rollout, weights []weighed, first, last int64) []mark {
	var out []mark
	for _, w := range weights {
		at := min(max(w.At.Unix(), first), last)
		if w.Weight == 0 {
			out = append(out, mark{At: at, Text: "back", Kind: "back"})
			continue
		}
		if r.Plan.Strategy != delivery.Rolling || w.Weight == delivery.Full { // batches are many, and no decisions
			out = append(out, mark{At: at, Text: w.Weight.String(), Kind: "step"})
		}
	}
	return out
}

// gaps are n values that nobody knows.
func gaps(n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = math.NaN()
	}
	return out
}

// errorChart draws the error rates that the judge goes by: of all that it was told
// until then. The band is where it knows the new release's to be; it ends where the
// rates begin to move, as what was known until then is no longer so.
func errorChart(of changeFacts, c chart, n int, at func(control.Moment) int) chart {
	r := of.Picked
	stable, canary, low, high := gaps(n), gaps(n), gaps(n), gaps(n)
	moved := false
	for _, m := range of.Trail.Moments {
		e, i := m.Errors, at(m)
		if e == nil {
			continue
		}
		stable[i], canary[i] = 100*e.Stable, 100*e.Canary
		if moved = moved || drifted(e.Canary-e.Stable, bound(e.Low, e.Lowest, -1), bound(e.High, e.Highest, 1)); moved {
			continue
		}
		low[i], high[i] = 0, 100
		if e.Lowest {
			low[i] = 100 * max(0, e.Stable+e.Low)
		}
		if e.Highest {
			high[i] = 100 * min(1, e.Stable+e.High)
		}
	}
	for _, values := range [][]float64{stable, canary, low, high} {
		bridge(values)
	}
	top := ceiling(stable, canary)
	for i := range high {
		low[i], high[i] = min(low[i], top), min(high[i], top)
	}
	sure := fmt.Sprintf("%g %%", 100*(1-of.Judged.Policy.Alpha))
	c.ID, c.Title, c.Unit, c.Size, c.Top = "errors", "Error rate so far", "%", "tall", top
	c.Note = fmt.Sprintf("Of all requests judged so far, as the judge counts; not second by second. Band: the judge is %s sure that %s lies in it.", sure, inert(r.Version))
	c.Series = []series{
		{Name: "new " + inert(r.Version), Class: "canary", Values: canary},
		{Name: "stable " + inert(r.Was), Class: "stable", Values: stable},
	}
	c.Band = band{Name: sure + " sure", Class: "canary", Low: low, High: high}
	c.Sentence = lastSentence("Share of requests that failed so far", r, stable, canary, "%")
	if l, h, ok := lastPair(low, high); ok {
		c.Sentence += fmt.Sprintf(" The band ends between %s and %s %%.", short(l), short(h))
	}
	return c
}

func bound(v float64, known bool, otherwise float64) float64 {
	if known {
		return v
	}
	return otherwise
}

// ceiling is where an axis of percents ends so that both lines are well seen,
// whatever is not known yet.
func ceiling(lines ...[]float64) float64 {
	top := 0.0
	for _, values := range lines {
		if _, h := extremes(values); !math.IsNaN(h) {
			top = max(top, h)
		}
	}
	for _, nice := range []float64{1, 2, 5, 10, 20, 50} {
		if 1.4*top <= nice {
			return nice
		}
	}
	return 100
}

// bridge fills gaps between two known values with the earlier one: nothing was
// judged meanwhile, so nothing changed.
func bridge(values []float64) {
	last := -1
	for i, v := range values {
		if math.IsNaN(v) {
			continue
		}
		for k := last + 1; last >= 0 && k < i; k++ {
			values[k] = values[last]
		}
		last = i
	}
}

// weightChart draws the share of the requests that went to the new release.
func weightChart(of changeFacts, c chart, n int, weights []weighed) chart {
	values := make([]float64, n)
	next, now := 0, 0.0
	for i := range values {
		second := c.From + int64(i)*of.Trail.Every
		for next < len(weights) && weights[next].At.Unix() < second+of.Trail.Every {
			now = float64(weights[next].Weight) / 100
			next++
		}
		values[i] = now
	}
	c.ID, c.Title, c.Unit, c.Size, c.Top = "weight", "Share of requests to "+inert(of.Picked.Version), "%", "low", 100
	c.Series = []series{{Name: inert(of.Picked.Version), Class: "canary", Form: "steps", Values: values}}
	_, most := extremes(values)
	c.Sentence = fmt.Sprintf("%s got at most %s %% of the requests, and %s %% at the end of the drawing.", inert(of.Picked.Version), short(most), short(values[n-1]))
	return c
}

// latencyChart draws the 95th percentile of both releases, moment by moment.
func latencyChart(of changeFacts, c chart, n int, at func(control.Moment) int) chart {
	stable, canary := gaps(n), gaps(n)
	for _, m := range of.Trail.Moments {
		for _, side := range []struct {
			of     control.Side
			values []float64
		}{{m.Stable, stable}, {m.Canary, canary}} {
			if side.of.P95 > 0 {
				side.values[at(m)] = 1000 * side.of.P95
			}
		}
	}
	c.ID, c.Title, c.Unit = "latency", "95th percentile of latency", "ms"
	c.Series = []series{
		{Name: "new " + inert(of.Picked.Version), Class: "canary", Values: canary},
		{Name: "stable " + inert(of.Picked.Was), Class: "stable", Values: stable},
	}
	c.Sentence = lastSentence("Of a hundred requests the slowest but five took at most", of.Picked, stable, canary, "ms")
	return c
}

// lastSentence says where two lines end.
func lastSentence(what string, r delivery.Rollout, stable, canary []float64, unit string) string {
	return fmt.Sprintf("%s: %s on %s and %s on %s at the end.", what, ended(canary, unit), inert(r.Version), ended(stable, unit), inert(r.Was))
}

func ended(values []float64, unit string) string {
	for _, v := range slices.Backward(values) {
		if !math.IsNaN(v) {
			return short(v) + " " + unit
		}
	}
	return "nothing known"
}

func lastPair(low, high []float64) (l, h float64, ok bool) {
	for i, v := range slices.Backward(low) {
		if !math.IsNaN(v) && !math.IsNaN(high[i]) {
			return v, high[i], true
		}
	}
	return 0, 0, false
}
