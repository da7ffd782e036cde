package server

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/discreet"
	"github.com/slipway-cd/slipway/internal/metric/embedded"
	"github.com/slipway-cd/slipway/internal/metric/prometheus"
)

type promQLRangeInput struct {
	Query string `query:"query" required:"true" maxLength:"8192" doc:"an expression in PromQL"`
	From  int64  `query:"from" minimum:"0" doc:"Unix second; 0: ten minutes before to"`
	To    int64  `query:"to" minimum:"0" doc:"Unix second; 0: now"`
	Step  int64  `query:"step" minimum:"0" maximum:"86400" doc:"seconds; 0: a tenth of a minute, or as many as make 300 points"`
}

type promQLInput struct {
	Query string `query:"query" required:"true" maxLength:"8192" doc:"an expression in PromQL"`
	At    int64  `query:"at" minimum:"0" doc:"Unix second; 0: now"`
}

// promQLAnswer is what an expression evaluates to.
type promQLAnswer struct {
	From     int64        `json:"from" doc:"Unix second"`
	To       int64        `json:"to"`
	Step     int64        `json:"step" doc:"in seconds"`
	Lines    []promQLLine `json:"lines"`
	More     int          `json:"more" doc:"lines that are not among them"`
	Natives  int          `json:"natives,omitempty" doc:"values that are whole histograms and are left out: ask for a quantile of them"`
	Warnings []string     `json:"warnings,omitempty" doc:"of the server that was asked"`
}

// promQLLine is one series, oldest value first. What is no number is not in it.
type promQLLine struct {
	Labels map[string]string    `json:"labels"`
	Points []embedded.LinePoint `json:"points"`
}

// promQLRange asks for an expression over time.
func (s *Server) promQLRange(ctx context.Context, in *promQLRangeInput) (*output[promQLAnswer], error) {
	to := cmp.Or(in.To, time.Now().Unix())
	from := cmp.Or(in.From, to-usualSpan)
	if from > to {
		return nil, delivery.InvalidNext("from", "is after to", "leave it out for the ten minutes before to")
	}
	return s.promQL(ctx, promQLAnswer{From: from, To: to, Step: cmp.Or(in.Step, max(usualStep, (to-from)/mostPoints))}, in.Query)
}

// promQLInstant asks for an expression at one moment.
func (s *Server) promQLInstant(ctx context.Context, in *promQLInput) (*output[promQLAnswer], error) {
	at := cmp.Or(in.At, time.Now().Unix())
	return s.promQL(ctx, promQLAnswer{From: at, To: at, Step: 1}, in.Query)
}

// promQL fills in an answer by the server that slipway.yaml names, within the bounds
// that the page has too.
func (s *Server) promQL(ctx context.Context, out promQLAnswer, expr string) (*output[promQLAnswer], error) {
	got, err := s.d.Loop.PromQL(ctx, prometheus.RangeQuery{
		Expr: expr, First: time.Unix(out.From, 0), Last: time.Unix(out.To, 0), Step: time.Duration(out.Step) * time.Second,
	})
	if errors.Is(err, delivery.ErrInvalid) || errors.Is(err, delivery.ErrNotFound) || ctx.Err() != nil {
		return nil, err
	}
	if err != nil {
		p := newProblem(codeNoAnswer, discreet.Text(err.Error()))
		p.Hint = "slipway doctor"
		return nil, p
	}
	out.More, out.Natives, out.Warnings, out.Lines = got.More, got.Natives, got.Warnings, []promQLLine{}
	for _, line := range got.Lines {
		x := promQLLine{Labels: map[string]string{}, Points: []embedded.LinePoint{}}
		for _, l := range line.Labels {
			x.Labels[l.Name] = l.Value
		}
		for _, p := range line.Points {
			x.Points = append(x.Points, embedded.LinePoint(p))
		}
		out.Lines = append(out.Lines, x)
	}
	return answered(out)
}
