package analysis

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math"
	"slices"
)

// A part of a tape is
//
//	"slipway tape" | format | number | CRC-32 of the rest | the rest, deflated
//
// with the format and the number as unsigned varints and the checksum (IEEE) in
// four bytes, low byte first. Inflated, the rest of part 0 begins with the rules,
// the policy as JSON and the baseline; entries follow in all parts, each with the
// seconds since the one before it. Counts are varints, so that a second of 500
// requests takes about half a kilobyte before and two thirds of it after deflation.
const (
	magic  = "slipway tape"
	format = 1
)

// maxPart bounds what one part may hold when it is inflated: days of a busy service.
const maxPart = 1 << 28

// The kinds of entries.
const (
	kindStep  = 1
	kindLeft  = 2
	kindBlock = 3
	kindRules = 4
)

// What a block or an arm has beside its counts.
const (
	hasAgain = 1 << iota
	hasDrawn
	hasLost
	hasPlaces
)

const (
	hasWeight = 1 << iota
	hasPairs
	hasReadings
	isFresh
)

// What a reading is.
const (
	isApprox = 1 << iota
	isWrong
)

// seal makes a part of a body.
func seal(number int, body []byte) []byte {
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.DefaultCompression)
	if err == nil {
		_, err = w.Write(body)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // a known level, and a buffer takes everything
	}
	part := binary.AppendUvarint([]byte(magic), format)
	part = binary.AppendUvarint(part, uint64(number))
	part = binary.LittleEndian.AppendUint32(part, crc32.ChecksumIEEE(packed.Bytes()))
	return append(part, packed.Bytes()...)
}

// unseal returns the body of a part that must have the given number.
func unseal(number int, part []byte) ([]byte, error) {
	rest, ours := bytes.CutPrefix(part, []byte(magic))
	if !ours {
		return nil, errors.New("it is no part of a judge's tape")
	}
	d := decoder{rest: rest}
	if f := d.uint("format"); d.err == nil && f != format {
		return nil, fmt.Errorf("it is written in format %d, and this Slipway reads %d", f, format)
	}
	got := d.uint("number")
	if d.err == nil && got != uint64(number) {
		return nil, fmt.Errorf("it is part %d of its tape: parts are missing, twice or out of order", got)
	}
	sum := d.bytes("checksum", 4)
	if d.err != nil {
		return nil, d.err
	}
	if binary.LittleEndian.Uint32(sum) != crc32.ChecksumIEEE(d.rest) {
		return nil, errors.New("its checksum does not fit: it was damaged or cut off")
	}
	body, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(d.rest)), maxPart+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("inflate: %w", err)
	case len(body) > maxPart:
		return nil, fmt.Errorf("it holds more than %d bytes", maxPart)
	}
	return body, nil
}

// encoder writes entries.
type encoder struct {
	body []byte
	last int64 // second of the last entry that had one
	bins []int // scratch
}

func (e *encoder) uint(v uint64) { e.body = binary.AppendUvarint(e.body, v) }
func (e *encoder) int(v int64)   { e.body = binary.AppendVarint(e.body, v) }

func (e *encoder) text(s string) {
	e.uint(uint64(len(s)))
	e.body = append(e.body, s...)
}

// float writes a whole number up to 2^53 as a varint, and anything else in eight bytes.
func (e *encoder) float(v float64) {
	if n := uint64(v); v >= 0 && v < 1<<53 && float64(n) == v && !(v == 0 && math.Signbit(v)) {
		e.uint(n + 1)
		return
	}
	e.uint(0)
	e.body = binary.LittleEndian.AppendUint64(e.body, math.Float64bits(v))
}

func (e *encoder) second(s int64) {
	e.int(s - e.last) // wraps around, and back again
	e.last = s
}

func (e *encoder) header(t Tape) error {
	policy, err := json.Marshal(t.Policy)
	if err != nil {
		return fmt.Errorf("analysis: write the policy: %w", err)
	}
	e.uint(uint64(t.Rules))
	e.text(string(policy))
	e.arm(t.Baseline)
	return nil
}

func (e *encoder) step() { e.uint(kindStep) }

func (e *encoder) rules(v int) {
	e.uint(kindRules)
	e.uint(uint64(v))
}

func (e *encoder) left(second int64, why string) {
	e.uint(kindLeft)
	e.second(second)
	e.text(why)
}

