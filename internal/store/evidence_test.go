package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// minute is the first minute that tests keep.
var minute = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

// minuteOf is the nth minute of a service in prod.
func minuteOf(service string, n int, doc string) Minute {
	return Minute{Service: service, Env: "prod", Release: "r1", At: minute.Add(time.Duration(n) * time.Minute), Doc: []byte(doc)}
}

func putMinutes(t *testing.T, s *Store, list ...Minute) {
	t.Helper()
	if err := s.Write(t.Context(), func(tx *Tx) error { return tx.PutMinutes(list) }); err != nil {
		t.Fatal(err)
	}
}

// prune forgets what is older than at, and returns how much went.
func prune(t *testing.T, s *Store, at time.Time) (gone int) {
	t.Helper()
	for {
		var n int
		if err := s.Write(t.Context(), func(tx *Tx) (err error) {
			n, err = tx.PruneMinutes(at)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if gone += n; n == 0 {
			return gone
		}
	}
}

func TestMinutes(t *testing.T) {
	s := openStore(t)
	other := minuteOf("cart", 1, `{"n":5}`)
	other.Release = "r2"
	putMinutes(t, s, minuteOf("cart", 1, `{"n":1}`), minuteOf("pay", 0, `{"n":3}`), other)
	putMinutes(t, s, minuteOf("cart", 1, `{"n":2}`), minuteOf("cart", 2, `{"n":4}`))
	hour := MinuteQuery{From: minute, To: minute.Add(time.Hour)}
	same(t, "all", must[[]Minute](t)(s.Minutes(t.Context(), hour)),
		[]Minute{minuteOf("pay", 0, `{"n":3}`), minuteOf("cart", 1, `{"n":2}`), other, minuteOf("cart", 2, `{"n":4}`)})
	same(t, "one release", must[[]Minute](t)(s.Minutes(t.Context(), MinuteQuery{Service: "cart", Env: "prod", Release: "r2", From: minute, To: minute.Add(30 * 24 * time.Hour)})),
		[]Minute{other})
	same(t, "to is left out", must[[]Minute](t)(s.Minutes(t.Context(), MinuteQuery{Service: "cart", From: minute, To: minute.Add(time.Minute)})), []Minute(nil))
	hour.To = hour.To.Add(time.Minute)
	if _, err := s.Minutes(t.Context(), hour); !errors.Is(err, delivery.ErrInvalid) {
		t.Errorf("Minutes of everything over more than an hour = %v, want ErrInvalid", err)
	}
	for name, m := range map[string]Minute{
		"no service": minuteOf("", 0, `{}`), "no JSON": minuteOf("cart", 0, `{`),
		"not the beginning of a minute": {Service: "cart", Env: "prod", Release: "r1", At: minute.Add(time.Second), Doc: []byte(`{}`)},
	} {
		if err := s.Write(t.Context(), func(tx *Tx) error { return tx.PutMinutes([]Minute{m}) }); !errors.Is(err, delivery.ErrInvalid) {
			t.Errorf("PutMinutes with %s = %v, want ErrInvalid", name, err)
		}
	}
}

// What a rollout was judged by stays: the minutes before it that tuned its
// judge, those while it went on, and the one in which it ended.
func TestMinutesOfARolloutStay(t *testing.T) {
	s := openStore(t)
	r := start(t, s, "cart", "prod")
	var before []Minute
	for n := range 30 {
		before = append(before, minuteOf("cart", n, `{}`), minuteOf("pay", n, `{}`))
	}
	putMinutes(t, s, before...)
	r.State, r.Started = delivery.Preparing, minute.Add(30*time.Minute)
	write(t, s, func(tx *Tx) (err error) { r, err = tx.SaveRollout(r); return err })
	start(t, s, "cart", "prod") // waits in the queue, and is not what the numbers are about
	putMinutes(t, s, minuteOf("cart", 30, `{}`))
	r.State = delivery.Reverting
	write(t, s, func(tx *Tx) (err error) { r, err = tx.SaveRollout(r); return err })
	r.State, r.Ended = delivery.Reverted, minute.Add(31*time.Minute+30*time.Second)
	write(t, s, func(tx *Tx) (err error) { r, err = tx.SaveRollout(r); return err })
	for n := 31; n < 40; n++ {
		putMinutes(t, s, minuteOf("cart", n, `{}`))
	}
	// Of cart 0..18 and 32..39 go, of pay all 30.
	if gone := prune(t, s, minute.Add(time.Hour)); gone != 19+8+30 {
		t.Errorf("%d minutes went, want %d", gone, 19+8+30)
	}
	left := must[[]Minute](t)(s.Minutes(t.Context(), MinuteQuery{From: minute, To: minute.Add(time.Hour)}))
	if len(left) != 13 || !left[0].At.Equal(minute.Add(19*time.Minute)) || !left[12].At.Equal(minute.Add(31*time.Minute)) {
		t.Errorf("%d minutes are left, from %v: want 13, from the 19th to the 31st", len(left), left)
	}
}

// A stride is bounded, and what is young enough stays.
func TestPruneInStrides(t *testing.T) {
	s := openStore(t)
	var list []Minute
	for n := range 40 {
		for service := range 30 {
			list = append(list, minuteOf(fmt.Sprint("s", service), n, `{}`))
		}
	}
	putMinutes(t, s, list...)
	if err := s.Write(t.Context(), func(tx *Tx) error {
		n, err := tx.PruneMinutes(minute.Add(36 * time.Minute))
		if n != stride {
			t.Errorf("the first stride took %d, want %d", n, stride)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if gone := prune(t, s, minute.Add(36*time.Minute)); gone != 36*30-stride {
		t.Errorf("then %d went, want %d", gone, 36*30-stride)
	}
}

func TestTape(t *testing.T) {
	s := openStore(t)
	r := start(t, s, "cart", "prod")
	put := func(id delivery.RolloutID, part int, data string) error {
		return s.Write(t.Context(), func(tx *Tx) error { return tx.AppendTape(id, part, []byte(data)) })
	}
	for i, c := range []struct {
		id   delivery.RolloutID
		part int
		data string
		want error
	}{
		{r.ID, 1, "b", delivery.ErrConflict},
		{r.ID, 0, "\x00\xff", nil},
		{r.ID, 0, "\x00\xff", nil},
		{r.ID, 0, "a", delivery.ErrConflict},
		{r.ID, -1, "a", delivery.ErrConflict},
		{r.ID, 1, "b", nil},
		{r.ID, 2, "", delivery.ErrInvalid},
		{r.ID, 2, strings.Repeat("x", MaxTapeBytes+1), delivery.ErrInvalid},
		{"9/prod", 0, "a", delivery.ErrNotFound},
	} {
		if err := put(c.id, c.part, c.data); !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%d: AppendTape(%s, %d) = %v, want %v", i, c.id, c.part, err, c.want)
		}
	}
	same(t, "tape", must[[][]byte](t)(s.Tape(t.Context(), r.ID)), [][]byte{{0, 0xff}, []byte("b")})
	same(t, "no tape", must[[][]byte](t)(s.Tape(t.Context(), "9/prod")), [][]byte(nil))
}

// A part of the tape and the move that rests on it are kept together or not at all.
func TestTapeGoesWithTheMove(t *testing.T) {
	s := openStore(t)
	r := start(t, s, "cart", "prod")
	err := record(t, s, func(tx *Tx) error {
		if err := tx.AppendTape(r.ID, 0, []byte("a")); err != nil {
			return err
		}
		r.Gen = 7
		_, err := tx.SaveRollout(r)
		return err
	})
	if !errors.Is(err, delivery.ErrConflict) {
		t.Fatalf("SaveRollout = %v, want ErrConflict", err)
	}
	same(t, "tape", must[[][]byte](t)(s.Tape(t.Context(), r.ID)), [][]byte(nil))
}

func TestTraces(t *testing.T) {
	s := openStore(t)
	put := func(tr delivery.Trace) error {
		return s.Write(t.Context(), func(tx *Tx) error { return tx.PutTrace(tr) })
	}
	for n := range MaxTraces + 5 {
		if err := put(delivery.Trace{ID: fmt.Sprintf("t%02d", n), Change: 7, Release: "r1", At: minute.Add(time.Duration(n) * time.Second)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := put(delivery.Trace{ID: "other", Change: 8, At: minute}); err != nil {
		t.Fatal(err)
	}
	grown := delivery.Trace{ID: "t20", Change: 7, Release: "r1", At: minute.Add(20 * time.Second), Why: "answered 500"}
	if err := put(grown); err != nil {
		t.Fatal(err)
	}
	list := must[[]delivery.Trace](t)(s.Traces(t.Context(), 7))
	if len(list) != MaxTraces || list[0].ID != fmt.Sprint("t", MaxTraces+4) || list[MaxTraces-1].ID != "t05" {
		t.Errorf("%d traces from %s to %s, want the newest %d", len(list), list[0].ID, list[len(list)-1].ID, MaxTraces)
	}
	got, found, err := s.Trace(t.Context(), "t20")
	if err != nil || !found {
		t.Fatalf("Trace = %v, %v", found, err)
	}
	same(t, "trace", got, grown)
	if _, found, err = s.Trace(t.Context(), "t00"); found || err != nil {
		t.Errorf("Trace of one that made room = %v, %v", found, err)
	}
	for name, tr := range map[string]delivery.Trace{
		"no ID": {At: minute}, "no time": {ID: "t"},
		"too long": {ID: "t", At: minute, Why: strings.Repeat("x", MaxTraceBytes)},
	} {
		if err := put(tr); !errors.Is(err, delivery.ErrInvalid) {
			t.Errorf("PutTrace with %s = %v, want ErrInvalid", name, err)
		}
	}
	if err := s.Write(t.Context(), func(tx *Tx) error {
		n, err := tx.PruneTraces(minute.Add(10 * time.Second))
		if n != 6 { // t05 to t09, and the other
			t.Errorf("PruneTraces took %d, want 6", n)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
