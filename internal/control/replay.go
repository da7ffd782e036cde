package control

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// Replayed is the tape of one rollout, judged again.
type Replayed struct {
	Rollout delivery.RolloutID `json:"rollout"`
	Env     string             `json:"env"`
	Version string             `json:"version"`
	Rules   int                `json:"rules"`          // by which it was judged; 0: there is no tape
	Entries int                `json:"entries"`        // on tape
	Same    bool               `json:"same"`           // same data, same verdict
	Differs []string           `json:"differs"`        // field by field
	Note    string             `json:"note,omitempty"` // what is to be known of the comparison
	Stored  *delivery.Verdict  `json:"stored"`
	Again   *delivery.Verdict  `json:"again"`
}

// underWay says what the replay of a rollout that is not over is no proof of.
const underWay = "it is under way: this is of what was recorded so far, and says nothing of what comes"

// Replay judges the tapes of a change again and compares with the verdicts that
// its rollouts were moved on.
func (l *Loop) Replay(ctx context.Context, id delivery.ChangeID) ([]Replayed, error) {
	rollouts, err := l.rolloutsOf(ctx, id)
	if err != nil {
		return nil, err
	}
	out := []Replayed{}
	for _, r := range rollouts {
		parts, err := l.d.Store.Tape(ctx, r.ID)
		if err != nil {
			return nil, err
		}
		one := Replayed{Rollout: r.ID, Env: r.Env, Version: r.Version, Same: true, Differs: []string{}, Stored: r.Verdict}
		switch {
		case len(parts) > 0:
			one.play(parts)
		case r.Verdict != nil:
			one.Same, one.Differs = false, append(one.Differs, "there is a verdict, and no tape of what it was given on")
		default:
			one.Note = "nothing was judged: " + unjudged(r)
		}
		if len(parts) > 0 && !r.State.Final() {
			one.Note = strings.TrimPrefix(one.Note+"; ", "; ") + underWay
		}
		out = append(out, one)
	}
	return out, nil
}

// play judges a tape up to the moment of the stored verdict.
func (p *Replayed) play(parts [][]byte) {
	n := 0
	t, err := analysis.Entries(parts, func(analysis.Entry) { n++ })
	if err != nil {
		p.Same, p.Differs = false, append(p.Differs, err.Error())
		return
	}
	p.Rules, p.Entries, p.Note = t.Rules, n, t.Differs()
	switch {
	case p.Stored == nil:
		p.Note = cmp.Or(p.Note, "it has not moved on a verdict yet")
	case p.Stored.Sentence == unheard || strings.HasPrefix(p.Stored.Sentence, cannotGoOn):
		p.Note = cmp.Or(p.Note, "its last move was made while the judge could not be asked")
	default:
		p.compare(t, parts)
		return
	}
	j, err := analysis.Play(parts, func(*analysis.Judge, analysis.Entry) {})
	if err != nil {
		p.Same, p.Differs = false, append(p.Differs, err.Error())
		return
	}
	again := j.Verdict()
	p.Again = &again
}

// compare looks for the moment of the stored verdict: the one at which as many
// seconds were known. A step may have begun just then, which shows too.
func (p *Replayed) compare(t analysis.Tape, parts [][]byte) {
	told, need := 0, p.Stored.Seconds+p.Stored.LeftOut
	look := func(j *analysis.Judge) (goOn bool) {
		again := begun(j.Verdict(), p.Stored.Sentence != justBegun)
		if n := again.Seconds + again.LeftOut; n != need {
			return n < need
		}
		again.At = p.Stored.At
		p.Again, p.Differs = &again, differences(*p.Stored, again)
		return len(p.Differs) > 0
	}
	if goOn := look(analysis.New(t.Policy, t.Baseline)); goOn {
		_, err := analysis.Play(parts, func(j *analysis.Judge, e analysis.Entry) {
			if goOn && !e.Step {
				told++
			}
			goOn = goOn && (told < need || look(j))
		})
		if err != nil {
			p.Differs = append(p.Differs, err.Error())
		}
	}
	if p.Again == nil {
		p.Differs = append(p.Differs, fmt.Sprintf("the verdict was given on %d seconds, and %d are on tape", need, told))
	}
	p.Same = len(p.Differs) == 0
}

// differences lists the fields in which two verdicts differ, to the last bit.
func differences(a, b delivery.Verdict) []string {
	out := []string{}
	var walk func(path string, x, y any)
	walk = func(path string, x, y any) {
		was, isMap := x.(map[string]any)
		is, both := y.(map[string]any)
		if isMap && both {
			keys := maps.Clone(was)
			maps.Copy(keys, is)
			for _, key := range slices.Sorted(maps.Keys(keys)) {
				walk(strings.TrimPrefix(path+"."+key, "."), was[key], is[key])
			}
			return
		}
		old, isList := x.([]any)
		now, two := y.([]any)
		if isList && two && len(old) == len(now) {
			for i := range old {
				walk(fmt.Sprintf("%s[%d]", path, i), old[i], now[i])
			}
			return
		}
		if s, t := text(x), text(y); s != t {
			out = append(out, fmt.Sprintf("%s was %s and is %s", path, s, t))
		}
	}
	walk("", tree(a), tree(b))
	return out
}

// tree is a verdict as JSON has it, with its numbers as they are written.
func tree(v delivery.Verdict) any {
	doc, err := json.Marshal(v)
	if err != nil {
		return "a verdict that cannot be written: " + err.Error()
	}
	d := json.NewDecoder(strings.NewReader(string(doc)))
	d.UseNumber()
	var out any
	if err := d.Decode(&out); err != nil {
		return err.Error()
	}
	return out
}

func text(v any) string {
	doc, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(doc)
}
