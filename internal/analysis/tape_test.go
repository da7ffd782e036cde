package analysis

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// words is a verdict as it is kept and shown.
func words(t rapid.TB, v delivery.Verdict) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("%+v: %v", v, err)
	}
	return string(text)
}

func drawValue(t *rapid.T, name string) Value {
	number := rapid.OneOf(
		rapid.Map(rapid.IntRange(0, 1000), func(n int) float64 { return float64(n) }),
		rapid.Float64Range(0, 1e6),
		rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), -1, math.Copysign(0, -1), 1 << 53, 1e300}),
	)
	v := Value{N: number.Draw(t, name), Sum: number.Draw(t, name), Squares: number.Draw(t, name)}
	if rapid.Bool().Draw(t, name+" has bins") {
		v.Bins = drawArm(t, 20, name).Bins
	}
	return v
}

// drawRich draws a block with everything that a block may have, now and then impossible.
func drawRich(t *rapid.T, second int64) Block {
	b := Block{Second: second, Stable: drawArm(t, 60, "stable"), Canary: drawArm(t, 20, "canary")}
	for i, a := range []*Arm{&b.Stable, &b.Canary} {
		if rapid.Bool().Draw(t, "again") {
			again := drawArm(t, int(a.Units), "again")
			a.Again = &again
		}
		if rapid.Bool().Draw(t, "drawn") {
			a.Drawn = uint64(rapid.IntRange(0, int(a.Units)).Draw(t, "drawn units"))
			a.Lost = uint64(rapid.IntRange(0, 2).Draw(t, "lost"))
		}
		if rapid.Bool().Draw(t, "places") {
			a.Places = map[string]Place{fmt.Sprint("web-", i, "-a"): {Units: a.Units, Bad: a.Bad}, "": {}}
		}
	}
	b.Weight = rapid.SampledFrom([]float64{0, .01, .1, .25, .5}).Draw(t, "weight")
	b.Fresh = rapid.Bool().Draw(t, "fresh")
	if rapid.Bool().Draw(t, "pairs") {
		n := func(name string) uint64 { return uint64(rapid.IntRange(0, 9).Draw(t, name)) }
		b.Pairs = Pairs{n("both"), n("canary bad"), n("stable bad"), n("canary slow"), n("stable slow")}
	}
	for range rapid.IntRange(0, 2).Draw(t, "readings") {
		b.Readings = append(b.Readings, Reading{
			Metric: rapid.SampledFrom([]string{"restarts", "baskets", "unheard of"}).Draw(t, "metric"),
			Stable: drawValue(t, "stable value"), Canary: drawValue(t, "canary value"),
			Seconds: rapid.IntRange(-1, 15).Draw(t, "covers"), Approx: rapid.Bool().Draw(t, "approx"),
			Wrong: rapid.SampledFrom([]string{"", "a counter went back"}).Draw(t, "wrong"),
		})
	}
	return b
}

// A judge that comes back from the parts of its tape, wherever they were split,
// says what the judge said that was never away; so does a replay of the whole.
func TestTapeReplays(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		policy := delivery.JudgePolicy{Alpha: .02, Warmup: time.Second, AtLeast: 7, Metrics: []delivery.Metric{
			{Name: "restarts", Kind: delivery.KindCount, From: delivery.FromWorkload},
			{Name: "baskets", Kind: delivery.KindMean, From: delivery.FromService, Role: delivery.Watch},
		}}
		baseline := drawArm(r, 400, "baseline")
		rec, err := Record(policy, baseline)
		if err != nil {
			r.Fatal(err)
		}
		live := New(policy, baseline)
		var parts [][]byte
		keep := func() {
			n, part := rec.Part()
			if part == nil {
				return
			}
			if n != len(parts) {
				r.Fatalf("part %d is numbered %d", len(parts), n)
			}
			parts = append(parts, part)
			rec.Kept()
		}
		at := int64(rapid.SampledFrom([]int64{0, 1.7e9, math.MinInt64 + 5}).Draw(r, "begin"))
		for range rapid.IntRange(0, 25).Draw(r, "events") {
			at += int64(rapid.IntRange(-1, 3).Draw(r, "seconds on"))
			switch rapid.IntRange(0, 9).Draw(r, "what") {
			case 0:
				rec.NextStep()
				live.NextStep()
			case 1:
				rec.LeaveOut(at, "the split changed in it")
				live.LeaveOut(at, "the split changed in it")
			default:
				b := drawRich(r, at)
				if a, b := rec.Observe(b), live.Observe(b); (a == nil) != (b == nil) {
					r.Fatalf("the recorder says %v, the judge %v", a, b)
				}
			}
			if rapid.IntRange(0, 3).Draw(r, "split") == 0 {
				keep()
				if len(parts) > 0 && rapid.Bool().Draw(r, "restart") {
					if rec, err = resume(parts); err != nil {
						r.Fatal(err)
					}
				}
			}
			if a, b := words(r, rec.Verdict()), words(r, live.Verdict()); a != b {
				r.Fatalf("the recorder says %s, want %s", a, b)
			}
		}
		keep()
		tape, err := decoded(parts)
		if err != nil {
			r.Fatal(err)
		}
		if a, b := words(r, replay(tape).Verdict()), words(r, live.Verdict()); a != b {
			r.Fatalf("replayed %s, want %s", a, b)
		}
		if tape.Differs() != "" {
			r.Fatalf("a tape of these rules says %q", tape.Differs())
		}
	})
}

