package server

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric/embedded"
)

func (s *Server) explainAnalysis(ctx context.Context, in *ChangeRef) (*output[items[control.Explained]], error) {
	all, err := s.d.Loop.Explain(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return answered(listed(all))
}

func (s *Server) replayAnalysis(ctx context.Context, in *ChangeRef) (*output[items[control.Replayed]], error) {
	all, err := s.d.Loop.Replay(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return answered(listed(all))
}

type planAnalysisInput struct {
	ServiceRef
	Env string `query:"env" maxLength:"100" doc:"the environment meant; empty: the last one"`
}

func (s *Server) planAnalysis(ctx context.Context, in *planAnalysisInput) (*output[control.Forecast], error) {
	f, err := s.d.Loop.Forecast(ctx, in.Service, in.Env)
	if err != nil {
		return nil, err
	}
	return answered(f)
}

type queryMetricsInput struct {
	Service  string             `query:"service" maxLength:"100"`
	Env      string             `query:"env" maxLength:"100"`
	Release  delivery.ReleaseID `query:"release" maxLength:"100" doc:"ID of a release; empty: all of them"`
	Source   string             `query:"source" enum:"traffic,service,workload,logs" default:"traffic" doc:"who has the numbers"`
	Name     string             `query:"name" required:"true" maxLength:"2000" doc:"a series with labels, such as requests or checkouts_total{result='failed'}; of traffic: requests, failed, units, units_bad or latency"`
	Show     string             `query:"show" enum:"rate,increase,mean,max,quantile" default:"rate"`
	Quantile float64            `query:"quantile" minimum:"0" maximum:"1" doc:"of show=quantile; 0 is 0.95"`
	From     int64              `query:"from" minimum:"0" doc:"Unix second; 0: ten minutes before to"`
	To       int64              `query:"to" minimum:"0" doc:"Unix second; 0: now"`
	Step     int64              `query:"step" minimum:"0" maximum:"86400" doc:"seconds; 0: a tenth of a minute, or as many as make 300 points"`
}

// usualSpan is what is shown when nobody says from when, and mostPoints how fine
// it is when nobody says that.
const (
	usualSpan  = 600
	usualStep  = 6
	mostPoints = 300
)

func (s *Server) queryMetrics(ctx context.Context, in *queryMetricsInput) (*output[items[control.Line]], error) {
	selected, err := embedded.ParseSelector(in.Name)
	if err != nil {
		return nil, delivery.InvalidNext("name", err.Error(), "say a series, such as requests")
	}
	to := cmp.Or(in.To, time.Now().Unix())
	from := cmp.Or(in.From, to-usualSpan)
	step := cmp.Or(in.Step, max(usualStep, (to-from)/mostPoints))
	q := embedded.Query{
		Env: in.Env, Service: in.Service, Release: in.Release, From: delivery.MetricSource(in.Source), Select: selected,
		Show: embedded.Show(in.Show), First: time.Unix(from, 0), Last: time.Unix(to, 0), Step: time.Duration(step) * time.Second,
	}
	if q.Show == embedded.ShowQuantile {
		q.Quantile = cmp.Or(in.Quantile, 0.95)
	}
	lines, err := s.d.Loop.Query(ctx, q)
	if bad, ok := errors.AsType[*delivery.FieldError](err); ok && bad.Field == "select" {
		return nil, delivery.InvalidNext("name", bad.Why, bad.Next)
	}
	if err != nil {
		return nil, err
	}
	return answered(listed(lines))
}

type signalsInput struct {
	ServiceRef
	Env  string `query:"env" maxLength:"100" doc:"the environment meant; empty: the last one"`
	Last string `query:"last" enum:"10m,24h" default:"10m" doc:"ten minutes in steps of six seconds, or a day in steps of a quarter of an hour"`
}

func (s *Server) signals(ctx context.Context, in *signalsInput) (*output[control.Golden], error) {
	span := control.ShortSpan
	if in.Last == "24h" {
		span = control.LongSpan
	}
	out, err := s.d.Loop.Golden(ctx, in.Service, in.Env, span)
	if err != nil {
		return nil, err
	}
	return answered(out)
}
