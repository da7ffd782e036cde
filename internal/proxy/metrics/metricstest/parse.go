// Package metricstest reads the Prometheus text format strictly, for tests. It
// accepts less than Prometheus does: whatever its documentation asks of a good
// exposition is an error when it is missing.
package metricstest

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Metrics are the samples of an exposition by name and labels, as
// `name{a="b",c="d"}` with labels in the order they were written.
type Metrics map[string]float64

// Sum adds the samples of name whose labels hold all of those, each `a="b"`.
func (m Metrics) Sum(name string, labels ...string) float64 {
	var sum float64
series:
	for s, v := range m {
		if n, _, _ := strings.Cut(s, "{"); n != name {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(s, "{"+l) && !strings.Contains(s, ","+l) {
				continue series
			}
		}
		sum += v
	}
	return sum
}

var (
	nameRule  = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	lineRule  = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(.*)\})? (\S+)$`)
	labelRule = regexp.MustCompile(`^([a-z][a-z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)`)
)

// Parse reads an exposition. The test fails unless each family has its help and
// type once, before its samples, which stand together; counters end in "_total"
// and nothing else does; names and labels keep the rules and no series is there
// twice; counters are not negative; buckets rise to "+Inf", which is the count.
func Parse(t testing.TB, text string) Metrics {
	t.Helper()
	p := parser{t: t, out: Metrics{}, done: map[string]bool{}}
	if !strings.HasSuffix(text, "\n") {
		t.Fatalf("the exposition does not end with a line break")
	}
	for line := range strings.Lines(text) {
		p.line(strings.TrimSuffix(line, "\n"))
	}
	p.end()
	return p.out
}

type parser struct {
	t                testing.TB
	out              Metrics
	done             map[string]bool
	name, kind, help string
	samples          int
	buckets          map[string][]bucket // by labels without le
	counts           map[string]float64
}

type bucket struct{ edge, n float64 }

func (p *parser) line(line string) {
	p.t.Helper()
	if rest, ok := strings.CutPrefix(line, "# HELP "); ok {
		p.end()
		p.name, p.help, _ = strings.Cut(rest, " ")
		if p.help == "" || p.done[p.name] || !nameRule.MatchString(p.name) {
			p.t.Fatalf("%q: no help, there twice, or against the naming rules", line)
		}
		return
	}
	if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
		name, kind, _ := strings.Cut(rest, " ")
		if name != p.name || p.kind != "" || kind != "counter" && kind != "gauge" && kind != "histogram" {
			p.t.Fatalf("%q after help for %q", line, p.name)
		}
		if (kind == "counter") != strings.HasSuffix(name, "_total") {
			p.t.Fatalf("%q: counters, and only they, end in _total", line)
		}
		p.kind = kind
		return
	}
	p.sample(line)
}

func (p *parser) sample(line string) {
	p.t.Helper()
	m := lineRule.FindStringSubmatch(line)
	if m == nil {
		p.t.Fatalf("%q is no sample", line)
	}
	name, labels := m[1], m[3]
	v, err := strconv.ParseFloat(m[4], 64)
	if err != nil || math.IsNaN(v) || v < 0 && p.kind != "gauge" {
		p.t.Fatalf("%q has no good value", line)
	}
	suffix, ours := strings.CutPrefix(name, p.name)
	if !ours || p.kind == "" || (p.kind == "histogram") != (suffix == "_bucket" || suffix == "_sum" || suffix == "_count") || p.kind != "histogram" && suffix != "" {
		p.t.Fatalf("%q within the %s %s", line, p.kind, p.name)
	}
	key := name
	if m[2] != "" {
		key += "{" + labels + "}"
	}
	if _, twice := p.out[key]; twice {
		p.t.Fatalf("%s is there twice", key)
	}
	p.out[key] = v
	p.samples++
	p.histogram(suffix, p.labels(line, labels), v)
}

// labels checks the labels of a line and returns them by name.
func (p *parser) labels(line, labels string) map[string]string {
	p.t.Helper()
	out := map[string]string{}
	for labels != "" {
		m := labelRule.FindStringSubmatch(labels)
		if m == nil || m[3] == "," && len(m[0]) == len(labels) {
			p.t.Fatalf("%q: labels %q", line, labels)
		}
		if _, twice := out[m[1]]; twice {
			p.t.Fatalf("%q: label %s is there twice", line, m[1])
		}
		out[m[1]] = m[2]
		labels = labels[len(m[0]):]
	}
	return out
}

func (p *parser) histogram(suffix string, labels map[string]string, v float64) {
	p.t.Helper()
	le, there := labels["le"]
	if there != (suffix == "_bucket") {
		p.t.Fatalf("%s%s %v: a label le", p.name, suffix, labels)
	}
	delete(labels, "le")
	key := fmt.Sprint(labels)
	switch suffix {
	case "_bucket":
		edge, err := strconv.ParseFloat(le, 64)
		if err != nil {
			p.t.Fatalf("%s: edge %q", p.name, le)
		}
		p.buckets[key] = append(p.buckets[key], bucket{edge, v})
	case "_count":
		p.counts[key] = v
	}
}

// end checks the family that is over.
func (p *parser) end() {
	p.t.Helper()
	if p.name != "" && p.kind == "" {
		p.t.Fatalf("%s has no type", p.name)
	}
	for labels, all := range p.buckets {
		for i := 1; i < len(all); i++ {
			if all[i].edge <= all[i-1].edge || all[i].n < all[i-1].n {
				p.t.Fatalf("%s%s: buckets do not rise: %v", p.name, labels, all)
			}
		}
		if last := all[len(all)-1]; !math.IsInf(last.edge, 1) || last.n != p.counts[labels] {
			p.t.Fatalf("%s%s: the last bucket is %v, the count %v", p.name, labels, last, p.counts[labels])
		}
	}
	if len(p.buckets) != len(p.counts) {
		p.t.Fatalf("%s: %d histograms and %d counts", p.name, len(p.buckets), len(p.counts))
	}
	p.done[p.name] = true
	p.name, p.kind, p.help = "", "", ""
	p.buckets, p.counts = map[string][]bucket{}, map[string]float64{}
}
