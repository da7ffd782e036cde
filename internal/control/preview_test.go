package control

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// refusedPreview asks for a preview that must be refused.
func (h *house) refusedPreview(t *testing.T, q PreviewRequest, why, next string) {
	t.Helper()
	_, err := h.Preview(t.Context(), q)
	no, ok := errors.AsType[*delivery.Refusal](err)
	if !ok || !strings.Contains(no.Why, why) || no.Next != next {
		t.Errorf("Preview(%+v) = %+v, want a refusal: …%s…, next %s", q, err, why, next)
	}
}

func TestPreviewOfWhatIsUnderWay(t *testing.T) {
	p := with(func(s *delivery.Strategy) { s.Supersede = delivery.Queue })
	scene(t, p, func(t *testing.T, w *world, h *house) {
		q := PreviewRequest{Service: "api", By: "ann"}
		h.refusedPreview(t, q, "nothing of api is under way in prod, so there is nothing to preview; v1 answers every request there", "slipway deploy api VERSION")
		id := h.deploy("v2").Rollouts[0].ID
		h.deploy("v3") // behind it, and not what is meant
		h.until(t, id, delivery.Judging)
		got, err := h.Preview(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		to := h.rollout(id).To
		if got.Version != "v2" || got.Release != to || got.Env != "prod" || got.URL != "http://127.0.0.1:7580" || got.Host != "api.localhost" || !got.Answers || got.Change != 2 {
			t.Errorf("Preview = %+v", got)
		}
		if at, there, err := h.PreviewPlace(t.Context(), h.rollout(id)); err != nil || !there || at.URL != got.URL || at.Host != got.Host || !at.Answers || at.Value != "" {
			t.Errorf("PreviewPlace = %+v, %t, %v, want where it answers and no value", at, there, err)
		}
		whole := h.rollout(id)
		whole.Step = slices.IndexFunc(whole.Plan.Steps, func(s delivery.Step) bool { return s.Weight == delivery.Full })
		if _, there, err := h.PreviewPlace(t.Context(), whole); there || err != nil {
			t.Errorf("PreviewPlace of what all callers get = %t, %v, want none", there, err)
		}
		now := time.Now()
		want, ok := traffic.CheckPreview([]byte(houseKey), "prod/api", got.Value, now.Add(time.Hour-time.Second))
		if !ok || want != string(to) || w.route().Preview != to {
			t.Errorf("the header asks for %q (%t) and the route shows %q, want %s", want, ok, w.route().Preview, to)
		}
		if _, ok := traffic.CheckPreview([]byte(houseKey), "prod/api", got.Value, now.Add(time.Hour+time.Second)); ok {
			t.Error("the header is good for more than an hour")
		}
		if _, err := h.Preview(t.Context(), PreviewRequest{Service: "api", Version: string(to), Env: "prod", For: time.Minute}); err != nil {
			t.Errorf("Preview by release: %v", err)
		}
		h.refusedPreview(t, PreviewRequest{Service: "api", Version: "v1"}, "v1 is stable in prod and needs no preview; v2 is under way", "slipway preview api v2 --env prod")
		h.refusedPreview(t, PreviewRequest{Service: "api", Version: "v3"}, "v3 is not under way in prod; v2 is", "slipway preview api v2 --env prod")
		if _, err := h.Preview(t.Context(), PreviewRequest{Service: "api", For: time.Millisecond}); !errors.Is(err, delivery.ErrInvalid) {
			t.Errorf("Preview for a millisecond: %v", err)
		}
		asked := 0
		for _, e := range ledger(t, h.d.Store) {
			if e.Kind == delivery.EventAsked && strings.Contains(e.Text, "asked for a preview of v2 in prod until ") {
				asked++
			}
			if strings.Contains(e.Text+string(e.Data), got.Value) {
				t.Errorf("the ledger holds the header: %+v", e)
			}
		}
		if asked != 2 {
			t.Errorf("the ledger has %d previews, want the two that were signed", asked)
		}
	})
}

func TestPreviewOfWhatGoesBack(t *testing.T) {
	scene(t, project("prod"), func(t *testing.T, w *world, h *house) {
		s := h.deploy("v2")
		h.until(t, s.Rollouts[0].ID, delivery.Judging)
		deafen := func(deaf bool) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.deaf = deaf
		}
		deafen(true) // so that its way back takes a while
		h.ask(t, delivery.AskAbort, s.Change.ID)
		time.Sleep(3 * time.Second)
		h.want(t, s.Rollouts[0].ID, delivery.Reverting)
		h.refusedPreview(t, PreviewRequest{Service: "api"}, "v2 is being taken back in prod: ", "slipway watch 2")
		deafen(false)
		h.until(t, s.Rollouts[0].ID, delivery.Reverted)
		if at, there, err := h.PreviewPlace(t.Context(), h.rollout(s.Rollouts[0].ID)); there || err != nil {
			t.Errorf("PreviewPlace of what went back = %+v, %v, want none", at, err)
		}
		h.refusedPreview(t, PreviewRequest{Service: "api", Version: "v2"}, "nothing of api is under way", "slipway deploy api VERSION")
		if got := w.route().Preview; got != "" {
			t.Errorf("the route still shows %s", got)
		}
	})
}
