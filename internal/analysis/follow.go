package analysis

// Follower judges a tape again while it grows: part by part, and each once. The
// zero value has read nothing. After an error it is of no more use.
type Follower struct {
	d     decoder
	tape  Tape
	parts int
	judge *Judge
}

// Parts is how many parts were read.
func (f *Follower) Parts() int { return f.parts }

// Judge returns the judge, to be asked and not to be told; nil before part 0.
func (f *Follower) Judge() *Judge { return f.judge }

// Read judges the next part. Before the judge is told an entry, both are handed
// out: the judge as it was until then, and the entry.
func (f *Follower) Read(part []byte, before func(j *Judge, e Entry)) error {
	begin := func(t Tape) { f.judge = New(t.Policy, t.Baseline) }
	err := f.d.part(f.parts, part, &f.tape, begin, func(e Entry) {
		before(f.judge, e)
		f.judge.tell(e)
	})
	if err == nil {
		f.parts++
	}
	return err
}
