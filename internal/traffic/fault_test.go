package traffic_test

import (
	"errors"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

func TestFaultValidate(t *testing.T) {
	for _, tc := range []struct {
		name  string
		edit  func(*traffic.Fault)
		field string // "" is valid
	}{
		{"abort", func(*traffic.Fault) {}, ""},
		{"delay alone", func(f *traffic.Fault) { f.Abort, f.Delay = 0, time.Minute }, ""},
		{"delay and abort", func(f *traffic.Fault) { f.Delay = time.Second }, ""},
		{"delay and reset", func(f *traffic.Fault) { f.Abort, f.Reset, f.Delay = 0, true, time.Second }, ""},
		{"slow", func(f *traffic.Fault) { f.Abort, f.Slow = 0, 1 }, ""},
		{"cut after the head", func(f *traffic.Fault) { f.Abort, f.Cut = 0, -1 }, ""},
		{"the longest lease", func(f *traffic.Fault) { f.Lease = traffic.MaxFaultLease }, ""},
		{"the largest share", func(f *traffic.Fault) { f.Share = traffic.MaxFaultShare }, ""},
		{"no id", func(f *traffic.Fault) { f.ID = "" }, "id"},
		{"an id with a slash", func(f *traffic.Fault) { f.ID = "a/b" }, "id"},
		{"an id that hides", func(f *traffic.Fault) { f.ID = ".." }, "id"},
		{"no route", func(f *traffic.Fault) { f.Route = "" }, "route"},
		{"no share", func(f *traffic.Fault) { f.Share = 0 }, "share"},
		{"too large a share", func(f *traffic.Fault) { f.Share = traffic.MaxFaultShare + 1 }, "share"},
		{"no lease", func(f *traffic.Fault) { f.Lease = 0 }, "lease"},
		{"too long a lease", func(f *traffic.Fault) { f.Lease = traffic.MaxFaultLease + 1 }, "lease"},
		{"too long a delay", func(f *traffic.Fault) { f.Delay = time.Minute + 1 }, "delay"},
		{"a delay that went by", func(f *traffic.Fault) { f.Delay = -1 }, "delay"},
		{"abort with 200", func(f *traffic.Fault) { f.Abort = 200 }, "abort"},
		{"abort with 600", func(f *traffic.Fault) { f.Abort = 600 }, "abort"},
		{"negative pace", func(f *traffic.Fault) { f.Abort, f.Slow = 0, -1 }, "slow"},
		{"negative cut", func(f *traffic.Fault) { f.Abort, f.Cut = 0, -2 }, "cut"},
		{"abort and reset", func(f *traffic.Fault) { f.Reset = true }, "reset"},
		{"slow and cut", func(f *traffic.Fault) { f.Abort, f.Slow, f.Cut = 0, 1, 1 }, "cut"},
		{"a condition on nothing", func(f *traffic.Fault) { f.When = []delivery.Condition{{On: "moon"}} }, "when[0].on"},
		{"nothing", func(f *traffic.Fault) { f.Abort = 0 }, "fault"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := traffic.Fault{ID: "a", Route: "prod/cart", Share: 100, Abort: 503, Lease: time.Second}
			tc.edit(&f)
			err := f.Validate()
			if tc.field == "" {
				if err != nil {
					t.Errorf("Validate() = %v, want nil", err)
				}
				return
			}
			var field *delivery.FieldError
			if !errors.As(err, &field) || field.Field != tc.field || field.Why == "" {
				t.Errorf("Validate() = %v, want a reason for field %s", err, tc.field)
			}
		})
	}
}

func TestFaultDoes(t *testing.T) {
	f := traffic.Fault{ID: "a", Route: "prod/cart", Share: 500, Delay: 2 * time.Second, Abort: 503}
	if got, want := f.Does(), "delay by 2s, then abort with 503, 5 % of prod/cart"; got != want {
		t.Errorf("Does() = %q, want %q", got, want)
	}
}
