package delivery_test

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

func TestProjectOrder(t *testing.T) {
	p := delivery.Project{
		Services:     []delivery.Service{{Name: "cart", Dir: "/cart"}, {Name: "payment"}},
		Environments: []delivery.Environment{{Name: "dev"}, {Name: "staging", Listen: ":1"}, {Name: "prod"}},
	}
	for _, c := range []struct{ env, before, after string }{
		{"dev", "", "staging"}, {"staging", "dev", "prod"}, {"prod", "staging", ""}, {"test", "", ""}, {"", "", ""},
	} {
		if b, a := p.Before(c.env), p.After(c.env); b != c.before || a != c.after {
			t.Errorf("around %q: %q and %q, want %q and %q", c.env, b, a, c.before, c.after)
		}
	}
	if got := p.EnvironmentNames(); !slices.Equal(got, []string{"dev", "staging", "prod"}) {
		t.Errorf("EnvironmentNames = %v", got)
	}
	if got := p.ServiceNames(); !slices.Equal(got, []string{"cart", "payment"}) {
		t.Errorf("ServiceNames = %v", got)
	}
	if e, ok := p.Environment("staging"); !ok || e.Listen != ":1" {
		t.Errorf("Environment(staging) = %+v, %v", e, ok)
	}
	if e, ok := p.Environment("test"); ok || e != (delivery.Environment{}) {
		t.Errorf("Environment(test) = %+v, %v", e, ok)
	}
	if s, ok := p.Service("cart"); !ok || s.Dir != "/cart" {
		t.Errorf("Service(cart) = %+v, %v", s, ok)
	}
	if _, ok := p.Service("cat"); ok {
		t.Error("there is a service cat")
	}
}

func TestOverrideValidate(t *testing.T) {
	steps := func(ws ...int) []delivery.StepSpec {
		var out []delivery.StepSpec
		for _, w := range ws {
			out = append(out, delivery.StepSpec{Weight: delivery.Percent(w)})
		}
		return out
	}
	timed := func(hold, most time.Duration) []delivery.StepSpec {
		return []delivery.StepSpec{{Weight: delivery.Full, Hold: hold, Max: most}}
	}
	for _, c := range []struct {
		name  string
		o     *delivery.Override
		field string // "" is fine
	}{
		{"none", nil, ""},
		{"empty", &delivery.Override{}, ""},
		{"canary", &delivery.Override{Kind: delivery.Canary}, ""},
		{"blue-green", &delivery.Override{Kind: delivery.BlueGreen}, ""},
		{"rolling", &delivery.Override{Kind: delivery.Rolling}, ""},
		{"recreate", &delivery.Override{Kind: delivery.Recreate}, ""},
		{"steps", &delivery.Override{Steps: steps(10, 50, 100)}, ""},
		{"steps of a canary", &delivery.Override{Kind: delivery.Canary, Steps: steps(100)}, ""},
		{"times", &delivery.Override{Steps: timed(time.Second, time.Minute)}, ""},
		{"nonsense", &delivery.Override{Kind: "yolo"}, "strategy.kind"},
		{"steps of another kind", &delivery.Override{Kind: delivery.Rolling, Steps: steps(10, 100)}, "strategy.steps"},
		{"falls", &delivery.Override{Steps: steps(50, 10, 100)}, "strategy.steps"},
		{"stays", &delivery.Override{Steps: steps(50, 50, 100)}, "strategy.steps"},
		{"nothing", &delivery.Override{Steps: steps(0, 100)}, "strategy.steps"},
		{"negative", &delivery.Override{Steps: steps(-5, 100)}, "strategy.steps"},
		{"more than all", &delivery.Override{Steps: steps(10, 101)}, "strategy.steps"},
		{"stops early", &delivery.Override{Steps: steps(10, 50)}, "strategy.steps"},
		{"negative hold", &delivery.Override{Steps: timed(-time.Second, 0)}, "strategy.steps"},
		{"negative max", &delivery.Override{Steps: timed(0, -time.Second)}, "strategy.steps"},
	} {
		err := c.o.Validate()
		f, ok := errors.AsType[*delivery.FieldError](err)
		if c.field == "" && err != nil || c.field != "" && (!ok || f.Field != c.field || f.Why == "") {
			t.Errorf("%s: Validate = %v, want a word on %q", c.name, err, c.field)
		}
	}
}

