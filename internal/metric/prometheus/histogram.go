package prometheus

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/slipway-cd/slipway/internal/analysis"
)

// spread is a distribution in every block: how many rose in the bucket that ends
// at each upper edge, in the unit of the histogram.
type spread struct {
	tally
	rose   map[int64]map[float64]float64
	edges  map[float64]bool // of a classic histogram; those that are kept, +Inf among them
	schema int              // of a native one: 2^(2^-schema) between two edges

	wrongAll string // why none of it can be judged
}

// noSchema is that of a classic histogram.
const noSchema = math.MaxInt

// native is one histogram as the API shows it: buckets that hold anything.
type native struct {
	count   float64
	buckets []bucket
}

type bucket struct{ low, high, count float64 }

// nativePoint is [seconds, {count, sum, buckets}].
type nativePoint struct {
	at     int64
	native native
}

// UnmarshalJSON reads a pair.
func (p *nativePoint) UnmarshalJSON(b []byte) error {
	var pair []json.RawMessage
	if err := json.Unmarshal(b, &pair); err != nil {
		return err
	}
	if len(pair) != 2 {
		return fmt.Errorf("%q is not a time and a histogram", b)
	}
	var at point
	if err := at.UnmarshalJSON([]byte(string(pair[0]) + ",0")); err != nil {
		return err
	}
	var h struct {
		Count   json.Number         `json:"count"`
		Buckets [][]json.RawMessage `json:"buckets"`
	}
	if err := json.Unmarshal(pair[1], &h); err != nil {
		return err
	}
	p.at = at.at
	var err error
	if p.native.count, err = number(json.RawMessage(h.Count)); err != nil {
		return err
	}
	for _, raw := range h.Buckets {
		if len(raw) != 4 {
			return fmt.Errorf("a bucket has %d parts, and four are usual", len(raw))
		}
		var parts [3]float64
		for i := range parts {
			if parts[i], err = number(raw[i+1]); err != nil {
				return err
			}
		}
		p.native.buckets = append(p.native.buckets, bucket{parts[0], parts[1], parts[2]})
	}
	return nil
}

// number reads a number that stands in quotes, or does not.
func number(raw json.RawMessage) (float64, error) {
	text := string(raw)
	if unquoted, err := strconv.Unquote(text); err == nil {
		text = unquoted
	}
	return strconv.ParseFloat(text, 64)
}

// spreads counts what rose in the buckets of histograms. count says how
// much running totals rose: by scrapes, or as an expression has it already.
func (a *arm) spreads(all []series, step int64, count func([]series, int64) tally) spread {
	s := spread{tally: newTally(len(all), step), rose: map[int64]map[float64]float64{}, edges: map[float64]bool{}, schema: noSchema}
	byEdge := map[float64][]series{}
	for _, one := range all {
		if len(one.samples) > 0 && one.samples[0].hist != nil {
			a.native(&s, one)
			continue
		}
		edge, err := strconv.ParseFloat(one.labels["le"], 64)
		if err != nil || math.IsNaN(edge) {
			s.wrongAll = fmt.Sprintf("a series has the label le=%q, and no histogram has", one.labels["le"])
			continue
		}
		byEdge[edge] = append(byEdge[edge], one)
	}
	s.classic(byEdge, step, count)
	if s.schema != noSchema && len(byEdge) > 0 {
		s.wrongAll = "it has classic and native histograms at once"
	}
	return s
}

// classic takes series of running totals by upper edge apart into buckets.
func (s *spread) classic(byEdge map[float64][]series, step int64, count func([]series, int64) tally) {
	below := map[int64]float64{}
	for _, edge := range slices.Sorted(maps.Keys(byEdge)) {
		s.edges[edge] = true
		t := count(byEdge[edge], step)
		s.last = max(s.last, t.last)
		maps.Copy(s.wrong, t.wrong)
		for block := range t.rose {
			total, _ := t.sum(block)
			in := total - below[block]
			if in < -1e-6*math.Max(1, total) {
				s.wrong[block] = fmt.Sprintf("fewer values are at most %v than at most the edge before it", edge)
			}
			s.put(block, edge, math.Max(in, 0))
			below[block] = math.Max(total, below[block])
		}
	}
	if len(byEdge) > 0 && !s.edges[math.Inf(1)] {
		s.wrongAll = `it has no bucket le="+Inf", so how many there were is not known`
	}
}

func (s *spread) put(block int64, edge, n float64) {
	if s.rose[block] == nil {
		s.rose[block] = map[float64]float64{}
	}
	s.rose[block][edge] += n
}

