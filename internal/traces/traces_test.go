package traces

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/traffic"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func traceID(n int) string { return fmt.Sprintf("%032x", n+1) }

func span(n int) delivery.Span {
	return delivery.Span{ID: fmt.Sprintf("%016x", n+1), Name: "GET /", Kind: "server", Service: "shop", Start: noon.Add(time.Duration(n) * time.Millisecond), Took: time.Millisecond}
}

func TestBufferLetsTheOldestGo(t *testing.T) {
	b := NewBuffer()
	b.Add(traceID(0), span(0))
	b.Add(traceID(1), span(0))
	if !b.Pin(traceID(0)) {
		t.Fatal("the first pin is refused")
	}
	const all = 3 * maxTraces
	for i := 2; i < all; i++ {
		b.Add(traceID(i), span(0))
	}
	if len(b.held) > maxTraces || len(b.order) != len(b.held) {
		t.Errorf("%d traces are held in %d places", len(b.held), len(b.order))
	}
	for i, want := range map[int]bool{0: true, 1: false, all - 1: true} {
		if _, there := b.Trace(traceID(i)); there != want {
			t.Errorf("trace %d is there: %v", i, there)
		}
	}
	b.Unpin(traceID(0))
	b.Add(traceID(all), span(0))
	if _, there := b.Trace(traceID(0)); there {
		t.Error("what nobody waits for any more is not let go")
	}
}

// Large spans count by their size, one trace has no more than its share, and too
// many who wait are told.
func TestBufferIsBounded(t *testing.T) {
	b := NewBuffer()
	fat := span(0)
	fat.Attrs = map[string]string{"a": strings.Repeat("x", 100<<10)}
	for i := range 1000 {
		b.Add(traceID(i), fat)
	}
	if b.bytes > maxBytes+200<<10 || len(b.held) < 100 {
		t.Errorf("%d traces hold %d bytes", len(b.held), b.bytes)
	}
	for i := range maxSpans + 10 {
		if taken := b.Add("one", span(i)); taken != (i < maxSpans) {
			t.Fatalf("span %d is taken: %v", i, taken)
		}
	}
	if !b.Add("one", span(3)) {
		t.Error("a span that is there already is refused")
	}
	if one, _ := b.Trace("one"); len(one.Spans) != maxSpans || one.Missing != 10 || !one.At.Equal(noon) {
		t.Errorf("it has %d spans from %s and misses %d", len(one.Spans), one.At, one.Missing)
	}
	pins := 0
	for i := range 2 * maxPinned {
		if b.Pin(traceID(i)) {
			pins++
		}
	}
	if pins != maxPinned {
		t.Errorf("%d wait", pins)
	}
}

