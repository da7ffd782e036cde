package cli

import "testing"

func TestAgain(t *testing.T) {
	for _, c := range []struct{ name, state, socket, text, want string }{
		{"nothing was named", "", "", "  next  slipway status\n", "  next  slipway status\n"},
		{"folder", "/srv/x", "", "✖ no\n  next  slipway status     slipway why cart\n", "✖ no\n  next  slipway --state /srv/x status     slipway --state /srv/x why cart\n"},
		{"other lines stay", "/srv/x", "", "  why   slipway said no\n  next  edit slipway.yaml, then: slipway up", "  why   slipway said no\n  next  edit slipway.yaml, then: slipway --state /srv/x up"},
		{"quoted", "/my state/it's", "", "  next  slipway up\n", "  next  slipway --state '/my state/it'\\''s' up\n"},
		{"socket", "", "/run/p.sock", "  next  slipway proxy routes\n", "  next  slipway proxy --socket /run/p.sock routes\n"},
		{"both", "s", "p", "  next  slipway proxy drain x\n", "  next  slipway --state s proxy --socket p drain x\n"},
	} {
		s := &session{state: c.state, socket: c.socket}
		if got := s.again(c.text); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
