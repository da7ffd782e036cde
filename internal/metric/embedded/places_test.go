package embedded

import (
	"reflect"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// What each instance of the new release did is added up over its callers.
func TestPlacesAreAddedUp(t *testing.T) {
	s, at := New(), time.Unix(1_000_000, 0)
	place := func(requests, failed uint64) map[string]traffic.Place {
		return map[string]traffic.Place{"api.0": {Requests: requests, Failed: failed}, "api.1": {Requests: 1}}
	}
	s.Take(traffic.Frame{At: at, Boot: "a", Blocks: []traffic.Block{
		{Route: "prod/api", Release: "r1", Second: at.Unix() - 5, Requests: 9, Units: 9, Places: place(9, 9)},
		{Route: "prod/api", Release: "r2", Second: at.Unix() - 5, Requests: 4, Units: 4, Places: place(3, 2)},
		{Route: "prod/api", Release: "r2", Caller: "web", Second: at.Unix() - 5, Requests: 3, Units: 3, Places: place(2, 1)},
	}}, at)
	got := s.Seconds(Arms{Route: "prod/api", Stable: "r1", Canary: "r2", First: at.Unix() - 10, Last: at.Unix()})
	want := map[string]analysis.Place{"api.0": {Units: 5, Bad: 3}, "api.1": {Units: 2}}
	if len(got) != 1 || !reflect.DeepEqual(got[0].Canary.Places, want) || got[0].Stable.Places != nil {
		t.Errorf("Seconds = %+v; want places %v of the canary", got, want)
	}
}