func (e *encoder) block(b Block) {
	e.uint(kindBlock)
	e.second(b.Second)
	has := flag(b.Weight != 0, hasWeight) | flag(b.Pairs != (Pairs{}), hasPairs) | flag(len(b.Readings) > 0, hasReadings) | flag(b.Fresh, isFresh)
	e.uint(has)
	e.arm(b.Stable)
	e.arm(b.Canary)
	if has&hasWeight != 0 {
		e.float(b.Weight)
	}
	if has&hasPairs != 0 {
		for _, n := range []uint64{b.Pairs.Both, b.Pairs.CanaryBad, b.Pairs.StableBad, b.Pairs.CanarySlow, b.Pairs.StableSlow} {
			e.uint(n)
		}
	}
	if has&hasReadings != 0 {
		e.uint(uint64(len(b.Readings)))
		for _, r := range b.Readings {
			e.reading(r)
		}
	}
}

func flag(is bool, bit uint64) uint64 {
	if is {
		return bit
	}
	return 0
}

func (e *encoder) arm(a Arm) {
	has := flag(a.Again != nil, hasAgain) | flag(a.Drawn != 0, hasDrawn) | flag(a.Lost != 0, hasLost) | flag(len(a.Places) > 0, hasPlaces)
	e.uint(has)
	e.uint(a.Units)
	e.uint(a.Bad)
	e.uint(a.Open)
	e.histogram(a.Bins)
	if has&hasAgain != 0 {
		again := *a.Again
		again.Again = nil // nobody fails again of those who failed again
		e.arm(again)
	}
	if has&hasDrawn != 0 {
		e.uint(a.Drawn)
	}
	if has&hasLost != 0 {
		e.uint(a.Lost)
	}
	if has&hasPlaces != 0 {
		e.uint(uint64(len(a.Places)))
		for _, name := range slices.Sorted(maps.Keys(a.Places)) {
			p := a.Places[name]
			e.text(name)
			e.uint(p.Units)
			e.uint(p.Bad)
		}
	}
}

// histogram writes the bins in order, each with its distance from the one before.
func (e *encoder) histogram(bins map[int]uint32) {
	e.bins = e.bins[:0]
	for bin := range bins {
		e.bins = append(e.bins, bin)
	}
	slices.Sort(e.bins)
	e.uint(uint64(len(e.bins)))
	last := 0
	for _, bin := range e.bins {
		e.int(int64(bin - last))
		e.uint(uint64(bins[bin]))
		last = bin
	}
}

func (e *encoder) reading(r Reading) {
	has := flag(r.Approx, isApprox) | flag(r.Wrong != "", isWrong)
	e.text(r.Metric)
	e.uint(has)
	e.int(int64(r.Seconds))
	if has&isWrong != 0 {
		e.text(r.Wrong)
	}
	for _, v := range []Value{r.Stable, r.Canary} {
		e.float(v.N)
		e.float(v.Sum)
		e.float(v.Squares)
		e.histogram(v.Bins)
	}
}

// Entries hands out the entries of the tape that was kept in the parts, one at a
// time, and returns the tape without them: however long it is, it takes no more
// memory than its parts.
func Entries(parts [][]byte, each func(Entry)) (Tape, error) {
	t, _, err := decode(parts, func(Tape) {}, each)
	return t, err
}

// decode hands out the beginning of a tape and then entry by entry, and returns
// the tape without entries, as a day of them takes a gigabyte.
func decode(parts [][]byte, begin func(Tape), each func(Entry)) (t Tape, last int64, err error) {
	if len(parts) == 0 {
		return Tape{}, 0, errors.New("analysis: the tape has no part")
	}
	d := decoder{}
	for i, part := range parts {
		if err := d.part(i, part, &t, begin, each); err != nil {
			return Tape{}, 0, err
		}
	}
	return t, d.last, nil
}

// part hands out what one part holds; part 0 has the beginning of the tape.
func (d *decoder) part(number int, part []byte, t *Tape, begin func(Tape), each func(Entry)) error {
	if d.rest, d.err = unseal(number, part); d.err == nil && number == 0 {
		if d.header(t); d.err == nil {
			begin(*t)
		}
	}
	for d.err == nil && len(d.rest) > 0 {
		if e, ok := d.entry(t); ok && d.err == nil {
			each(e)
		}
	}
	if d.err != nil {
		return fmt.Errorf("analysis: part %d of the tape: %w", number, d.err)
	}
	return nil
}

// decoder reads entries; after the first error it reads nothing more.
type decoder struct {
	rest []byte
	last int64
	err  error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%s cannot be read %d bytes before the end", what, len(d.rest))
	}
	d.rest = nil
}

