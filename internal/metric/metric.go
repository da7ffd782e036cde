// Package metric is the port to whoever has numbers on releases beside the data
// plane's own counts. It judges nothing: it hands readings to package analysis.
// Package metrictest judges every driver.
package metric

import (
	"context"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// Ask is one metric of one rollout, over the seconds from First to Last.
type Ask struct {
	Metric         delivery.Metric
	Service, Env   string
	Stable, Canary Side
	First, Last    int64 // Unix seconds, both included
}

// Side is one arm of a rollout.
type Side struct {
	Release   delivery.ReleaseID
	Version   string
	Instances []string // whose numbers count; nil is all of the release's. Of a level these are the twin's and the canary's
}

// Answer is what is known. A driver answers with what it has: fewer readings
// than asked for are no error, and never zeros in the place of what is missing.
type Answer struct {
	Readings []Reading // oldest first; no second is in two of them
	Until    int64     // nothing before the end of this second will be known later than now
	Missing  string    // why there is less than was asked for: "no series checkout_total of release r1f2"
}

// Reading is one reading and the second in which it ends.
type Reading struct {
	Second int64
	analysis.Reading
}

// Driver answers from one source. Read may be called again for the same seconds
// and answers the same, but for what came late. An error means that the source
// could not be asked, and says nothing of the release.
type Driver interface {
	Read(ctx context.Context, a Ask) (Answer, error)
}