// wholeTape is a tape of two parts.
func wholeTape(t *testing.T) [][]byte {
	t.Helper()
	r := rand.New(rand.NewPCG(4, 4))
	s := shop()
	rec, err := Record(delivery.JudgePolicy{}, s.baseline(r))
	if err != nil {
		t.Fatal(err)
	}
	var parts [][]byte
	for i := range 6 {
		if err := rec.Observe(s.block(r, i)); err != nil {
			t.Fatal(err)
		}
		if i%3 == 2 {
			_, part := rec.Part()
			parts = append(parts, part)
			rec.Kept()
		}
	}
	return parts
}

// What was damaged, lost or is not known is refused with the reason.
func TestTapeRefuses(t *testing.T) {
	parts := wholeTape(t)
	at := func(i int, p []byte) [][]byte {
		out := [][]byte{parts[0], parts[1]}
		out[i] = p
		return out
	}
	edit := func(p []byte, i int, b byte) []byte {
		p = bytes.Clone(p)
		p[i] = b
		return p
	}
	later := bytes.Clone(parts[0])
	later[len(magic)] = format + 1
	for name, c := range map[string]struct {
		parts [][]byte
		want  string
	}{
		"nothing":        {nil, "the tape has no part"},
		"empty":          {at(1, []byte{}), "part 1 of the tape: it is no part of a judge's tape"},
		"other file":     {at(0, []byte("slipway.yaml")), "part 0 of the tape: it is no part of a judge's tape"},
		"later format":   {at(0, later), "written in format 2, and this Slipway reads 1"},
		"first missing":  {parts[1:], "it is part 1 of its tape: parts are missing, twice or out of order"},
		"twice":          {at(1, parts[0]), "it is part 0 of its tape"},
		"cut off":        {at(1, parts[1][:len(parts[1])-1]), "its checksum does not fit"},
		"a bit":          {at(1, edit(parts[1], len(parts[1])/2, parts[1][len(parts[1])/2]^4)), "its checksum does not fit"},
		"head only":      {at(1, parts[1][:len(magic)]), "format cannot be read"},
		"no checksum":    {at(1, parts[1][:len(magic)+3]), "checksum cannot be read"},
		"unknown kind":   {at(1, seal(1, []byte{9})), "an entry of the unknown kind 9"},
		"half an entry":  {at(1, seal(1, []byte{kindBlock, 2})), "what a block has cannot be read 0 bytes before the end"},
		"endless places": {at(1, seal(1, append([]byte{kindBlock, 2, 0, hasPlaces, 1, 0, 0, 0}, 0xff, 0xff, 0xff, 0xff, 7))), "places cannot be read"},
		"too many units": {at(1, seal(1, []byte{kindBlock, 2, 0, 0, 1, 0, 0, 1, 2, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0})), "the units in a bin cannot be read"},
		"arms in arms":   {at(1, seal(1, []byte{kindBlock, 2, 0, hasAgain, 0, 0, 0, 0, hasAgain, 0, 0, 0, 0})), "an arm within an arm"},
		"no policy":      {at(0, seal(0, []byte{2, 1, 'x', 0, 0, 0, 0, 0})), "the policy cannot be read"},
	} {
		if _, err := decoded(c.parts); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: Decode = %v, want %q", name, err, c.want)
		}
		if _, err := resume(c.parts); err == nil {
			t.Errorf("%s: Resume takes it", name)
		}
	}
}

// No bytes make a decoder panic or take more than they are worth.
func FuzzTape(f *testing.F) {
	f.Add([]byte{kindStep, kindLeft, 2, 1, 'x'})
	f.Add([]byte{kindBlock, 2, hasPairs | hasReadings | hasWeight, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	head := encoder{}
	if err := head.header(Tape{Rules: Rules}); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		tape, err := decoded([][]byte{seal(0, head.body), seal(1, body)})
		if err == nil {
			replay(tape).Verdict()
		}
	})
}

