package metric

import (
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// SeriesKind says what the values of a series are.
type SeriesKind string

// The kinds of series.
const (
	Counter   SeriesKind = "counter"   // a total that only rises, until its instance starts anew
	Gauge     SeriesKind = "gauge"     // a value that goes up and down
	Histogram SeriesKind = "histogram" // a distribution, counted in buckets
)

// Series is whose number a sample is, and which. Its release, instance, service
// and environment are said by Slipway, never by the service: labels of those
// names that a service sets itself are called exported_service and so on.
type Series struct {
	From     delivery.MetricSource // FromService, FromWorkload or FromLogs
	Service  string
	Env      string
	Release  delivery.ReleaseID
	Instance string // workload ID
	Name     string // as in PromQL: "http_requests_total"
	Labels   []Label
}

// Label is one label of a series. A series has each name once, in rising order.
type Label struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Sample is one value of one series. Values of counters and histograms are totals
// since the series began, unless Delta is set. None is NaN or infinite, and none
// of a counter or histogram is negative; but a total may be lower than the one
// before (its instance started anew), and samples may come late and twice.
type Sample struct {
	Series
	Kind  SeriesKind
	At    time.Time
	Since time.Time // from when it counts; zero is not known. A later one than before is a new beginning
	Delta bool      // it counts what happened from Since to At only
	Value float64   // of a counter or gauge
	Hist  *Buckets  // of a histogram
}

// Buckets is a distribution. The bounds of a series may change from one sample to
// the next, for another version of the code or a coarser scale: what two samples
// agree on are the bounds that both have.
type Buckets struct {
	Bounds []float64 // upper ones, included, rising and finite
	Counts []uint64  // of each bucket alone; one more than Bounds, the last above all of them
	Sum    float64
}

// Sink takes samples into a store. It keeps what it has room for, says how many it
// refused and why, and holds on to nothing of the slice. It may be called by many
// at once.
type Sink interface {
	Add(samples []Sample) (refused int, why string)
}
