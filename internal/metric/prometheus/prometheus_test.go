package prometheus_test

import (
	"fmt"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
	"github.com/slipway-cd/slipway/internal/metric/metrictest"
	"github.com/slipway-cd/slipway/internal/metric/prometheus"
	"github.com/slipway-cd/slipway/internal/metric/prometheus/prometheustest"
	"github.com/slipway-cd/slipway/internal/porttest"
)

// The suite runs against one server; each case has a label of its own.
func TestDriver(t *testing.T) {
	t.Parallel()
	server := prometheustest.Start(t, "")
	n := 0
	metrictest.Run(t, func(t *testing.T) metrictest.Bench {
		n++
		return bench(t, server, strconv.Itoa(n))
	})
}

func bench(t *testing.T, server *prometheustest.Server, name string) metrictest.Bench {
	return metrictest.Bench{
		Driver: driver(t, server.URL), Broken: driver(t, "http://"+porttest.Free(t)),
		From: delivery.FromPrometheus, Now: time.Now().Unix(),
		Write: func(_ *testing.T, samples []metric.Sample) { server.Write(seriesOf(samples, name)) },
		Select: func(metric, match string) string {
			if match != "" {
				match += ", "
			}
			return fmt.Sprintf(`%s{%scase=%q, service="$service", env="$env", release="$release"}`, metric, match, name)
		},
	}
}

func driver(t *testing.T, url string) *prometheus.Driver {
	t.Helper()
	d, err := prometheus.New(delivery.Prometheus{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// seriesOf is what a Prometheus that scraped the instances has.
func seriesOf(samples []metric.Sample, name string) []prometheustest.Series {
	at := map[string]int{}
	var all []prometheustest.Series
	put := func(s metric.Sample, suffix, le string, v float64) {
		labels := map[string]string{
			"__name__": s.Name + suffix, "case": name, "service": s.Service, "env": s.Env, "release": string(s.Release),
			"job": "services", "instance": s.Instance,
		}
		if le != "" {
			labels["le"] = le
		}
		for _, l := range s.Labels {
			labels[l.Name] = l.Value
		}
		key := fmt.Sprint(labels)
		i, known := at[key]
		if !known {
			i = len(all)
			at[key] = i
			all = append(all, prometheustest.Series{Labels: labels})
		}
		all[i].Times = append(all[i].Times, s.At)
		all[i].Values = append(all[i].Values, v)
	}
	for _, s := range samples {
		if s.Kind != metric.Histogram {
			put(s, "", "", s.Value)
			continue
		}
		var below uint64
		for i, n := range s.Hist.Counts {
			edge := math.Inf(1)
			if i < len(s.Hist.Bounds) {
				edge = s.Hist.Bounds[i]
			}
			below += n
			put(s, "_bucket", strconv.FormatFloat(edge, 'g', -1, 64), float64(below))
		}
		put(s, "_count", "", float64(below))
		put(s, "_sum", "", s.Hist.Sum)
	}
	return all
}
