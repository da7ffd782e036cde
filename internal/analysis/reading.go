package analysis

// Value is what one arm did in one block, for a metric other than errors and
// latency of its own requests.
type Value struct {
	N       float64        // of a share all events, of a count the exposure, of a mean or level the values, of a latency the events
	Sum     float64        // of a share the bad ones, of a count the events, of a mean or level the sum
	Squares float64        // of a mean or level the sum of squares
	Bins    map[int]uint32 // of a latency; what is in no bin took longer
}

// Reading is one metric in one block of both arms.
type Reading struct {
	Metric         string // delivery.Metric.Name
	Stable, Canary Value
	Seconds        int    // that it covers; they end with the block's
	Approx         bool   // sums that others made, not one count a unit: evidence is tempered
	Wrong          string // why it cannot be judged; the values are not looked at then
}

// Pairs is what mirrored requests showed in one second: of Both that were
// answered twice, how often only one of the two answers was bad or slow.
type Pairs struct {
	Both, CanaryBad, StableBad, CanarySlow, StableSlow uint64
}
