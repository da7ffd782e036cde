package embedded

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// span is the time of one reading: after from, up to to.
type span struct{ from, to int64 }

// cut divides the time after from, up to last, into spans in which both arms
// were read, and says up to when nothing more will be known than now. A span is
// as short as it can be: it ends when everybody who was read before it has been
// read again. What comes after an end belongs to the next span, so two questions
// that follow one another count everything once.
func cut(stable, canary *arm, from, last, now int64) (spans []span, until int64) {
	for from < last {
		s, c := stable.next(from, now), canary.next(from, now)
		switch begins := max(s.begins, c.begins); {
		case s.open || c.open:
			return spans, from // somebody may still tell more of what comes now
		case s.none || c.none:
			return spans, max(from, min(last, now-leastPatience))
		case begins > from:
			from = min(begins, last) // until then one arm is alone
		default:
			to := max(s.ends, c.ends)
			if to > last {
				return spans, from
			}
			spans = append(spans, span{from, to})
			from = to
		}
	}
	return spans, from
}

// next is how an arm goes on.
type next struct {
	begins int64 // when somebody is read for the first time, to be read again
	ends   int64 // when everybody was read again that was read before
	none   bool  // nobody is read any more
	open   bool  // somebody is silent who may be read soon
}

func (a *arm) next(from, now int64) next {
	n := next{none: true}
	for i := range a.instances {
		t := &a.instances[i]
		p, more := t.after(from)
		if !more {
			n.open = n.open || t.waits(now)
			continue
		}
		begins := max(p.from, from)
		if n.none || begins < n.begins {
			n.begins = begins
		}
		n.none = false
		if p.from <= from {
			n.ends = max(n.ends, p.at)
		}
	}
	return n
}

// gone says what of an arm is not there, if something is not.
func (a *arm) gone(q question, now int64) string {
	last, waits := int64(0), false
	for i := range a.instances {
		t := &a.instances[i]
		waits = waits || t.waits(now)
		if n := len(t.pulses); n > 0 {
			last = max(last, t.pulses[n-1].at)
		}
	}
	switch {
	case last == 0:
		return fmt.Sprintf("release %s told nothing of %s", a.called, q.value.Name)
	case last < q.Last && !waits:
		return fmt.Sprintf("release %s has told nothing of %s since %s", a.called, q.value.Name, time.Unix(last, 0).UTC().Format(time.TimeOnly))
	}
	return ""
}

// settle brings pulses in order, each second once.
func (t *told) settle() {
	slices.SortFunc(t.pulses, func(a, b pulse) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.from, b.from)) })
	t.pulses = slices.CompactFunc(t.pulses, func(a, b pulse) bool { return a.at == b.at }) // the one that reaches furthest back stays
}

// after returns the first pulse that ends after b.
func (t *told) after(b int64) (pulse, bool) {
	i, _ := slices.BinarySearchFunc(t.pulses, b+1, func(p pulse, at int64) int { return cmp.Compare(p.at, at) })
	if i == len(t.pulses) {
		return pulse{}, false
	}
	return t.pulses[i], true
}

// waits says whether an instance may yet tell more of what is before now.
func (t *told) waits(now int64) bool {
	if len(t.pulses) == 0 {
		return false
	}
	p := t.pulses[len(t.pulses)-1]
	return now-p.at <= min(max(patienceTimes*(p.at-p.from), leastPatience), mostPatience)
}
