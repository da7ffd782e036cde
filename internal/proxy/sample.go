package proxy

import (
	"time"

	"github.com/slipway-cd/slipway/internal/traffic"
)

// Bounds of the samples.
const (
	maxSamples  = 20  // failed requests kept per second
	sampleRing  = 512 // failed requests kept at all
	maxPathShow = 256 // bytes of a sample's path
)

// failures holds samples of failed requests, for people.
type failures struct {
	failed [sampleRing]numbered
	taken  int64 // ever
	second int64 // of the budget
	budget int   // samples left in this second
}

type numbered struct {
	sample traffic.Sample
	epoch  int64
}

// left says how many samples of that second may still be taken.
func (f *failures) left(second int64) int {
	if second != f.second {
		return maxSamples
	}
	return f.budget
}

// samples says whether a request that ends now may still be kept as a sample, so
// that nobody describes one in vain.
func (c *counts) samples(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failures.left(now.Unix()) > 0
}

// sample keeps a failed request, at most maxSamples a second.
func (c *counts) sample(s traffic.Sample) {
	s.Path = s.Path[:min(len(s.Path), maxPathShow)]
	second := s.At.Add(s.Took).Unix()
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &c.failures
	left := f.left(second)
	if left == 0 {
		return
	}
	f.second, f.budget = second, left-1
	f.failed[f.taken%sampleRing] = numbered{sample: s, epoch: c.epoch.Load()}
	f.taken++
}

// since appends the samples taken from that epoch on.
func (f *failures) since(epoch int64) (out []traffic.Sample) {
	for i := max(0, f.taken-sampleRing); i < f.taken; i++ {
		if n := &f.failed[i%sampleRing]; n.epoch >= epoch {
			out = append(out, n.sample)
		}
	}
	return out
}
