package cli

import (
	"strings"
	"testing"
)

// A file that changes how a service is run says that what runs does not change yet.
func TestForceText(t *testing.T) {
	s := &session{}
	text := s.forceText(inForce{Changed: true, AtOnce: []string{"traffic of cart"}, Waits: []string{"run of cart", "config of pay in prod"}}, manifestFile{path: "slipway.yaml"})
	for _, line := range []string{"slipway.yaml is in force", "at once  traffic of cart\n", "at the next deploy  run of cart, config of pay in prod; until then what runs stays as it is\n"} {
		if !strings.Contains(text, line) {
			t.Errorf("%q is not in %q", line, text)
		}
	}
	if text := s.forceText(inForce{}, manifestFile{path: "slipway.yaml"}); strings.Contains(text, "deploy") || !strings.Contains(text, "already") {
		t.Errorf("nothing changed, and it says %q", text)
	}
}
