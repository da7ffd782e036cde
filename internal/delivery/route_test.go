package delivery_test

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
)

func TestRouteValidate(t *testing.T) {
	share := func(release string, w delivery.Weight) delivery.Share {
		return delivery.Share{Release: delivery.ReleaseID(release), Weight: w}
	}
	for _, c := range []struct {
		name  string
		split []delivery.Share
		why   string // "" is fine
	}{
		{"nobody is served", nil, ""},
		{"all to one", []delivery.Share{share("a", delivery.Full)}, ""},
		{"some", []delivery.Share{share("b", 1), share("a", 9999)}, ""},
		{"none and all", []delivery.Share{share("b", 0), share("a", delivery.Full)}, ""},
		{"none and none", []delivery.Share{share("b", 0), share("a", 0)}, ""},
		{"too little", []delivery.Share{share("b", 500), share("a", 9000)}, "adds up to 95 %, not 100 % or 0 %"},
		{"too much", []delivery.Share{share("b", 500), share("a", delivery.Full)}, "adds up to 105 %, not 100 % or 0 %"},
		{"negative, though it adds up", []delivery.Share{share("b", -500), share("c", 500), share("a", delivery.Full)}, "weight -5 % of b is outside 0 % to 100 %"},
		{"more than all, though it adds up", []delivery.Share{share("b", 10500), share("a", -500)}, "weight 105 % of b is outside 0 % to 100 %"},
		{"twice", []delivery.Share{share("a", 5000), share("a", 5000)}, "names a twice"},
	} {
		err := delivery.Route{Split: c.split}.Validate()
		if c.why == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		f, ok := errors.AsType[*delivery.FieldError](err)
		if !ok || f.Field != "split" || f.Why != c.why {
			t.Errorf("%s: error = %v, want split: %s", c.name, err, c.why)
		}
	}
}

func TestRouteWeightOf(t *testing.T) {
	r := delivery.Route{Split: []delivery.Share{{Release: "b", Weight: 500}, {Release: "a", Weight: 9500}}}
	for release, want := range map[delivery.ReleaseID]delivery.Weight{"a": 9500, "b": 500, "c": 0, "": 0} {
		if got := r.WeightOf(release); got != want {
			t.Errorf("WeightOf(%q) = %s, want %s", release, got, want)
		}
	}
}

// What Validate lets through gives every request to exactly one release, or none.
func TestValidRoutesShareOutEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weight := rapid.OneOf(rapid.IntRange(-1, 10001), rapid.SampledFrom([]int{0, 2500, 5000, 7500, 10000}))
		var r delivery.Route
		var names []string
		sum := 0
		for range rapid.IntRange(0, 4).Draw(t, "shares") {
			name := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "release")
			w := weight.Draw(t, "weight")
			r.Split = append(r.Split, delivery.Share{Release: delivery.ReleaseID(name), Weight: delivery.Weight(w)})
			names = append(names, name)
			sum += w
		}
		good := sum == 0 || sum == 10000
		for _, s := range r.Split {
			good = good && s.Weight >= 0 && s.Weight <= 10000 && strings.Count(strings.Join(names, ""), string(s.Release)) == 1
		}
		if err := r.Validate(); (err == nil) != good || err != nil && !errors.Is(err, delivery.ErrInvalid) {
			t.Fatalf("Validate(%v) = %v, want fine: %v", r.Split, err, good)
		}
	})
}
