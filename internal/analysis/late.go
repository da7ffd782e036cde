package analysis

import (
	"fmt"
	"slices"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// late are the last judged blocks, for words: a release that was better for an
// hour and then fails is not yet worse over all when it is sent back.
type late struct{ before, now seen }

// lateBlocks are half of the most that are kept.
const lateBlocks = 5

func (l *late) add(p pair) {
	if l.now.blocks == lateBlocks {
		l.before, l.now = l.now, seen{}
	}
	l.now.add(p)
}

func (l *late) sum() seen {
	b, n := &l.before, &l.now
	return seen{b.blocks + n.blocks, b.nb + n.nb, b.xb + n.xb, b.nc + n.nc, b.xc + n.xc, b.weighted + n.weighted}
}

// lately says what the newest blocks show of the errors or of a quantile of the
// latency, if that is worse and all of them together are not; "" if not.
func (j *Judge) lately(c delivery.Check) string {
	all, of := &j.errors.seen, &j.errors.late
	if c.Name != "errors" || c.Kind != "" {
		i := slices.IndexFunc(j.latency.thresholds, func(t threshold) bool { return quantileName(t.quantile) == c.Name })
		if i < 0 || c.Kind != "" {
			return ""
		}
		all, of = &j.latency.thresholds[i].seen, &j.latency.thresholds[i].late
	}
	last := of.sum()
	was, is := all.worse(), last.worse()
	if was > 1 || is <= 1 {
		return ""
	}
	what := "failed"
	if all != &j.errors.seen {
		what = "were beyond " + c.Name + " and its margin"
	}
	return fmt.Sprintf("in the last %s %s of %s %s, against %s of %s on stable",
		plural(uint64(last.blocks), "judged second"), count(whole64(last.xc)), count(whole64(last.nc)), what, count(whole64(last.xb)), count(whole64(last.nb)))
}

// worse is the canary's share in units of stable's.
func (s *seen) worse() float64 {
	stable, canary := s.shares()
	return canary / max(stable, least)
}
