package delivery

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// What a count may be measured by beside a series of its own.
const (
	PerSeconds  = "seconds"  // instance-seconds
	PerRequests = "requests" // what the data plane carried
)

// Bounds on how often a server is asked.
const (
	leastEvery = time.Second
	mostEvery  = time.Hour
)

// Check refuses a metric that nobody could judge by: a *FieldError that names
// the field below at.
func (m Metric) Check(at string) error {
	if m.Builtin || m.Off {
		return nil
	}
	for _, err := range []*FieldError{m.checkWords(), m.checkSource(), m.checkSums(), m.checkMargins(), m.checkBounds()} {
		if err != nil {
			if at != "" {
				err.Field = at + "." + err.Field
			}
			return err
		}
	}
	return nil
}

// checkWords looks at the words that are chosen from a list.
func (m Metric) checkWords() *FieldError {
	switch {
	case m.Name == "":
		return InvalidNext("name", "the metric has no name", "give it one, such as failed_checkouts")
	case m.Kind == "":
		return InvalidNext("kind", "the metric has no kind", "say kind: share, count, latency, mean or level")
	case !slices.Contains([]MetricKind{KindShare, KindCount, KindLatency, KindMean, KindLevel}, m.Kind):
		return InvalidNext("kind", "there is no kind "+string(m.Kind), "say share, count, latency, mean or level")
	case !slices.Contains([]MetricSource{FromTraffic, FromWorkload, FromService, FromLogs, FromPrometheus}, m.From):
		return InvalidNext("from", "there is no source "+string(m.From), "say service, prometheus, workload, logs or traffic")
	case !slices.Contains([]Role{"", Required, Guard, Watch}, m.Role):
		return InvalidNext("role", "there is no role "+string(m.Role), "say required, guard or watch")
	case !slices.Contains([]Absence{"", Wait, Refuse}, m.NoData):
		return InvalidNext("no_data", "no data cannot mean "+string(m.NoData), "say wait or refuse; it never means a pass")
	case !slices.Contains([]Better{"", Lower, Higher}, m.Better):
		return InvalidNext("better", "a metric is not good when "+string(m.Better), "say lower or higher")
	case m.Better == Higher && m.Kind != KindMean && m.Kind != KindLevel:
		return InvalidNext("better", "a "+string(m.Kind)+" is good when it is low", "count what fails, and remove better")
	case m.NoData == Refuse && m.Role == Watch:
		return InvalidNext("no_data", "what is only watched refuses nothing", "remove it, or say role: guard")
	}
	return nil
}

// checkSource looks at what a source can answer.
func (m Metric) checkSource() *FieldError {
	switch m.From {
	case FromWorkload:
		kinds := map[string]MetricKind{"memory": KindLevel, "cpu": KindLevel, "restarts": KindCount}
		kind, known := kinds[m.Value]
		switch {
		case !known:
			return InvalidNext("value", fmt.Sprintf("what runs the instances has no %q", m.Value), "say memory, cpu or restarts")
		case kind != m.Kind:
			return InvalidNext("kind", fmt.Sprintf("%s is a %s, not a %s", m.Value, kind, m.Kind), "say kind: "+string(kind))
		}
	case FromService, FromPrometheus:
		if m.Value == "" {
			return InvalidNext("value", "the metric does not say which numbers", "say which series, such as value: checkout_failures_total")
		}
	case FromLogs:
		if m.Kind != KindCount {
			return InvalidNext("kind", "lines are counted", "say kind: count")
		}
		if !slices.Contains([]string{LinesAll, LinesWarn, LinesError}, m.Value) {
			return InvalidNext("value", fmt.Sprintf("of lines there is no %q", m.Value), "say error (that and above), warn, or lines for all")
		}
	case FromTraffic:
		if m.Value == "" {
			return InvalidNext("value", "the metric does not say which numbers of the data plane", "say which; errors and latency are judged already")
		}
	}
	if m.Every != 0 && m.From != FromPrometheus {
		return InvalidNext("every", "only a server that is asked has an interval", "remove it, or say from: prometheus")
	}
	if m.Every != 0 && (m.Every < leastEvery || m.Every > mostEvery) {
		return InvalidNext("every", fmt.Sprintf("must be from %s to %s, is %s", leastEvery, mostEvery, m.Every), "say 15s")
	}
	return nil
}

