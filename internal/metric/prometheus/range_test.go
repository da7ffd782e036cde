package prometheus_test

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
	"github.com/slipway-cd/slipway/internal/metric/prometheus"
	"github.com/slipway-cd/slipway/internal/metric/prometheus/prometheustest"
)

// The real Prometheus evaluates what a person asks, and says in its own words what
// is wrong with it.
func TestRange(t *testing.T) {
	t.Parallel()
	server := prometheustest.Start(t, "")
	d, end := driver(t, server.URL), time.Now().Truncate(time.Minute)
	var all []prometheustest.Series
	for i := range 60 {
		s := prometheustest.Series{Labels: map[string]string{"__name__": "orders", "shop": fmt.Sprintf("s%02d", i), "release": fmt.Sprintf("r%d", 1+i%2)}}
		for k := range 13 {
			s.Times, s.Values = append(s.Times, end.Add(time.Duration(k-12)*10*time.Second)), append(s.Values, float64(k))
		}
		all = append(all, s)
	}
	native := prometheustest.Series{Labels: map[string]string{"__name__": "waits"}}
	for k := range 13 {
		native.Times, native.Natives = append(native.Times, end.Add(time.Duration(k-12)*10*time.Second)), append(native.Natives, prometheustest.Native{Counts: []uint64{1, uint64(k)}, Sum: 1})
	}
	server.Write(append(all, native))
	q := prometheus.RangeQuery{Expr: "sum by (release) (orders)", First: end.Add(-20 * time.Second), Last: end, Step: 10 * time.Second}
	at := q.First.Unix()
	want := []prometheus.RangeLine{
		{Labels: []metric.Label{{Name: "release", Value: "r1"}}, Points: []prometheus.RangePoint{{At: at, Value: 300}, {At: at + 10, Value: 330}, {At: at + 20, Value: 360}}},
		{Labels: []metric.Label{{Name: "release", Value: "r2"}}, Points: []prometheus.RangePoint{{At: at, Value: 300}, {At: at + 10, Value: 330}, {At: at + 20, Value: 360}}},
	}
	got, err := d.Range(t.Context(), q)
	if err != nil || !reflect.DeepEqual(got.Lines, want) || got.More != 0 {
		t.Errorf("Range = %+v, %v; want %+v", got, err, want)
	}
	q.Expr = "orders"
	if got, err := d.Range(t.Context(), q); err != nil || len(got.Lines) != 50 || got.More != 10 || got.Lines[0].Labels[0] != (metric.Label{Name: "__name__", Value: "orders"}) {
		t.Errorf("Range of 60 lines has %d and %d more, %v", len(got.Lines), got.More, err)
	}
	q.Expr = "vector(1) / 0"
	if got, err := d.Range(t.Context(), q); err != nil || len(got.Lines) != 1 || len(got.Lines[0].Points) != 0 {
		t.Errorf("Range of what is infinite = %+v, %v; want a line without points", got, err)
	}
	q.Expr = "waits"
	if got, err := d.Range(t.Context(), q); err != nil || got.Natives != 3 || len(got.Lines[0].Points) != 0 {
		t.Errorf("Range of whole histograms = %+v, %v; want to be told of 3", got, err)
	}
	for expr, says := range map[string]string{
		"sum(orders":   "unclosed left parenthesis",
		"rate(orders)": "expected type range vector",
		`label_replace(orders, "shop", "x", "shop", ".*")`: "same labelset",
		" ":                              "write an expression",
		strings.Repeat("x+", 5000) + "x": "8192",
	} {
		q.Expr = expr
		if _, err := d.Range(t.Context(), q); !errors.Is(err, delivery.ErrInvalid) || !strings.Contains(fmt.Sprint(err)+next(err), says) {
			t.Errorf("Range(%.40q) = %v, want that it is invalid: %s", expr, err, says)
		}
	}
}

func next(err error) string {
	if bad, ok := errors.AsType[*delivery.FieldError](err); ok {
		return bad.Next
	}
	return ""
}

// What a person asks is bounded, and a server that is in trouble is not their mistake.
func TestRangeBounds(t *testing.T) {
	t.Parallel()
	long := strings.Repeat(" ", 9<<20)
	now := time.Now()
	good := prometheus.RangeQuery{Expr: "up", First: now.Add(-time.Minute), Last: now, Step: time.Second}
	for what, c := range map[string]struct {
		answer  http.HandlerFunc
		spoil   func(*prometheus.RangeQuery)
		invalid bool
		says    string
	}{
		"too long":   {say(200, long), nil, true, "longer than 8 MiB"},
		"no right":   {say(403, `{"status":"error","errorType":"forbidden","error":"who are you"}`), nil, false, "who are you"},
		"in trouble": {say(503, `{"status":"error","errorType":"unavailable","error":"starting up"}`), nil, false, "starting up"},
		"fine steps": {say(500, ""), func(q *prometheus.RangeQuery) { q.Step = time.Millisecond }, true, "whole seconds"},
		"backwards":  {say(500, ""), func(q *prometheus.RangeQuery) { q.Last = q.First.Add(-time.Second) }, true, "before first"},
		"many steps": {say(500, ""), func(q *prometheus.RangeQuery) { q.First = q.Last.Add(-24 * time.Hour) }, true, "more than 1000 points"},
	} {
		q := good
		if c.spoil != nil {
			c.spoil(&q)
		}
		if _, err := answering(t, c.answer).Range(t.Context(), q); err == nil || errors.Is(err, delivery.ErrInvalid) != c.invalid || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: Range = %v, want %q", what, err, c.says)
		}
	}
}
