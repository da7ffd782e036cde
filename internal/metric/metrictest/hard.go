package metrictest

import (
	"context"
	"math"
	"reflect"
	"slices"
	"strconv"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
)

// vanished: the canary stops publishing in the middle. What it did until then
// counts, and after it there is nothing: above all no reading in which a canary
// without errors stands beside stable.
func vanished(w *world) {
	const gone = 24
	all := w.requests()
	for i := range all {
		if all[i].release == w.canary {
			all[i].from, all[i].to = -history, gone
		}
	}
	w.write(all...)
	got := w.read(w.ask(w.errors()))
	_, c := totals(got)
	w.want("all of canary", c.N, 2*10*(gone+1))
	w.want("bad of canary", c.Sum, 2*1*(gone+1))
	for _, r := range got.Readings {
		if r.Second-int64(r.Seconds) >= w.first+gone {
			w.t.Errorf("a reading of seconds %d to %d, and the canary was silent from %d on", r.Second-int64(r.Seconds)+1, r.Second, w.first+gone+1)
		}
	}
	if got.Missing == "" {
		w.t.Error("Missing is empty, and the canary vanished")
	}
}

// stale: a value that was true a minute ago is none.
func stale(w *world) {
	gauge := func(release delivery.ReleaseID, from, to int64) series {
		return series{release: release, instance: string(release), name: "memory_bytes", kind: metric.Gauge, from: from, to: to, at: steady(7)}
	}
	w.write(gauge(stable, -history, span), gauge(canary, -history, -30))
	w.nothing(w.read(w.ask(delivery.Metric{Kind: delivery.KindLevel, Value: w.Select("memory_bytes", "")})))
}

// notANumber: a source may refuse to keep it or hand it on; it is never judged.
func notANumber(w *world) {
	for i, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		name := "strange_" + strconv.Itoa(i)
		w.write(
			series{release: stable, instance: "s1", name: name, kind: metric.Gauge, at: steady(1)},
			series{release: canary, instance: "c1", name: name, kind: metric.Gauge, at: steady(v)})
		got := w.read(w.ask(delivery.Metric{Kind: delivery.KindLevel, Value: w.Select(name, "")}))
		for _, r := range got.Readings {
			if r.Wrong == "" {
				w.t.Errorf("of a canary at %v there is a reading that may be judged: %+v", v, r)
			}
		}
		if len(got.Readings) == 0 && got.Missing == "" {
			w.t.Errorf("a canary at %v is neither called wrong nor missing", v)
		}
	}
}

// late: one sample of each series comes after all others, and all come twice.
func late(w *world) {
	var early, last []metric.Sample
	for _, s := range w.requests() {
		all := w.samples(s)
		mid := len(all) - 4
		last = append(last, all[mid])
		early = append(early, slices.Delete(all, mid, mid+1)...)
	}
	inTime(early)
	w.Write(w.t, early)
	a := w.ask(w.errors())
	before := w.read(a)
	w.Write(w.t, last)
	w.Write(w.t, early[len(early)/2:])
	after := w.read(a)
	s, c := totals(after)
	w.want("all of stable", s.N, 2*10*span)
	w.want("bad of canary", c.Sum, 2*1*span)
	if len(after.Readings) < len(before.Readings) {
		w.t.Errorf("%d readings before the late samples, %d after them", len(before.Readings), len(after.Readings))
	}
}

func repeatable(w *world) {
	w.write(w.requests()...)
	a := w.ask(w.errors())
	one := w.read(a)
	for range 3 {
		if two := w.read(a); !reflect.DeepEqual(one, two) {
			w.t.Fatalf("Read = %+v, and before it was %+v", two, one)
		}
	}
}

// halves: whoever goes on after Until has every event, and none twice.
func halves(w *world) {
	w.write(w.requests()...)
	a, b := w.ask(w.errors()), w.ask(w.errors())
	a.Last = a.First + span/2 - 1
	one := w.read(a)
	b.First = one.Until + 1
	two := w.read(b)
	s1, c1 := totals(one)
	s2, c2 := totals(two)
	w.want("all of stable in both", s1.N+s2.N, 2*10*span)
	w.want("bad of canary in both", c1.Sum+c2.Sum, 2*1*span)
	if s1.N == 0 || s2.N == 0 {
		w.t.Errorf("stable has %v in the first half and %v in the second, want some in each", s1.N, s2.N)
	}
}

// hostile: a name is a name, whatever is in it.
func hostile(w *world) {
	for i, name := range []delivery.ReleaseID{`r-"} or {release=~".+`, `r-\`, "r-.*", `r-$service`, "r-`" + `'"` + "\n", "r-ö|r-stable"} {
		w.canary = name
		label := "requests" + strconv.Itoa(i) + "_total"
		m := delivery.Metric{Kind: delivery.KindShare, Value: w.Select(label, `code="500"`), Per: w.Select(label, "")}
		all := w.requests()
		for k := range all {
			all[k].name = label
		}
		w.write(all...)
		got, err := w.Driver.Read(w.t.Context(), w.ask(m))
		if err != nil {
			continue // refused, which is no answer of another release
		}
		_, c := totals(got)
		if len(got.Readings) > 0 && (c.N != 2*10*span || c.Sum != 2*1*span) {
			w.t.Errorf("release %q has %v bad of %v, want %v of %v", name, c.Sum, c.N, 2*span, 2*10*span)
		}
		if len(got.Readings) == 0 && got.Missing == "" {
			w.t.Errorf("release %q has no readings, and no reason", name)
		}
	}
}

// crowded: a label with a value for each user. All of it counts, or nothing does
// and the answer says so; a part of it would be a lie.
func crowded(w *world) {
	const users = 1000
	var all []series
	for i := range users {
		for _, release := range []delivery.ReleaseID{stable, canary} {
			all = append(all, series{release: release, instance: string(release), name: "visits_total", labels: []metric.Label{{Name: "user", Value: strconv.Itoa(i)}}, kind: metric.Counter, at: w.rising(1)})
		}
	}
	w.write(all...)
	got := w.read(w.ask(delivery.Metric{Kind: delivery.KindCount, Value: w.Select("visits_total", ""), Per: "seconds"}))
	if len(got.Readings) == 0 {
		w.nothing(got)
		return
	}
	s, c := totals(got)
	w.want("visits of stable", s.Sum, users*span)
	w.want("visits of canary", c.Sum, users*span)
}

func broken(w *world) {
	w.write(w.requests()...)
	a := w.ask(w.errors())
	if w.Broken != nil {
		got, err := w.Broken.Read(w.t.Context(), a)
		if err == nil || len(got.Readings) > 0 {
			w.t.Errorf("Read of a source that cannot be asked = %+v, %v; want no readings and an error", got, err)
		}
	}
	ctx, stop := context.WithCancel(w.t.Context())
	stop()
	if got, err := w.Driver.Read(ctx, a); err == nil && w.Broken != nil || err != nil && len(got.Readings) > 0 {
		w.t.Errorf("Read of somebody who left = %d readings, %v; want no readings and an error", len(got.Readings), err)
	}
}
