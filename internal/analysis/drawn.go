package analysis

// fewUnits is how many units a second may have to be judged by their draw.
const fewUnits = 30

// drawn returns the chance with which each unit of a second of few was drawn for
// the canary; 0 if that is not known of all of them.
//
// In seconds of few units one release is often not asked at all, and pairs throw
// most of what stable shows away. A draw needs no pair: with the line's nearest
// point (qb, qc) taken for the parts 1-w and w that units are drawn with, and not
// for the counts that came of it, one unit has
//
//	E[S] = (1-w) lb(pb) + w lc(pc) <= 1
//
// for every (pb, pc) of the half-plane, where lb and lc are the likelihood ratios
// of its outcome: they are affine, the sum is 1 at q, and its gradient there
// points out of the half-plane. So each unit is evidence by itself, whatever
// its second, and units may be as different as they like. It rests on the draw
// being carried out as set, which is watched (mismatch), and is why seconds of
// many units, which have their pairs, do without. Nothing but errors is judged so:
// a second without one of the releases still counts as left out.
func (b Block) drawn() float64 {
	all := b.Stable.Units + b.Canary.Units
	if all > fewUnits || b.Stable.Drawn+b.Canary.Drawn != all || !(b.Weight > 0 && b.Weight < 1) {
		return 0
	}
	return b.Weight
}
