package delivery_test

import (
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// That nobody has to do anything is said once.
func TestGateByItself(t *testing.T) {
	for lifts, want := range map[string]string{
		"passes by itself":              "at",
		"passes when it is done there":  "by itself at",
		"slipway release cart --env qa": "by itself at",
		"":                              "by itself at",
	} {
		if got := (delivery.Gate{Lifts: lifts}).ByItself(); got != want {
			t.Errorf("%q is followed by %q, want %q", lifts, got, want)
		}
	}
}
