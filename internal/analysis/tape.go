package analysis

import (
	"fmt"
	"math"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Rules is the version of the rules by which this judge judges. It rises
// whenever the same tape may give another verdict than before.
const Rules = 7

// Tape is everything one judge was told, in order. The same tape gives the same
// verdict, bit for bit, under the same Rules.
type Tape struct {
	Rules    int                  // that judged it last
	Policy   delivery.JudgePolicy // with its zero fields filled
	Baseline Arm
	Entries  []Entry
}

// Entry is one thing that a judge was told: a second to judge, a second to
// leave out, or that the rollout went on to its next step.
type Entry struct {
	Step  bool   // the next step has begun; there is no block
	Left  string // why the block's second was left out; of the block only the second is known
	Block Block
}

// Differs says why this judge may not come to the verdict that was given when
// the tape was made; "" if it does.
func (t Tape) Differs() string {
	if t.Rules == Rules {
		return ""
	}
	return fmt.Sprintf("it was judged by rules %d, and this Slipway judges by rules %d: the verdict may differ", t.Rules, Rules)
}

// Play judges the tape that was kept in the parts again. It holds one entry at a
// time, and hands the judge out after each, to be asked and not to be told. It
// returns the judge after the last one.
func Play(parts [][]byte, each func(j *Judge, e Entry)) (*Judge, error) {
	var judge *Judge
	_, _, err := decode(parts, func(t Tape) { judge = New(t.Policy, t.Baseline) }, func(e Entry) {
		judge.tell(e)
		each(judge, e)
	})
	return judge, err
}

func (j *Judge) tell(e Entry) {
	switch {
	case e.Step:
		j.NextStep()
	case e.Left != "":
		j.LeaveOut(e.Block.Second, e.Left)
	default:
		_ = j.Observe(e.Block) // it was refused then as now, and the verdict says so
	}
}

// Recorder is a judge that writes down what it is told, in parts that are kept
// one after the other. A Recorder is not safe for concurrent use.
type Recorder struct {
	judge  *Judge
	part   int     // number of the next part
	writer encoder // what was told since the last part was kept
	sealed int     // bytes of it that Part returned
}

// Record returns a judge as New does, whose tape begins now.
func Record(p delivery.JudgePolicy, baseline Arm) (*Recorder, error) {
	r := &Recorder{judge: New(p, baseline)}
	if err := r.writer.header(Tape{Rules: Rules, Policy: Defaults(p), Baseline: baseline}); err != nil {
		return nil, err
	}
	return r, nil
}

// Resume returns the recorder that made the parts, all of them and in order, as
// it was when the last of them was made. If other rules judged till then, the
// whole tape is judged anew, and the next part says so. It hands out each entry
// that the judge is told, and holds one of them at a time, however long the tape is.
func Resume(parts [][]byte, each func(Entry)) (*Recorder, error) {
	var judge *Judge
	begin := func(t Tape) { judge = New(t.Policy, t.Baseline) }
	t, last, err := decode(parts, begin, func(e Entry) {
		judge.tell(e)
		each(e)
	})
	if err != nil {
		return nil, err
	}
	r := &Recorder{judge: judge, part: len(parts), writer: encoder{last: last}}
	if t.Rules != Rules {
		r.writer.rules(Rules)
	}
	return r, nil
}

// Observe judges one block as Judge.Observe does. Of one that is refused because
// of its second no more than that is kept.
func (r *Recorder) Observe(b Block) error {
	if b.Second > r.judge.last {
		r.writer.block(b)
	} else {
		r.writer.left(b.Second, "refused")
	}
	return r.judge.Observe(b)
}

// LeaveOut records that a second is not judged as Judge.LeaveOut does. An empty
// reason is one that nobody knows.
func (r *Recorder) LeaveOut(second int64, why string) {
	if why == "" {
		why = "for an unknown reason"
	}
	r.writer.left(second, why)
	r.judge.LeaveOut(second, why)
}

// NextStep tells the judge of a new step as Judge.NextStep does.
func (r *Recorder) NextStep() {
	r.writer.step()
	r.judge.NextStep()
}

// Verdict returns the judge's word as Judge.Verdict does.
func (r *Recorder) Verdict() delivery.Verdict { return r.judge.Verdict() }

// Next is the second after the last one that the judge knows of; false if it
// knows none. Earlier ones are refused.
func (r *Recorder) Next() (int64, bool) {
	return r.judge.last + 1, r.judge.last != math.MinInt64
}

// Judge returns the judge, to be asked and not to be told.
func (r *Recorder) Judge() *Judge { return r.judge }

// Part returns the next part of the tape: its number from 0, and what was told
// since the last part was kept. It is nil when nothing was.
func (r *Recorder) Part() (number int, part []byte) {
	r.sealed = len(r.writer.body)
	if r.sealed == 0 {
		return r.part, nil
	}
	return r.part, seal(r.part, r.writer.body)
}

// Kept says that what Part returned last is in safe keeping.
func (r *Recorder) Kept() {
	if r.sealed == 0 {
		return
	}
	r.part++
	r.writer.body = append(r.writer.body[:0], r.writer.body[r.sealed:]...)
	r.sealed = 0
}
