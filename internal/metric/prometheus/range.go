package prometheus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
)

// Bounds of what a person asks.
const (
	maxExpr   = 8 << 10
	maxAnswer = 8 << 20 // bytes
	mostLines = 50      // that are told; of more, how many there are
	mostSteps = 1000    // of a line
)

// RangeQuery is any expression over time. It changes nothing: the server only
// evaluates it.
type RangeQuery struct {
	Expr        string
	First, Last time.Time // both included
	Step        time.Duration
}

// RangeAnswer is what an expression evaluates to.
type RangeAnswer struct {
	Lines    []RangeLine
	More     int      // lines that are not among them
	Natives  int      // values that are whole histograms, which are no numbers
	Warnings []string // of the server
}

// RangeLine is one series, oldest value first. A step without a value is not in it.
type RangeLine struct {
	Labels []metric.Label // by name; that of the metric is __name__
	Points []RangePoint
}

// RangePoint is one value.
type RangePoint struct {
	At    int64 // Unix second
	Value float64
}

// Range evaluates an expression for a person to look at. What the server says
// against it is an error of the field query, in its own words.
func (d *Driver) Range(ctx context.Context, q RangeQuery) (RangeAnswer, error) {
	if err := q.check(); err != nil {
		return RangeAnswer{}, err
	}
	ctx, stop := context.WithTimeout(ctx, callTime)
	defer stop()
	a, err := d.ask(ctx, call{"/api/v1/query_range", url.Values{
		"query": {q.Expr},
		"start": {strconv.FormatInt(q.First.Unix(), 10)}, "end": {strconv.FormatInt(q.Last.Unix(), 10)},
		"step": {strconv.FormatInt(int64(q.Step/time.Second), 10)},
	}, maxAnswer})
	var said *answerError
	switch {
	case errors.As(err, &said) && said.status/100 == 4 && said.status != http.StatusUnauthorized && said.status != http.StatusForbidden:
		return RangeAnswer{}, delivery.InvalidNext("query", said.text, "https://prometheus.io/docs/prometheus/latest/querying/basics/ says how to ask")
	case errors.Is(err, errTooMuch):
		return RangeAnswer{}, delivery.InvalidNext("query", err.Error(), "add labels, or sum it up: sum by (release) (...)")
	case err != nil:
		return RangeAnswer{}, err
	}
	return a.told(), nil
}

func (q RangeQuery) check() error {
	switch {
	case strings.TrimSpace(q.Expr) == "":
		return delivery.InvalidNext("query", "is empty", "write an expression, such as sum by (release) (rate(http_requests_total[1m]))")
	case len(q.Expr) > maxExpr:
		return delivery.Invalid("query", fmt.Sprintf("has %d bytes; %d are the most", len(q.Expr), maxExpr))
	case q.Step < time.Second || q.Step%time.Second != 0:
		return delivery.Invalid("step", fmt.Sprintf("is %s; it is whole seconds, 1s at least", q.Step))
	case q.Last.Before(q.First):
		return delivery.Invalid("last", "is before first")
	case q.Last.Sub(q.First)/q.Step >= mostSteps:
		return delivery.Invalid("step", fmt.Sprintf("of %s makes more than %d points", q.Step, mostSteps))
	}
	return nil
}

// told makes an answer fit to be looked at: by labels, and no longer than it may be.
func (a answer) told() RangeAnswer {
	out := RangeAnswer{Warnings: a.warnings, More: max(0, len(a.series)-mostLines)}
	for _, s := range a.series {
		line := RangeLine{}
		for name, value := range s.labels {
			line.Labels = append(line.Labels, metric.Label{Name: name, Value: value})
		}
		slices.SortFunc(line.Labels, func(a, b metric.Label) int { return strings.Compare(a.Name, b.Name) })
		for _, x := range s.samples {
			switch {
			case x.hist != nil:
				out.Natives++
			case !math.IsNaN(x.value) && !math.IsInf(x.value, 0):
				line.Points = append(line.Points, RangePoint{x.at / 1000, x.value})
			}
		}
		out.Lines = append(out.Lines, line)
	}
	slices.SortFunc(out.Lines, func(a, b RangeLine) int {
		return slices.CompareFunc(a.Labels, b.Labels, func(a, b metric.Label) int {
			return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Value, b.Value))
		})
	})
	out.Lines = out.Lines[:len(out.Lines)-out.More]
	return out
}
