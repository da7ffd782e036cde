package control_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

func TestReadable(t *testing.T) {
	share := func(from delivery.MetricSource, value, per string) delivery.Metric {
		return delivery.Metric{Name: "lost", Kind: delivery.KindShare, From: from, Value: value, Per: per}
	}
	off := share(delivery.FromService, "lost_total{", "asked_total")
	off.Off = true
	server := delivery.Prometheus{URL: "http://127.0.0.1:9090"}
	cases := []struct {
		name   string
		m      delivery.Metric
		at     delivery.Prometheus
		field  string // empty: it can be read
		reason string
	}{
		{"a page", share(delivery.FromService, `orders_total{result="failed"}`, "orders_total"), delivery.Prometheus{}, "", ""},
		{"half a selector", share(delivery.FromService, "lost_total{", "asked_total"), delivery.Prometheus{}, "value", "the name of a label is missing"},
		{"half a selector of all", share(delivery.FromService, "lost_total", "asked_total{"), delivery.Prometheus{}, "per", "the name of a label is missing"},
		{"switched off", off, delivery.Prometheus{}, "", ""},
		{"PromQL of a page", delivery.Metric{Name: "lost", Kind: delivery.KindCount, From: delivery.FromService, Value: "rate(lost_total[1m])", Per: "seconds"}, server, "value", ""},
		{"a server", share(delivery.FromPrometheus, `rate(lost_total{release="$release"}[1m])`, "asked_total"), server, "", ""},
		{"no server", share(delivery.FromPrometheus, "lost_total", "asked_total"), delivery.Prometheus{}, "from", "no server that answers PromQL is named"},
		{"a word outside of quotes", share(delivery.FromPrometheus, "lost_total{release=$release}", "asked_total"), server, "value", ""},
		{"events by seconds", delivery.Metric{Name: "lost", Kind: delivery.KindCount, From: delivery.FromService, Value: "lost_total", Per: "seconds"}, delivery.Prometheus{}, "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := delivery.Project{
				Environments: []delivery.Environment{{Name: "prod"}}, Prometheus: c.at,
				Services: []delivery.Service{{Name: "shop", In: map[string]delivery.Deployment{"prod": {Strategy: delivery.Strategy{Judge: delivery.JudgePolicy{Metrics: []delivery.Metric{c.m}}}}}}},
			}
			err := control.Readable(p)
			if c.field == "" {
				if err != nil {
					t.Fatalf("Readable = %v, want nil", err)
				}
				return
			}
			bad, ok := errors.AsType[*delivery.FieldError](err)
			if !ok || bad.Field != "services.shop.in.prod.rollout.judge.metrics.lost."+c.field || bad.Next == "" || !strings.Contains(bad.Why, c.reason) {
				t.Fatalf("Readable = %#v, want the field %s and %q", err, c.field, c.reason)
			}
		})
	}
}
