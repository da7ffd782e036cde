package delivery

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestNear(t *testing.T) {
	known := []string{"cart", "payment", "catalog", "carton", "shop", "payments-eu"}
	for _, c := range []struct {
		word string
		want []string
	}{
		{"kart", []string{"cart"}},
		{"Cart", []string{"cart", "carton"}},
		{"catr", []string{"cart"}},
		{"pay", []string{"payment", "payments-eu"}},
		{"paymant", []string{"payment"}},
		{"zebra", nil},
		{"", nil},
		{strings.Repeat("x", 10_000), nil},
	} {
		if got := Near(c.word, known); !slices.Equal(got, c.want) {
			t.Errorf("Near(%.20q) = %q, want %q", c.word, got, c.want)
		}
	}
	if got := Near("cart", slices.Repeat([]string{"cart"}, 100)); len(got) != maxNear {
		t.Errorf("Near returns %d names, want %d", len(got), maxNear)
	}
}

// A refusal lists what there is, however much that is, in one sentence.
func TestUnknownListsWhatThereIs(t *testing.T) {
	var many []string
	for i := range 500 {
		many = append(many, fmt.Sprintf("service-%03d", i))
	}
	for _, c := range []struct {
		name  string
		known []string
		want  string
	}{
		{"kart", nil, `there is no service "kart"`},
		{"kart", []string{"cart", "shop"}, `there is no service "kart"; there is cart, shop`},
		{"servce-042", many, `there is no service "servce-042"; near it: service-042, `},
		{"zebra", many, `there is no service "zebra"; there are 500, among them service-000, service-001, service-002, service-003, service-004`},
	} {
		got := Unknown(CodeUnknownService, "service", c.name, c.known, "").Why
		if !strings.HasPrefix(got, c.want) || len(got) > 300 {
			t.Errorf("Unknown(%q) of %d = %q, want %q", c.name, len(c.known), got, c.want)
		}
	}
}