// underWay is a store in which shop is rolled out in prod.
func underWay(t *testing.T) (*store.Store, delivery.Rollout) {
	t.Helper()
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "slipway.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	var r delivery.Rollout
	err = s.Write(t.Context(), func(tx *store.Tx) error {
		rel := delivery.Release{Service: "shop", Version: "v2"}
		rel.ID = "r0123456789abcdef"
		c, err := tx.CreateChange(delivery.Change{Kind: delivery.Code, Members: []delivery.Member{{Service: "shop", To: rel.ID}}, Submitted: noon})
		if err != nil {
			return err
		}
		r, err = tx.CreateRollout(delivery.Rollout{ID: delivery.RolloutID(fmt.Sprintf("%d/prod/shop", c.ID)), Change: c.ID, Service: "shop", Env: "prod", To: rel.ID, Version: "v2", State: delivery.Queued})
		if err != nil {
			return err
		}
		_, err = tx.Append(delivery.Event{At: noon, Kind: delivery.EventSubmitted, Change: c.ID, Service: "shop", By: "ann", Text: "test"})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

func failure(n int, r delivery.Rollout) traffic.Sample {
	return traffic.Sample{At: noon.Add(time.Duration(n) * time.Millisecond), Route: "prod/shop", Release: r.To, Status: 500, Trace: traceID(n)}
}

func keeper(t *testing.T) (*Keeper, delivery.Rollout) {
	s, r := underWay(t)
	return NewKeeper(s, slog.New(slog.DiscardHandler)), r
}

func TestTracesOfAChangeAreKept(t *testing.T) {
	k, r := keeper(t)
	stable, preview := failure(1, r), failure(2, r)
	stable.Release, preview.Caller = "r9999999999999999", traffic.PreviewCaller
	k.Failed([]traffic.Sample{failure(0, r), failure(0, r), stable, preview, failure(3, r)})
	for i := range 3 {
		k.Buffer.Add(traceID(i), span(0))
	}
	begun := k.waiting[traceID(0)].heard
	keep := func(after time.Duration) {
		t.Helper()
		if err := k.keep(t.Context(), begun.Add(after)); err != nil {
			t.Fatal(err)
		}
	}
	kept := func(n int) []delivery.Trace {
		t.Helper()
		list, err := k.Of(t.Context(), r.Change)
		if err != nil || len(list) != n {
			t.Fatalf("%d traces are kept, %v; want %d", len(list), err, n)
		}
		return list
	}
	keep(time.Second)
	kept(0)
	keep(settled + time.Second)
	if one := kept(1)[0]; one.ID != traceID(0) || one.Why != "answered 500" || one.Env != "prod" || one.Service != "shop" || one.Release != r.To || len(one.Spans) != 1 {
		t.Errorf("kept is %+v", one)
	}
	k.Buffer.Add(traceID(0), span(1)) // an SDK's, later
	keep(complete + time.Second)
	if one := kept(1)[0]; len(one.Spans) != 2 || one.Change != r.Change {
		t.Errorf("complete it is %+v", one)
	}
	if len(k.waiting) != 0 || len(k.Buffer.pinned) != 0 {
		t.Errorf("%d are waited for still, %d pinned", len(k.waiting), len(k.Buffer.pinned))
	}
	k.Buffer = NewBuffer()
	if one, err := k.Trace(t.Context(), strings.ToUpper(traceID(0))); err != nil || len(one.Spans) != 2 {
		t.Errorf("Trace = %+v, %v", one, err)
	}
	if _, err := k.Trace(t.Context(), traceID(9)); !errors.Is(err, delivery.ErrNotFound) {
		t.Errorf("Trace of none = %v", err)
	}
	k.Buffer.Add(traceID(9), span(0))
	if one, err := k.Trace(t.Context(), traceID(9)); err != nil || one.Change != 0 {
		t.Errorf("a recent one = %+v, %v", one, err)
	}
}

// A release that fails everything fills its places and then writes seldom; each
// trace fits.
func TestKeepingIsBounded(t *testing.T) {
	k, r := keeper(t)
	fat := span(0)
	fat.Attrs = map[string]string{"a": strings.Repeat("x", 2000)}
	for i := range enough + 20 {
		for j := range maxSpans {
			fat.ID = fmt.Sprintf("%016x", j+1)
			k.Buffer.Add(traceID(i), fat)
		}
		k.Failed([]traffic.Sample{failure(i, r)})
	}
	begun := time.Now()
	if err := k.keep(t.Context(), begun.Add(settled)); err != nil {
		t.Fatal(err)
	}
	list, err := k.Of(t.Context(), r.Change)
	if err != nil || len(list) != enough {
		t.Fatalf("%d traces are kept, %v", len(list), err)
	}
	if one := list[0]; one.Missing == 0 || len(one.Spans)+one.Missing != maxSpans {
		t.Errorf("one has %d spans and misses %d", len(one.Spans), one.Missing)
	}
	if k.room(r.Change, begun.Add(settled+2*time.Second)) || !k.room(r.Change, begun.Add(settled+2*slow)) {
		t.Error("more are kept too soon, or never")
	}
	if err := k.prune(t.Context(), noon.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if list, err := k.Of(t.Context(), r.Change); err != nil || len(list) != 0 {
		t.Errorf("%d traces are left of long ago, %v", len(list), err)
	}
}

func TestRunEnds(t *testing.T) {
	k, r := keeper(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- k.Run(ctx) }()
	k.Failed([]traffic.Sample{failure(0, r)})
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