func (d *decoder) uint(what string) uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.fail(what)
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) int(what string) int64 {
	v, n := binary.Varint(d.rest)
	if n <= 0 {
		d.fail(what)
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) bytes(what string, n uint64) []byte {
	if n > uint64(len(d.rest)) {
		d.fail(what)
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

// length reads how many things follow that take at least one byte each.
func (d *decoder) length(what string) int {
	n := d.uint(what)
	if n > uint64(len(d.rest)) {
		d.fail(what)
		return 0
	}
	return int(n)
}

func (d *decoder) text(what string) string { return string(d.bytes(what, d.uint(what))) }

func (d *decoder) float(what string) float64 {
	if n := d.uint(what); n > 0 {
		return float64(n - 1)
	}
	b := d.bytes(what, 8)
	if b == nil {
		return 0
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(b))
}

func (d *decoder) second() int64 {
	d.last += d.int("a second")
	return d.last
}

func (d *decoder) header(t *Tape) {
	t.Rules = int(min(d.uint("the rules"), math.MaxInt32))
	policy := d.text("the policy")
	if d.err != nil {
		return
	}
	if err := json.Unmarshal([]byte(policy), &t.Policy); err != nil {
		d.err = fmt.Errorf("the policy cannot be read: %w", err)
		return
	}
	t.Baseline = d.arm()
}

// entry reads one entry; not ok is that it is none for the judge.
func (d *decoder) entry(t *Tape) (e Entry, ok bool) {
	switch kind := d.uint("the kind of an entry"); {
	case d.err != nil:
		return Entry{}, false
	case kind == kindStep:
		return Entry{Step: true}, true
	case kind == kindRules:
		t.Rules = int(min(d.uint("the rules"), math.MaxInt32))
		return Entry{}, false
	case kind == kindLeft:
		return Entry{Block: Block{Second: d.second()}, Left: d.text("why a second was left out")}, true
	case kind == kindBlock:
		return Entry{Block: d.block()}, true
	default:
		d.err = fmt.Errorf("there is an entry of the unknown kind %d", kind)
		return Entry{}, false
	}
}

func (d *decoder) block() Block {
	b := Block{Second: d.second()}
	has := d.uint("what a block has")
	b.Fresh = has&isFresh != 0
	b.Stable, b.Canary = d.arm(), d.arm()
	if has&hasWeight != 0 {
		b.Weight = d.float("a weight")
	}
	if has&hasPairs != 0 {
		for _, n := range []*uint64{&b.Pairs.Both, &b.Pairs.CanaryBad, &b.Pairs.StableBad, &b.Pairs.CanarySlow, &b.Pairs.StableSlow} {
			*n = d.uint("pairs")
		}
	}
	if has&hasReadings != 0 {
		for range d.length("readings") {
			b.Readings = append(b.Readings, d.reading())
			if d.err != nil {
				break
			}
		}
	}
	return b
}

func (d *decoder) arm() Arm { return d.armWithin(1) }

// armWithin reads an arm that may hold arms depth deep.
func (d *decoder) armWithin(depth int) Arm {
	has := d.uint("what an arm has")
	a := Arm{Units: d.uint("units"), Bad: d.uint("failed units"), Open: d.uint("open units"), Bins: d.histogram()}
	if has&hasAgain != 0 {
		if depth == 0 {
			d.fail("an arm within an arm")
			return a
		}
		again := d.armWithin(depth - 1)
		a.Again = &again
	}
	if has&hasDrawn != 0 {
		a.Drawn = d.uint("drawn units")
	}
	if has&hasLost != 0 {
		a.Lost = d.uint("lost requests")
	}
	if has&hasPlaces != 0 {
		n := d.length("places")
		a.Places = make(map[string]Place, min(n, 64))
		for range n {
			name := d.text("a place")
			a.Places[name] = Place{Units: d.uint("a place's units"), Bad: d.uint("a place's failed units")}
			if d.err != nil {
				break
			}
		}
	}
	return a
}

func (d *decoder) histogram() map[int]uint32 {
	n := d.length("a histogram")
	if n == 0 {
		return nil
	}
	bins := make(map[int]uint32, min(n, Bins))
	bin := 0
	for range n {
		bin += int(d.int("a bin"))
		v := d.uint("the units in a bin")
		if v > math.MaxUint32 {
			d.fail("the units in a bin")
		}
		if d.err != nil {
			break
		}
		bins[bin] = uint32(v)
	}
	return bins
}

func (d *decoder) reading() Reading {
	r := Reading{Metric: d.text("a metric's name")}
	has := d.uint("what a reading has")
	r.Approx = has&isApprox != 0
	r.Seconds = int(d.int("a reading's seconds"))
	if has&isWrong != 0 {
		r.Wrong = d.text("what is wrong with a reading")
	}
	for _, v := range []*Value{&r.Stable, &r.Canary} {
		*v = Value{N: d.float("a value"), Sum: d.float("a value"), Squares: d.float("a value"), Bins: d.histogram()}
	}
	return r
}