// native adds what rose between two scrapes of a native histogram. Bounds may
// have become coarser in between; those of the later one are then in both.
func (a *arm) native(s *spread, one series) {
	for k, x := range one.samples {
		s.last = max(s.last, x.at)
		block := s.block(x.at)
		if x.hist == nil {
			s.wrong[block] = "a native histogram turned into a number"
			continue
		}
		if why := s.learn(x.hist); why != "" {
			s.wrongAll = why
			return
		}
		var before *native
		switch {
		case k > 0 && x.at-one.samples[k-1].at <= a.patience():
			before = one.samples[k-1].hist
		case !a.born(one.target(), x.at):
			continue
		}
		for edge, n := range x.hist.since(before) {
			s.put(block, edge, n)
		}
		if s.rose[block] == nil {
			s.rose[block] = map[float64]float64{}
		}
	}
}

// learn keeps the coarsest schema.
func (s *spread) learn(h *native) string {
	for _, b := range h.buckets {
		if !(b.low > 0) || math.IsInf(b.high, 1) {
			continue // around zero, below it, or the last
		}
		exact := -math.Log2(math.Log2(b.high / b.low))
		schema := math.Round(exact)
		if !(math.Abs(exact-schema) < 1e-3) || schema < -4 || schema > 8 {
			return "its buckets are not those of a standard schema"
		}
		s.schema = min(s.schema, int(schema))
	}
	if s.schema == noSchema {
		s.schema = 8 // nothing above zero yet
	}
	return ""
}

// since is what is in each bucket beyond what was before; nil and a histogram
// that began anew count from zero.
func (h *native) since(before *native) map[float64]float64 {
	rose := map[float64]float64{}
	var below float64
	for i, b := range h.buckets {
		n := b.count
		if before != nil {
			total := h.upTo(i) - before.atMost(b.high)
			n, below = total-below, total
		}
		if n < -1e-9 {
			return h.since(nil)
		}
		rose[b.high] += n
	}
	if before != nil && h.count < before.count {
		return h.since(nil)
	}
	return rose
}

func (h *native) upTo(i int) float64 {
	var n float64
	for _, b := range h.buckets[:i+1] {
		n += b.count
	}
	return n
}

// atMost counts the values in buckets that end at an edge or below it.
func (h *native) atMost(edge float64) float64 {
	var n float64
	for _, b := range h.buckets {
		if b.high <= edge*(1+1e-9) {
			n += b.count
		}
	}
	return n
}

// shared returns how edges of both arms are rounded up to edges that both have,
// or why they cannot be compared. A value between two shared edges counts at the
// upper one in both arms, so what is compared at a shared edge is exact.
func shared(a, b *spread) (up func(float64) float64, why string) {
	switch {
	case a.wrongAll != "" || b.wrongAll != "":
		return nil, a.wrongAll + b.wrongAll
	case (a.schema == noSchema) != (b.schema == noSchema):
		return nil, "one release has a classic histogram and the other a native one"
	case a.schema != noSchema:
		base := math.Exp2(-float64(min(a.schema, b.schema)))
		return func(edge float64) float64 {
			if !(edge > 0) || math.IsInf(edge, 1) {
				return edge
			}
			return math.Exp2(math.Ceil(math.Log2(edge)/base-1e-6) * base)
		}, ""
	}
	var both []float64
	for e := range a.edges {
		if b.edges[e] {
			both = append(both, e)
		}
	}
	slices.Sort(both)
	if len(both) < 2 {
		return nil, "the histograms of the two releases have no edge in common"
	}
	return func(edge float64) float64 {
		i, _ := slices.BinarySearch(both, edge)
		return both[min(i, len(both)-1)]
	}, ""
}

// value is a block as the judge takes it: whole numbers by the bins of package
// analysis. scale makes seconds of the unit of the edges.
func (s *spread) value(block int64, up func(float64) float64, scale float64) (analysis.Value, string) {
	merged := map[float64]float64{}
	for edge, n := range s.rose[block] {
		merged[up(edge)] += n
	}
	v := analysis.Value{Bins: map[int]uint32{}}
	var total, whole float64
	for _, edge := range slices.Sorted(maps.Keys(merged)) {
		total += merged[edge]
		n := math.Round(total) - whole
		if n > math.MaxUint32 {
			return v, fmt.Sprintf("%v values in one block are too many to be true", n)
		}
		whole += n
		if n > 0 && !math.IsInf(edge, 1) {
			v.Bins[analysis.Bin(edge*scale)] += uint32(n)
		}
	}
	v.N = whole
	return v, ""
}
