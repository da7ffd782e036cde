package analysis

import (
	"fmt"
	"math"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// metrics are the tests of the policy's metrics.
type metrics struct {
	all      []judgedMetric
	index    map[string]int
	deciding int // how many may fail a rollout
	begun    bool
	first    int64 // second of the rollout
	now      int64
	fresh    int64 // last second in which instances were fresh
}

// judgedMetric is one metric, its test, and what became of its readings.
type judgedMetric struct {
	delivery.Metric
	test   metricTest
	had    bool
	last   int64   // second of the newest reading that was judged
	step   float64 // units, values or exposure of the canary in this step
	wrong  string  // why the newest reading was not judged; "" if it was
	left   int     // readings that were refused
	cold   int     // readings that were left out because instances were fresh
	approx bool
}

// silence is how long a metric may have no data before it is missing: a minute,
// or four readings of a source that is asked less often.
func (m *judgedMetric) silence() int64 {
	return max(60, 4*int64(m.Every/time.Second))
}

func newMetrics(p delivery.JudgePolicy) metrics {
	s := metrics{index: make(map[string]int, len(p.Metrics)), fresh: math.MinInt64}
	for i, m := range p.Metrics {
		s.all = append(s.all, judgedMetric{Metric: m, test: newMetricTest(m, p)})
		s.index[m.Name] = i
		if m.Role != delivery.Watch {
			s.deciding++
		}
	}
	return s
}

// observe takes the readings of a block. One of a metric that the policy does
// not have is not looked at.
func (s *metrics) observe(b Block) {
	if !s.begun {
		s.begun, s.first = true, b.Second
	}
	s.now = b.Second
	if b.Fresh {
		s.fresh = b.Second
	}
	for _, r := range b.Readings {
		if i, ok := s.index[r.Metric]; ok {
			s.all[i].observe(r, b.Second, s.fresh)
		}
	}
}

func (m *judgedMetric) observe(r Reading, second, fresh int64) {
	from := second - int64(max(r.Seconds, 1)) // the reading covers what is after it
	switch {
	case r.Wrong == "" && m.had && from < m.last:
		m.refuse("it covers seconds that were judged before")
		return
	case m.Kind == delivery.KindLatency && fresh > from:
		m.cold++
		return
	}
	refused := m.test.refused()
	m.test.observe(r)
	if m.test.refused() > refused {
		m.refuse(m.test.wrong())
		return
	}
	if r.paired() {
		m.had, m.last, m.wrong = true, second, ""
		m.approx = m.approx || r.Approx
		m.step += r.Canary.N
	}
}

func (m *judgedMetric) refuse(why string) {
	m.wrong = why
	m.left++
}

// evidence is the log of the average over the metrics that may fail a rollout.
func (s *metrics) evidence() float64 {
	top := math.Inf(-1)
	for i := range s.all {
		if m := &s.all[i]; m.Role != delivery.Watch {
			top = max(top, m.test.evidence())
		}
	}
	sum := 0.0
	for i := range s.all {
		if m := &s.all[i]; m.Role != delivery.Watch {
			sum += math.Exp(m.test.evidence() - top)
		}
	}
	return top + math.Log(sum/float64(s.deciding))
}

func (s *metrics) nextStep() {
	for i := range s.all {
		s.all[i].test.nextStep()
		s.all[i].step = 0
	}
}

// missing says why a metric has no data, and which data were left out; "" if
// nothing is missing. Absent is that there was none for too long.
func (s *metrics) missing(m *judgedMetric) (why string, absent bool) {
	switch {
	case !s.begun:
		return "", false
	case !m.had:
		why = fmt.Sprintf("no data since the rollout began %s ago", seconds(float64(s.now-s.first)))
		absent = s.now-s.first >= m.silence()
	case s.now-m.last >= m.silence():
		why = fmt.Sprintf("no data for %s, and before that there was", seconds(float64(s.now-m.last)))
		absent = true
	case m.left > 0:
		why = fmt.Sprintf("%s left out", plural(uint64(m.left), "reading"))
	}
	if m.wrong != "" {
		why += ": " + m.wrong
	}
	if m.cold > 0 {
		if why != "" {
			why += "; "
		}
		why += fmt.Sprintf("%s left out because instances were still warming up", plural(uint64(m.cold), "reading"))
	}
	return why, absent
}

// absentGuards lists the guards that have had no data for long.
func (s *metrics) absentGuards() []string {
	var names []string
	for i := range s.all {
		m := &s.all[i]
		if _, absent := s.missing(m); absent && m.Role == delivery.Guard {
			names = append(names, m.Name)
		}
	}
	return names
}

// refused says which metric has no data for too long though its policy asks for some.
func (s *metrics) refused() string {
	for i := range s.all {
		m := &s.all[i]
		if why, absent := s.missing(m); absent && m.NoData == delivery.Refuse && m.Role != delivery.Watch {
			return m.Name + " has " + why
		}
	}
	return ""
}

// proven says whether a required metric lets the release go on: what it proved
// in this step counts while it still has data.
func (s *metrics) proven(m *judgedMetric, passAt float64) bool {
	_, absent := s.missing(m)
	return m.had && !absent && m.step > 0 && m.step >= float64(m.AtLeast) && m.test.proof() >= math.Log(passAt)
}
