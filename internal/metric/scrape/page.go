package scrape

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/slipway-cd/slipway/internal/metric"
	"github.com/slipway-cd/slipway/internal/metric/openmetrics"
)

// Bounds of a page.
const (
	maxPage = 4 << 20          // bytes, as sent and as unpacked
	stale   = 5 * time.Minute  // a number that says it is older is none of now
	early   = 10 * time.Second // one that says it is of later is not believed
)

// Why a page could not be had, as a label.
const (
	badURL     = "url"
	noAnswer   = "connect"
	tooSlow    = "timeout"
	badStatus  = "status"
	badContent = "content" // not the type of a page of metrics
	badPage    = "page"    // it cannot be read, or passes a bound
)

// page is what one asking brought.
type page struct {
	samples []metric.Sample
	reason  string // "" is a page
	why     string // it is none, or what of it was left out
	left    int    // series that were left out
}

func fail(reason, why string) page { return page{reason: reason, why: why} }

// fetch gets a page and reads it. Half a page is none.
func (s *Scraper) fetch(ctx context.Context, t Target, now time.Time) page {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.URL, nil)
	if err != nil {
		return fail(badURL, err.Error())
	}
	req.Header.Set("Accept", openmetrics.Accept)
	req.Header.Set("Accept-Encoding", "gzip")
	req.Header.Set("User-Agent", "slipway-metrics")
	req.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", strconv.FormatFloat(timeout.Seconds(), 'g', -1, 64))
	res, err := s.client.Do(req)
	if err != nil {
		return lost(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		_, _ = io.CopyN(io.Discard, res.Body, 4<<10) // so that the connection can be used again
		return fail(badStatus, "answered "+strconv.Itoa(res.StatusCode))
	}
	format, err := openmetrics.FormatOf(res.Header.Get("Content-Type"))
	if err != nil {
		return fail(badContent, err.Error())
	}
	var body io.Reader = res.Body // of which no more is read than a page may have
	if res.Header.Get("Content-Encoding") == "gzip" {
		if body, err = gzip.NewReader(io.LimitReader(body, maxPage)); err != nil {
			return lost(fmt.Errorf("it is not gzip: %w", err))
		}
	}
	p := page{}
	err = openmetrics.Parse(body, format, openmetrics.Limits{Bytes: maxPage}, func(f openmetrics.Family) error {
		p.take(f, t.Series, now)
		return nil
	})
	if err != nil {
		return lost(err)
	}
	return p
}

// lost says how an answer was lost.
func lost(err error) page {
	var syntax *openmetrics.SyntaxError
	var network net.Error
	switch {
	case errors.As(err, &syntax):
		return fail(badPage, err.Error())
	case errors.As(err, &network) && network.Timeout():
		return fail(tooSlow, fmt.Sprintf("no whole answer within %s", timeout))
	case errors.As(err, &network):
		return fail(noAnswer, err.Error())
	}
	return fail(badPage, err.Error())
}

// take turns a family into samples.
func (p *page) take(f openmetrics.Family, of metric.Series, now time.Time) {
	for _, pt := range f.Points {
		at := now
		if !pt.At.IsZero() {
			if at = pt.At; at.Before(now.Add(-stale)) || at.After(now.Add(early)) {
				p.leave(f.Series(), "says that it is of "+at.UTC().Format(time.RFC3339))
				continue
			}
		}
		if pt.Wrong != "" {
			p.leave(f.Series(), pt.Wrong)
			continue
		}
		p.point(f, pt, metric.Sample{Series: of, At: at})
	}
}

func (p *page) leave(name, why string) {
	if p.left++; p.left == 1 {
		p.why = name + " " + why
	}
}

// point adds what one point is as samples like s.
func (p *page) point(f openmetrics.Family, pt openmetrics.Point, s metric.Sample) {
	name := f.Series()
	switch f.Kind {
	case openmetrics.Counter:
		s.Since = pt.Created
		p.add(s, name, metric.Counter, pt.Value, pt.Labels)
	case openmetrics.Gauge, openmetrics.Unknown, openmetrics.Info, openmetrics.StateSet:
		p.add(s, name, metric.Gauge, pt.Value, pt.Labels)
	case openmetrics.Histogram:
		s.Since, s.Kind, s.Hist = pt.Created, metric.Histogram, apart(pt)
		s.Series = s.Named(name, pt.Labels)
		p.samples = append(p.samples, s)
	case openmetrics.Summary:
		for _, q := range pt.Quantiles {
			p.add(s, name, metric.Gauge, q.Value, append(copied(pt.Labels), metric.Label{Name: "quantile", Value: strconv.FormatFloat(q.Q, 'g', -1, 64)}))
		}
		s.Since = pt.Created
		if pt.HasCount {
			p.add(s, name+"_count", metric.Counter, float64(pt.Count), copied(pt.Labels))
		}
		if pt.HasSum {
			p.add(s, name+"_sum", metric.Counter, pt.Sum, copied(pt.Labels))
		}
	case openmetrics.GaugeHistogram:
		p.leave(name, "is a gaugehistogram, of which nothing is made here")
	}
}

func copied(l []metric.Label) []metric.Label { return append([]metric.Label(nil), l...) }

// add adds a number. A gauge that is no number says that there is none, as an
// empty summary does, and that is no fault.
func (p *page) add(s metric.Sample, name string, k metric.SeriesKind, v float64, labels []metric.Label) {
	if k == metric.Gauge && math.IsNaN(v) {
		return
	}
	s.Series, s.Kind, s.Value = s.Named(name, labels), k, v
	if why := s.Wrong(); why != "" {
		p.leave(name, why)
		return
	}
	p.samples = append(p.samples, s)
}

// apart turns counts of what is at most so much into counts of each bucket.
func apart(pt openmetrics.Point) *metric.Buckets {
	b := &metric.Buckets{Sum: pt.Sum}
	var below uint64
	for _, k := range pt.Buckets {
		if !math.IsInf(k.Upper, 0) {
			b.Bounds = append(b.Bounds, k.Upper)
		}
		if math.IsInf(k.Upper, -1) {
			continue // nothing is below it
		}
		b.Counts = append(b.Counts, k.Count-below)
		below = k.Count
	}
	return b
}
