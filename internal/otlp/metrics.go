package otlp

import (
	"fmt"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
)

// noValue is the flag of a point that only says that its series ended.
const noValue = uint32(metricspb.DataPointFlags_DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK)

// metrics takes in an ExportMetricsServiceRequest, which is a MetricsData on the wire.
func (v *Receiver) metrics(f form, body []byte, who Sender) (taken, error) {
	var t taken
	if who.Plane {
		return t, fmt.Errorf("the data plane's counts come another way")
	}
	data := &metricspb.MetricsData{}
	if err := decode(f, body, data); err != nil {
		return t, err
	}
	r := &reading{t: &t, owner: metric.Series{From: delivery.FromService, Service: who.Service, Env: who.Env, Release: who.Release, Instance: string(who.Instance)}}
	for _, resource := range data.GetResourceMetrics() {
		lie := foreign(resource.GetResource().GetAttributes(), who)
		for _, scope := range resource.GetScopeMetrics() {
			for _, m := range scope.GetMetrics() {
				if lie != "" {
					t.refuse(pointsOf(m), lie)
					continue
				}
				r.metric(m)
			}
		}
	}
	if len(r.out) > 0 {
		refused, why := v.o.Metrics.Add(r.out)
		t.refuse(refused, why)
	}
	return t, nil
}

// foreign says why what a resource says of itself is not what its token says.
func foreign(attrs []*commonpb.KeyValue, who Sender) string {
	for _, a := range attrs {
		said := text(a.GetValue())
		switch {
		case a.GetKey() == "slipway.release" && said != string(who.Release):
			return fmt.Sprintf("it says that it is of release %.40s, and its token is of %s", said, who.Release)
		case a.GetKey() == "slipway.instance" && said != string(who.Instance):
			return fmt.Sprintf("it says that it is of instance %.80s, and its token is of %s", said, who.Instance)
		}
	}
	return ""
}

// reading turns the points of one request into samples.
type reading struct {
	owner metric.Series
	out   []metric.Sample
	t     *taken
}

// pointsOf counts the points of a metric.
func pointsOf(m *metricspb.Metric) int {
	return len(m.GetGauge().GetDataPoints()) + len(m.GetSum().GetDataPoints()) + len(m.GetHistogram().GetDataPoints()) +
		len(m.GetExponentialHistogram().GetDataPoints()) + len(m.GetSummary().GetDataPoints())
}

func (r *reading) metric(m *metricspb.Metric) {
	if m.GetName() == "" {
		r.t.refuse(max(pointsOf(m), 1), "a metric has no name")
		return
	}
	switch data := m.GetData().(type) {
	case *metricspb.Metric_Gauge:
		r.numbers(nameOf(m, false), metric.Gauge, false, data.Gauge.GetDataPoints())
	case *metricspb.Metric_Sum:
		r.sum(m, data.Sum)
	case *metricspb.Metric_Histogram:
		r.histogram(m, data.Histogram)
	case *metricspb.Metric_ExponentialHistogram:
		r.exponential(m, data.ExponentialHistogram)
	case *metricspb.Metric_Summary:
		r.summary(m, data.Summary)
	}
}

// moment is what every kind of point has.
type moment interface {
	GetAttributes() []*commonpb.KeyValue
	GetStartTimeUnixNano() uint64
	GetTimeUnixNano() uint64
	GetFlags() uint32
}

// sample begins a sample of a point.
func (r *reading) sample(name string, k metric.SeriesKind, p moment, more ...metric.Label) metric.Sample {
	s := metric.Sample{Series: r.owner.Named(name, append(labels(p.GetAttributes()), more...)), Kind: k, At: at(p.GetTimeUnixNano())}
	if k != metric.Gauge {
		s.Since = at(p.GetStartTimeUnixNano())
	}
	return s
}

// keep hands a sample on, if its numbers can be.
func (r *reading) keep(s metric.Sample) {
	why := s.Wrong()
	switch {
	case why != "":
		why = s.Name + " " + why
	case s.At.IsZero():
		why = s.Name + " has no time"
	case s.Delta && !s.Since.Before(s.At):
		why = s.Name + " is a delta of no time"
	}
	if why != "" {
		r.t.refuse(1, why)
		return
	}
	r.out = append(r.out, s)
}

func (r *reading) sum(m *metricspb.Metric, s *metricspb.Sum) {
	delta, ok := temporality(s.GetAggregationTemporality())
	name := nameOf(m, s.GetIsMonotonic())
	switch {
	case !ok:
		r.t.refuse(len(s.GetDataPoints()), name+" does not say whether it is cumulative")
	case s.GetIsMonotonic():
		r.numbers(name, metric.Counter, delta, s.GetDataPoints())
	case delta:
		r.t.refuse(len(s.GetDataPoints()), name+" may fall, and says only by how much it changed; send it cumulative")
	default:
		r.numbers(name, metric.Gauge, false, s.GetDataPoints())
	}
}

func temporality(t metricspb.AggregationTemporality) (delta, ok bool) {
	return t == metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA, t == metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA ||
		t == metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE
}

func (r *reading) numbers(name string, k metric.SeriesKind, delta bool, points []*metricspb.NumberDataPoint) {
	for _, p := range points {
		if p.GetFlags()&noValue != 0 {
			continue
		}
		s := r.sample(name, k, p)
		s.Delta = delta
		switch v := p.GetValue().(type) {
		case *metricspb.NumberDataPoint_AsDouble:
			s.Value = v.AsDouble
		case *metricspb.NumberDataPoint_AsInt:
			s.Value = float64(v.AsInt)
		default:
			r.t.refuse(1, name+" has no value")
			continue
		}
		r.keep(s)
	}
}

// summary becomes what Prometheus makes of it: a gauge a quantile, and two counters.
func (r *reading) summary(m *metricspb.Metric, s *metricspb.Summary) {
	name := nameOf(m, false)
	for _, p := range s.GetDataPoints() {
		if p.GetFlags()&noValue != 0 {
			continue
		}
		n, sum := r.sample(name+"_count", metric.Counter, p), r.sample(name+"_sum", metric.Counter, p)
		n.Value, sum.Value = float64(p.GetCount()), p.GetSum()
		r.keep(n)
		r.keep(sum)
		for _, q := range p.GetQuantileValues() {
			g := r.sample(name, metric.Gauge, p, metric.Label{Name: "quantile", Value: fmt.Sprint(q.GetQuantile())})
			g.Value = q.GetValue()
			r.keep(g)
		}
	}
}

func at(nano uint64) time.Time {
	if nano == 0 || nano > 1<<62 {
		return time.Time{}
	}
	return time.Unix(0, int64(nano))
}
