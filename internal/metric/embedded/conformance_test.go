package embedded

import (
	"slices"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
	"github.com/slipway-cd/slipway/internal/metric/metrictest"
)

// clock is the receiver's, as a test sets it.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

// at returns a store whose clock the test sets.
func at(second int64) (*Store, *clock) {
	c := &clock{time.Unix(second, 0)}
	s := New()
	s.now = c.now
	return s, c
}

func TestDriver(t *testing.T) {
	const now = 1_767_225_600
	metrictest.Run(t, func(*testing.T) metrictest.Bench {
		s, c := at(now)
		return metrictest.Bench{
			Driver: s, From: delivery.FromService, Now: now,
			Write: func(_ *testing.T, samples []metric.Sample) {
				for from := 0; from < len(samples); { // as they came: each moment for itself
					to := from + 1
					for to < len(samples) && samples[to].At.Equal(samples[from].At) {
						to++
					}
					c.at = samples[from].At
					s.Add(slices.Clone(samples[from:to]))
					from = to
				}
				c.at = time.Unix(now, 0)
			},
			Select: func(name, match string) string {
				if match == "" {
					return name
				}
				return name + "{" + match + "}"
			},
		}
	})
}
