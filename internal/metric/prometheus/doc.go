// Package prometheus is the metric driver for servers that answer PromQL over
// HTTP: Prometheus itself, and what speaks its API. It evaluates nothing: of
// series it reads the samples as they were scraped and counts what rose between
// two of them, so that nothing is extrapolated. Package metrictest judges it, on
// the real Prometheus.
//
// Sources: https://prometheus.io/docs/prometheus/latest/querying/api/ and
// https://prometheus.io/docs/specs/native_histograms/.
package prometheus
