package analysis

import "math"

// recent is stable's log histogram of late: of a window of units that is full,
// and of the fresh one, which replaces it once it is full itself. Nothing older
// counts at all, so a strange beginning or an outage is gone for good after two
// windows. The first windows are small, and each may hold twice the units of the
// one before it, up to fullWindow. The latency thresholds and the alternatives of
// their tests depend on this histogram, and on nothing else.
type recent struct{ full, fresh window }

// window counts units, and those of them with an answer up to each bin.
type window struct {
	units  float64
	each   float64 // what one of within stands for
	within within
}

const (
	tuningUnits   = 200             // the least number of stable units that thresholds are chosen from
	baselineUnits = tuningUnits / 2 // what a baseline counts for at most: the shape to begin with
	firstWindow   = 2 * tuningUnits // the rollout's own units that replace the baseline
	fullWindow    = 5000            // 50 units beyond the 99th percentile, 5 beyond the 99.9th
)

// add adds units of which in[i] had an answer up to bin i.
func (r *recent) add(units uint64, in *within) {
	r.fresh.units += float64(units)
	for i, n := range in {
		r.fresh.within[i] = plus(r.fresh.within[i], n)
	}
	if r.fresh.units >= min(fullWindow, max(firstWindow, 2*r.full.units)) {
		r.full, r.fresh = r.fresh, window{}
		r.full.each = 1
	}
}

// plus adds without overflow.
func plus(a, b uint32) uint32 { return uint32(min(uint64(a)+uint64(b), math.MaxUint32)) }

// discount makes all that was added a full window of at most baselineUnits.
func (r *recent) discount() {
	units := min(r.units(), baselineUnits)
	r.full.each = units / r.units()
	for i, n := range r.fresh.within {
		r.full.within[i] = plus(r.full.within[i], n)
	}
	r.full.units, r.fresh = units, window{}
}

func (r *recent) units() float64 { return r.full.units + r.fresh.units }

// within returns the units with an answer up to bin.
func (r *recent) within(bin int) float64 {
	if bin < 0 {
		return 0
	}
	return min(r.full.each*float64(r.full.within[bin]), r.full.units) + min(float64(r.fresh.within[bin]), r.fresh.units)
}

// quantile returns the first bin that holds at least the share q of the units.
func (r *recent) quantile(q float64) int {
	need := q * r.units() * (1 - 1e-12)
	for i := range Bins - 2 {
		if r.within(i) >= need {
			return i
		}
	}
	return Bins - 2
}

// exceeding predicts stable's share above bin.
func (r *recent) exceeding(bin int) float64 {
	return inside((0.5 + r.units() - r.within(bin)) / (1 + r.units()))
}

// strayed says whether bin no longer is about the quantile q: the units above it
// are off by more than a tenth, and by more than chance.
func (r *recent) strayed(bin int, q float64) bool {
	want := (1 - q) * r.units()
	return math.Abs(r.units()-r.within(bin)-want) > max(want/10, 2*math.Sqrt(q*want))
}