// checkSums looks at what a kind is measured by.
func (m Metric) checkSums() *FieldError {
	switch m.Kind {
	case KindShare, KindMean:
		if m.Per == "" && m.From != FromTraffic {
			what := map[MetricKind]string{KindShare: "all events, of which value is the bad ones", KindMean: "how many units value is summed over"}[m.Kind]
			return InvalidNext("per", fmt.Sprintf("a %s needs %s", m.Kind, what), "say which series, such as per: checkouts_total")
		}
	case KindLatency, KindLevel:
		if m.Per != "" {
			return InvalidNext("per", fmt.Sprintf("a %s is not measured by anything", m.Kind), "remove it")
		}
	case KindCount: // without per it is by requests
	}
	return nil
}

// checkMargins looks at what is tolerated.
func (m Metric) checkMargins() *FieldError {
	factor := func(f float64) bool { return f == 0 || f >= 1 && f <= 1000 }
	amount := func(f float64) bool { return f >= 0 && !math.IsInf(f, 0) }
	switch {
	case !factor(m.Ratio):
		return InvalidNext("ratio", fmt.Sprintf("must be at least 1 and at most 1000, is %v", m.Ratio), "1.2 tolerates a fifth more")
	case !factor(m.PromoteRatio):
		return InvalidNext("promote_ratio", fmt.Sprintf("must be at least 1 and at most 1000, is %v", m.PromoteRatio), "2 is proven below twice as much")
	case !amount(m.Add):
		return InvalidNext("add", fmt.Sprintf("must be a number that is not below zero, is %v", m.Add), "say how much above stable is tolerated")
	case !amount(m.PromoteAdd):
		return InvalidNext("promote_add", fmt.Sprintf("must be a number that is not below zero, is %v", m.PromoteAdd), "say how much above stable is still fit")
	case m.Ratio != 0 && m.PromoteRatio != 0 && m.PromoteRatio <= m.Ratio:
		return InvalidNext("promote_ratio", fmt.Sprintf("the margin of promotion, %v, must be wider than that of rollback, %v", m.PromoteRatio, m.Ratio), "raise it, or lower ratio")
	case m.Add != 0 && m.PromoteAdd != 0 && m.PromoteAdd <= m.Add:
		return InvalidNext("promote_add", fmt.Sprintf("the margin of promotion, %v, must be wider than that of rollback, %v", m.PromoteAdd, m.Add), "raise it, or lower add")
	case m.Kind == KindShare && (m.Add >= 1 || m.PromoteAdd >= 1):
		field := "add"
		if m.Add < 1 {
			field = "promote_add"
		}
		return InvalidNext(field, "a share is at most 1, so this tolerates everything", "0.01 is one in a hundred")
	}
	return nil
}

// checkBounds looks at what goes with one kind only.
func (m Metric) checkBounds() *FieldError {
	finite := func(f *float64) bool { return f == nil || !math.IsNaN(*f) && !math.IsInf(*f, 0) }
	switch {
	case m.Quantile != 0 && m.Kind != KindLatency:
		return InvalidNext("quantile", fmt.Sprintf("a %s has no quantiles", m.Kind), "remove it, or say kind: latency")
	case m.Quantile < 0 || m.Quantile >= 1 || math.IsNaN(m.Quantile):
		return InvalidNext("quantile", fmt.Sprintf("must be between 0 and 1, is %v", m.Quantile), "0.95 is what 95 of 100 stay within")
	case m.Low != nil && m.Kind != KindMean:
		return InvalidNext("low", fmt.Sprintf("only a mean has bounds, and this is a %s", m.Kind), "remove it")
	case m.High != nil && m.Kind != KindMean:
		return InvalidNext("high", fmt.Sprintf("only a mean has bounds, and this is a %s", m.Kind), "remove it")
	case (m.Low == nil) != (m.High == nil):
		field, other := "low", "high"
		if m.Low == nil {
			field, other = other, field
		}
		return InvalidNext(field, "one bound alone says nothing", "say "+other+" too, or remove it")
	case !finite(m.Low) || !finite(m.High) || m.Low != nil && *m.Low >= *m.High:
		return InvalidNext("low", "low must be below high, and both must be numbers", "say low: 0, high: 500")
	}
	return nil
}
