package cli

import (
	"testing"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

func TestDriftText(t *testing.T) {
	s := &session{look: look{width: 100}}
	got := s.drifted(control.Drift{
		From: "staging", To: "prod", Same: 3, Meant: 1,
		Services: []control.ServiceDrift{
			{
				Service: "cart", From: &control.StandsIn{Version: "v2", Digest: "sha256:aaaaaaaaaaaabbbb"}, To: &control.StandsIn{Version: "v1", Digest: "sha256:ccccccccccccdddd"},
				Kinds: []delivery.Kind{delivery.Code},
				Config: []control.ConfigDelta{
					{Delta: control.Delta{Key: "A", From: "1", To: ""}}, {Delta: control.Delta{Key: "B", From: "\x1b[31mx", To: "2"}, Meant: true},
				},
				Run: []control.Delta{{Key: "command", From: "./a", To: "./b"}},
			},
			{Service: "shop", From: &control.StandsIn{Version: "v1", Digest: "sha256:eeeeeeeeeeeeffff"}},
		},
	})
	want := `  cart   v2 (aaaaaaaaaaaa) → v1 (cccccccccccc)
  kind     code
  config   A  1 → (unset)
  config   B  x → 2  as slipway.yaml says
  run      command  ./a → ./b
  shop   v1 (eeeeeeeeeeee) → nothing
  ✔ 3 services equal in staging and prod
    1 service of the same release whose configuration differs as slipway.yaml says
`
	if got != want {
		t.Errorf("drift is\n%s\nwant\n%s", got, want)
	}
}
