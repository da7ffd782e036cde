package workloadtest

import (
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/workload"
)

// usage holds drivers that know what an instance takes to the truth: of all its
// processes, since its start, never going down, and none of what does not run.
func usage(t *testing.T, k *Kit) {
	const worked = 400 * time.Millisecond
	spec := k.Spec(t, "prod.shop.r1.0", Working, worked.String())
	idle := k.Spec(t, "prod.idle.r1.0", Healthy, "")
	begun := time.Now()
	k.Ensure(t, spec)
	k.Ensure(t, idle)
	k.AwaitPhase(t, spec.ID, workload.Ready)
	var last workload.Usage
	s := k.Await(t, spec.ID, "seen to have worked", func(s workload.Status) bool {
		u := s.Usage
		if s.PID == 0 {
			return false
		}
		if u.CPU < last.CPU || u.At.Before(last.At) {
			t.Errorf("usage went from %+v to %+v", last, u)
		}
		if u.At.Sub(last.At) < 500*time.Millisecond && u != last && !last.At.IsZero() {
			t.Errorf("it was measured at %s and again at %s; once a second is enough", last.At, u.At)
		}
		last = u
		return u.CPU >= worked && u.Memory >= ToilMiB<<20
	})
	if spent := time.Since(begun); s.Usage.CPU > 4*spent+time.Second || s.Usage.Memory > 8*ToilMiB<<20 {
		t.Errorf("usage = %+v after %s", s.Usage, spent)
	}
	if u := k.Await(t, idle.ID, "measured", func(s workload.Status) bool { return !s.Usage.At.IsZero() }).Usage; u.Memory == 0 || u.Memory >= ToilMiB<<20 {
		t.Errorf("one that does nothing takes %+v", u)
	}
	end(t, s.PID)
	again := k.Await(t, spec.ID, "measured anew", func(n workload.Status) bool { return n.PID != s.PID && !n.Usage.At.IsZero() })
	if !again.Usage.At.After(again.Started) {
		t.Errorf("the usage of a life that began at %s is of %s", again.Started, again.Usage.At)
	}
	k.Stop(t, spec.ID)
	if u := k.Status(t, spec.ID).Usage; u != (workload.Usage{}) {
		t.Errorf("what is stopped takes %+v", u)
	}
}