func TestStrategyWith(t *testing.T) {
	shared := delivery.Strategy{
		Deadline: time.Minute, Soak: time.Second, Window: time.Hour, OnSilence: delivery.SilencePromotes, Supersede: delivery.Queue,
		Judge: delivery.JudgePolicy{Alpha: 0.01},
	}
	with := func(edit func(*delivery.Strategy)) delivery.Strategy { s := shared; edit(&s); return s }
	canary := with(func(s *delivery.Strategy) {
		s.Kind, s.Steps = delivery.Canary, []delivery.StepSpec{{Weight: 1000, Hold: time.Minute}, {Weight: delivery.Full}}
	})
	green := with(func(s *delivery.Strategy) {
		s.Kind, s.Test, s.TestTimeout = delivery.BlueGreen, []string{"./check"}, time.Minute
	})
	rolling := with(func(s *delivery.Strategy) { s.Kind, s.MaxSurge, s.MaxUnavailable = delivery.Rolling, 3, 2 })
	asked := []delivery.StepSpec{{Weight: 2000, Hold: time.Second}, {Weight: delivery.Full}}
	usual := func(s *delivery.Strategy) {
		s.Kind, s.MaxSurge = delivery.Canary, 1
		for _, w := range []int{5, 25, 50, 100} {
			s.Steps = append(s.Steps, delivery.StepSpec{Weight: delivery.Percent(w), Hold: 10 * time.Second, Proven: w < 100, Max: 10 * time.Minute})
		}
	}
	for _, c := range []struct {
		name string
		s    delivery.Strategy
		o    *delivery.Override
		want delivery.Strategy
	}{
		{"nothing asked", canary, nil, canary},
		{"nothing in it", green, &delivery.Override{}, green},
		{"the same kind keeps its steps", canary, &delivery.Override{Kind: delivery.Canary}, canary},
		{"the same kind keeps its test", green, &delivery.Override{Kind: delivery.BlueGreen}, green},
		{"other steps", canary, &delivery.Override{Steps: asked}, with(func(s *delivery.Strategy) { s.Kind, s.Steps = delivery.Canary, asked })},
		{"another kind drops the steps", canary, &delivery.Override{Kind: delivery.Rolling}, with(func(s *delivery.Strategy) { s.Kind, s.MaxSurge = delivery.Rolling, 1 })},
		{"another kind drops the bounds", rolling, &delivery.Override{Kind: delivery.Recreate}, with(func(s *delivery.Strategy) { s.Kind, s.MaxSurge = delivery.Recreate, 1 })},
		{"canary without steps takes the usual ones", rolling, &delivery.Override{Kind: delivery.Canary}, with(usual)},
		{"canary with steps", rolling, &delivery.Override{Kind: delivery.Canary, Steps: asked}, with(func(s *delivery.Strategy) { s.Kind, s.Steps, s.MaxSurge = delivery.Canary, asked, 1 })},
		{"a person at each step but the last", canary, &delivery.Override{Approve: true}, with(func(s *delivery.Strategy) {
			s.Kind, s.Steps = delivery.Canary, []delivery.StepSpec{{Weight: 1000, Hold: time.Minute, Approve: true}, {Weight: delivery.Full}}
		})},
		{"a person before the switch", green, &delivery.Override{Approve: true}, with(func(s *delivery.Strategy) {
			s.Kind, s.Test, s.TestTimeout, s.Steps = delivery.BlueGreen, []string{"./check"}, time.Minute, []delivery.StepSpec{{Weight: delivery.Full, Approve: true}}
		})},
		{"a person where nothing waits", rolling, &delivery.Override{Approve: true}, rolling},
		{"steps alone ask for a canary", rolling, &delivery.Override{Steps: asked}, with(func(s *delivery.Strategy) { s.Kind, s.Steps, s.MaxSurge = delivery.Canary, asked, 1 })},
	} {
		if got := c.s.With(c.o); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: With = %+v, want %+v", c.name, got, c.want)
		}
	}
	if got := green.With(&delivery.Override{Kind: delivery.Rolling}); got.Test != nil {
		t.Errorf("another kind keeps the test %v", got.Test)
	}
	if len(canary.Steps) != 2 || canary.Steps[0].Weight != 1000 || canary.Steps[0].Approve {
		t.Errorf("With changed the strategy it was asked of: %+v", canary.Steps)
	}
}

func TestEnvironmentURL(t *testing.T) {
	for _, tt := range []struct {
		env  delivery.Environment
		want string
	}{
		{delivery.Environment{Listen: "127.0.0.1:7580"}, "http://127.0.0.1:7580"},
		{delivery.Environment{Listen: "0.0.0.0:80"}, "http://127.0.0.1:80"},
		{delivery.Environment{Listen: "[::]:80"}, "http://[::1]:80"},
		{delivery.Environment{Listen: "localhost:80"}, "http://localhost:80"},
		{delivery.Environment{Listen: "[fd00::1]:443", TLS: &delivery.TLS{}}, "https://[fd00::1]:443"},
	} {
		if got := tt.env.URL(); got != tt.want {
			t.Errorf("URL of %s = %s, want %s", tt.env.Listen, got, tt.want)
		}
	}
}
