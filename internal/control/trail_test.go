package control

import (
	"reflect"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// trail is how a rollout went, as far as it is known.
func (h *house) trail(t *testing.T, id delivery.RolloutID) Trail {
	t.Helper()
	out, err := h.Trail(t.Context(), h.rollout(id))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// What is drawn of a rollout that went back is the same for who watched it all the
// time and for who comes later, to a server that remembers nothing.
func TestTrailAndExposureOutliveTheServer(t *testing.T) {
	scene(t, project("prod"), func(t *testing.T, w *world, h *house) {
		w.behave("v3", behaviour{start: time.Second, fail: 0.3})
		s := h.deploy("v3")
		id := s.Rollouts[0].ID
		seen := 0
		for !h.rollout(id).State.Final() {
			time.Sleep(500 * time.Millisecond)
			seen = max(seen, len(h.trail(t, id).Moments))
		}
		if seen == 0 {
			t.Errorf("no moment was seen while it was under way")
		}
		time.Sleep(2 * time.Minute) // until every answer is counted
		r := h.rollout(id)
		trail := text(h.trail(t, id))
		exposure, known, err := h.Exposure(t.Context(), r)
		if err != nil || !known {
			t.Fatalf("Exposure = %+v, %v, %v", exposure, known, err)
		}
		var asked, failed uint64
		w.mu.Lock()
		for _, b := range w.blocks {
			if b.Release == r.To && b.Second <= lastOf(r) {
				asked, failed = asked+b.Requests, failed+b.Server
			}
		}
		w.mu.Unlock()
		if exposure.Requests != asked || exposure.Failed != failed || failed == 0 || exposure.Sampled != failed || exposure.Partly {
			t.Errorf("exposure = %d requests, %d failed, %d of them sampled, partly %v; want %d and %d", exposure.Requests, exposure.Failed, exposure.Sampled, exposure.Partly, asked, failed)
		}
		if len(exposure.Failures) != 1 {
			t.Fatalf("failures = %+v, want one kind", exposure.Failures)
		}
		if f := exposure.Failures[0]; f.Path != "/orders/*" || f.Status != 502 || f.Count != failed || len(f.Samples) != maxSamples {
			t.Errorf("failure = %+v", f)
		}
		h.stop()
		w.mu.Lock()
		w.blocks, w.failed, w.rate = nil, nil, map[string]float64{}
		w.mu.Unlock()
		time.Sleep(2 * time.Hour) // nothing that is held in memory lasts so long
		h = begin(t, w, h.dir)
		time.Sleep(20 * time.Second)
		if again := text(h.trail(t, id)); again != trail {
			t.Errorf("the trail of later is\n%s\nwant\n%s", again, trail)
		}
		again, known, err := h.Exposure(t.Context(), h.rollout(id))
		if err != nil || !known || !reflect.DeepEqual(again, exposure) {
			t.Errorf("the exposure of later is %+v, %v, %v; want %+v", again, known, err, exposure)
		}
		h.stop()
	})
}

// Exposure is whole of a rollout that takes longer than the counts are at hand,
// and outlives servers that end meanwhile.
func TestExposureOfALongRollout(t *testing.T) {
	p := with(func(s *delivery.Strategy) { s.Steps[0].Hold = 40 * time.Minute })
	scene(t, p, func(t *testing.T, w *world, h *house) {
		id := h.deploy("v2").Rollouts[0].ID
		var asked uint64
		counted := int64(0)
		count := func() { // the world forgets as the data plane does
			w.mu.Lock()
			defer w.mu.Unlock()
			r := h.rollout(id)
			for _, b := range w.blocks {
				if b.Release == r.To && b.Second > counted && (r.Ended.IsZero() || b.Second <= lastOf(r)) {
					asked += b.Requests
				}
			}
			counted = w.served
		}
		for i := range 50 {
			time.Sleep(time.Minute)
			count()
			if i == 20 {
				h.stop()
				h = begin(t, w, h.dir)
			}
			if h.rollout(id).State.Final() {
				break
			}
		}
		h.want(t, id, delivery.Done)
		time.Sleep(2 * time.Minute)
		got, _, err := h.Exposure(t.Context(), h.rollout(id))
		if err != nil || got.Partly || got.Requests == 0 || got.Requests > asked {
			t.Errorf("Exposure = %d requests, partly %v, %v; the world counted %d", got.Requests, got.Partly, err, asked)
		}
		if trail := h.trail(t, id); len(trail.Moments) < maxMoments/3 || len(trail.Moments) > maxMoments || trail.Every < 16 {
			t.Errorf("%d moments of %d s each for forty minutes", len(trail.Moments), trail.Every)
		}
		h.stop()
	})
}

// However long a rollout takes, its track stays short and loses no request.
func TestTrackCoarsens(t *testing.T) {
	var track track
	units := uint64(0)
	for second := range int64(5000) {
		if second%7 == 3 {
			continue // nobody asked
		}
		track.add(nil, analysis.Block{Second: 100 + second, Stable: analysis.Arm{Units: 2, Bins: map[int]uint32{100: 2}}, Canary: analysis.Arm{Units: 1, Bad: 1}})
		units += 3
		if len(track.list) > maxMoments {
			t.Fatalf("%d moments after %d seconds", len(track.list), second)
		}
	}
	got, last := uint64(0), int64(0)
	for _, m := range track.trail().Moments {
		if m.Second <= last || (m.Second-100)%track.every != 0 {
			t.Errorf("moment %d comes after %d, each of %d s", m.Second, last, track.every)
		}
		got, last = got+m.Stable.Units+m.Canary.Units, m.Second
	}
	if got != units || track.every != 64 {
		t.Errorf("%d units in moments of %d s, want %d in 64 s", got, track.every, units)
	}
}

// Who looks at many tapes makes the oldest ones be read again, and no more.
func TestFilmsAreForgotten(t *testing.T) {
	var s films
	first := s.take("a")
	for i := range maxFilms - 1 {
		s.take(delivery.RolloutID(rune('b' + i)))
	}
	if s.take("a") != first {
		t.Error("a film is forgotten while there is room")
	}
	s.take("another") // b makes room
	if s.take("a") != first || len(s.of) != maxFilms {
		t.Errorf("%d films, want %d with the one that was looked at last", len(s.of), maxFilms)
	}
	s.drop("a")
	if s.take("a") == first {
		t.Error("a film that could not be read is used again")
	}
}

func TestShape(t *testing.T) {
	for path, want := range map[string]string{
		"/": "/", "/checkout": "/checkout", "/v1/orders/42": "/v1/orders/*", "/u/9f2c71ab/cart": "/u/*/cart",
		"/api/v2/x7": "/api/v2/*", "/file/" + string(make([]byte, 50)): "/file/*",
	} {
		if got := shape(path); got != want {
			t.Errorf("shape(%q) = %q, want %q", path, got, want)
		}
	}
}