// A tape of older rules is judged anew, says so, and is of the new rules once it goes on.
func TestTapeOfOtherRules(t *testing.T) {
	e := encoder{}
	if err := e.header(Tape{Rules: Rules + 5, Policy: Defaults(delivery.JudgePolicy{})}); err != nil {
		t.Fatal(err)
	}
	e.block(Block{Second: 1, Stable: same(90, 0), Canary: same(10, 0)})
	parts := [][]byte{seal(0, e.body)}
	tape, err := decoded(parts)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("judged by rules %d, and this Slipway judges by rules %d", Rules+5, Rules); !strings.Contains(tape.Differs(), want) {
		t.Errorf("Differs() = %q, want %q", tape.Differs(), want)
	}
	rec, err := resume(parts)
	if err != nil {
		t.Fatal(err)
	}
	_, part := rec.Part()
	if tape, err = decoded(append(parts, part)); err != nil || tape.Differs() != "" {
		t.Errorf("after it went on the tape differs because %q (%v)", tape.Differs(), err)
	}
	if next, known := rec.Next(); next != 2 || !known {
		t.Errorf("Next() = %d, %v, want 2", next, known)
	}
}

// What is told while a part is being kept is in the next one.
func TestPartsOverlapNothing(t *testing.T) {
	rec, err := Record(delivery.JudgePolicy{}, Arm{})
	if err != nil {
		t.Fatal(err)
	}
	_, first := rec.Part()
	rec.LeaveOut(5, "")
	rec.Kept()
	n, second := rec.Part()
	rec.Kept()
	rec.Kept() // twice is once
	if _, none := rec.Part(); n != 1 || none != nil {
		t.Fatalf("the second part is numbered %d, and a third holds %d bytes", n, len(none))
	}
	tape, err := decoded([][]byte{first, second})
	if err != nil || len(tape.Entries) != 1 || tape.Entries[0].Left != "for an unknown reason" {
		t.Errorf("the tape is %+v, %v", tape, err)
	}
	if _, err := Record(delivery.JudgePolicy{Alpha: math.NaN()}, Arm{}); err == nil {
		t.Error("a policy that cannot be written was recorded")
	}
}

// A minute of 500 requests a second fits in 25 kilobytes.
func TestTapeIsSmall(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	s := shop()
	rec, err := Record(delivery.JudgePolicy{}, s.baseline(r))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		tell(t, rec, s.block(r, i))
	}
	raw := len(rec.writer.body)
	_, part := rec.Part()
	t.Logf("a minute takes %d bytes, deflated %d", raw, len(part))
	if len(part) > 25_000 {
		t.Errorf("a minute takes %d bytes, want at most 25,000", len(part))
	}
}

// A judge goes on from a long tape without holding it: as entries, a day of seconds
// takes a gigabyte.
func TestResumeHoldsOneEntry(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 5))
	s := shop()
	rec, err := Record(delivery.JudgePolicy{}, s.baseline(r))
	if err != nil {
		t.Fatal(err)
	}
	var parts [][]byte
	const seconds = 900
	for i := range seconds {
		if tell(t, rec, s.block(r, i)); i%100 == 99 {
			_, part := rec.Part()
			parts = append(parts, part)
			rec.Kept()
		}
	}
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before, told, most := heap(), 0, int64(0)
	again, err := Resume(parts, func(e Entry) {
		if told++; e.Block.Second != int64(told-1) {
			t.Fatalf("entry %d is of second %d", told, e.Block.Second)
		}
		if told%300 == 0 {
			most = max(most, heap()-before)
		}
	})
	if err != nil || told != seconds {
		t.Fatalf("%d entries were told, %v", told, err)
	}
	if most > 3<<20 {
		t.Errorf("%d bytes are held, %d an entry", most, most/seconds)
	}
	if a, b := again.Verdict(), rec.Verdict(); !reflect.DeepEqual(a, b) {
		t.Errorf("it says %+v, want %+v", a, b)
	}
}

func tell(t *testing.T, r *Recorder, b Block) {
	t.Helper()
	if err := r.Observe(b); err != nil {
		t.Fatal(err)
	}
}

// replay returns a judge that was told all of a tape.
func replay(t Tape) *Judge {
	j := New(t.Policy, t.Baseline)
	for _, e := range t.Entries {
		j.tell(e)
	}
	return j
}

// resume is Resume without a look at the entries.
func resume(parts [][]byte) (*Recorder, error) { return Resume(parts, func(Entry) {}) }

// decoded returns the tape that was kept in the parts: all of them, and in order.
func decoded(parts [][]byte) (Tape, error) {
	var all []Entry
	t, _, err := decode(parts, func(Tape) {}, func(e Entry) { all = append(all, e) })
	t.Entries = all
	if err != nil {
		return Tape{}, err
	}
	return t, nil
}
