package delivery_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// full returns a release in which every field says something.
func full() delivery.Release {
	return delivery.Release{
		Service: "cart", Version: "v2",
		Artifacts: []delivery.Artifact{
			{Kind: delivery.Code, Digest: delivery.DigestOf([]byte("code"))},
			{Kind: delivery.Config, Digest: delivery.DigestOf([]byte("config"))},
			{Kind: delivery.Secret, Ref: "bank-key@7"},
		},
		Run: delivery.RunSpec{
			Command: []string{"./cart", "--fast"},
			Health:  delivery.Health{HTTP: "/healthz", TCP: true, Command: []string{"true"}, Interval: time.Second, Timeout: time.Second, Rise: 1, Fall: 3},
			Stop:    delivery.Stop{Drain: time.Second, Grace: time.Second},
			Limits:  delivery.Limits{MemoryBytes: 1 << 20, CPUs: 0.5, OpenFiles: 100, Processes: 10},
			Needs:   []delivery.Need{{Service: "payment", AtLeast: "7"}},
		},
		Config:   map[string]string{"FEE": "2", "CURRENCY": "EUR"},
		ConfigIn: map[string]map[string]string{"prod": {"FEE": "3"}, "staging": {"DEBUG": "1"}},
	}
}

// leaves calls each for every value in v that can be changed, with a name.
func leaves(v reflect.Value, name string, each func(name string, v reflect.Value)) {
	switch kind := v.Kind(); {
	case kind == reflect.Struct && v.Type() != reflect.TypeFor[time.Time]():
		for f, field := range v.Fields() {
			leaves(field, name+"."+f.Name, each)
		}
	case kind == reflect.Slice:
		for i := range v.Len() {
			leaves(v.Index(i), fmt.Sprintf("%s[%d]", name, i), each)
		}
	default:
		each(name, v)
	}
}

// alter makes v another value than it was.
func alter(t *testing.T, v reflect.Value) {
	t.Helper()
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = x.Add(time.Hour)
	case **string:
		*x = new("x")
	case *map[string]string:
		*x = maps.Clone(*x)
		(*x)["MORE"] = "1"
	case *map[string]map[string]string:
		*x = maps.Clone(*x)
		(*x)["more"] = map[string]string{"MORE": "1"}
	default:
		switch {
		case v.CanInt():
			v.SetInt(v.Int() + 1)
		case v.CanFloat():
			v.SetFloat(v.Float() + 1)
		case v.Kind() == reflect.String:
			v.SetString(v.String() + "x")
		case v.Kind() == reflect.Bool:
			v.SetBool(!v.Bool())
		default:
			t.Fatalf("no way to alter a %s", v.Type())
		}
	}
}

// Everything in a release is part of its id, but the id itself, who made it and when.
func TestSealDependsOnEverythingThatRuns(t *testing.T) {
	was := full().Seal()
	if !regexp.MustCompile(`^r[0-9a-f]{16}$`).MatchString(string(was.ID)) {
		t.Fatalf("id = %q, want r and 16 hex digits", was.ID)
	}
	apart := []string{".ID", ".Created", ".CreatedBy"}
	var names []string
	leaves(reflect.ValueOf(new(full())).Elem(), "", func(name string, _ reflect.Value) { names = append(names, name) })
	if len(names) < 25 {
		t.Fatalf("looked at %d values only: %v", len(names), names)
	}
	for _, target := range names {
		r := full()
		leaves(reflect.ValueOf(&r).Elem(), "", func(name string, v reflect.Value) {
			if name == target {
				alter(t, v)
			}
		})
		if same := r.Seal().ID == was.ID; same != slices.Contains(apart, target) {
			t.Errorf("%s altered: same id = %v, want %v", target, same, !same)
		}
	}
}

func TestSealKnowsConfiguration(t *testing.T) {
	was := full().Seal().ID
	for name, edit := range map[string]func(*delivery.Release){
		"another value":                func(r *delivery.Release) { r.Config["FEE"] = "4" },
		"one less":                     func(r *delivery.Release) { delete(r.Config, "FEE") },
		"another value in prod":        func(r *delivery.Release) { r.ConfigIn["prod"]["FEE"] = "4" },
		"the same value elsewhere":     func(r *delivery.Release) { r.ConfigIn["dev"], r.ConfigIn["prod"] = r.ConfigIn["prod"], nil },
		"moved to every environment":   func(r *delivery.Release) { r.Config["DEBUG"] = "1"; delete(r.ConfigIn, "staging") },
		"a value that looks like JSON": func(r *delivery.Release) { r.Config["FEE"] = `2","CURRENCY":"EUR` },
	} {
		r := full()
		if edit(&r); r.Seal().ID == was {
			t.Errorf("%s: same id", name)
		}
	}
}

// The id does not depend on the order of a map, on having been sealed before, or
// on a way through JSON, which is how releases are kept.
func TestSealIsStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := full()
		r.Config = rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "config")
		r.ConfigIn = rapid.MapOf(rapid.String(), rapid.MapOf(rapid.String(), rapid.String())).Draw(t, "config in")
		r.Version = rapid.String().Draw(t, "version")
		was := r.Seal()
		if was.Seal().ID != was.ID {
			t.Fatal("sealed twice is another id")
		}
		other := r
		other.Config = map[string]string{}
		for _, k := range slices.Backward(slices.Sorted(maps.Keys(r.Config))) {
			other.Config[k] = r.Config[k]
		}
		other.Created, other.CreatedBy = time.Unix(7, 0), "ann"
		if got := other.Seal(); got.ID != was.ID || got.CreatedBy != "ann" {
			t.Fatalf("the same in another order = %s by %q, want %s by ann", got.ID, got.CreatedBy, was.ID)
		}
		doc, err := json.Marshal(was)
		var read delivery.Release
		if err == nil {
			err = json.Unmarshal(doc, &read)
		}
		if err != nil || read.Seal().ID != was.ID {
			t.Fatalf("kept and read again = %s (%v), want %s", read.Seal().ID, err, was.ID)
		}
	})
}

func TestConfigFor(t *testing.T) {
	r := full()
	for env, want := range map[string]map[string]string{
		"prod":    {"FEE": "3", "CURRENCY": "EUR"},
		"staging": {"FEE": "2", "CURRENCY": "EUR", "DEBUG": "1"},
		"dev":     {"FEE": "2", "CURRENCY": "EUR"},
	} {
		got := r.ConfigFor(env)
		if !maps.Equal(got, want) {
			t.Errorf("ConfigFor(%s) = %v, want %v", env, got, want)
		}
		got["FEE"] = "changed"
	}
	if r.Config["FEE"] != "2" || r.ConfigIn["prod"]["FEE"] != "3" {
		t.Error("writing to what ConfigFor returned changed the release")
	}
	if got := (delivery.Release{}).ConfigFor("prod"); got == nil || len(got) != 0 {
		t.Errorf("ConfigFor of nothing = %#v, want an empty map that can be written", got)
	}
	if got := (delivery.Release{ConfigIn: map[string]map[string]string{"prod": {"A": "1"}}}).ConfigFor("prod"); got["A"] != "1" {
		t.Errorf("ConfigFor with nothing for all = %v, want A=1", got)
	}
}

func TestDifference(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*delivery.Release)
		want []delivery.Kind
	}{
		{"nothing", func(*delivery.Release) {}, nil},
		{"what people call it, and who made it", func(r *delivery.Release) { r.Version, r.CreatedBy, r.Created = "v9", "bob", time.Unix(7, 0) }, nil},
		{"code", func(r *delivery.Release) { r.Artifacts[0].Digest = "sha256:other" }, []delivery.Kind{delivery.Code}},
		{"how it is started", func(r *delivery.Release) { r.Run.Command = []string{"./cart"} }, []delivery.Kind{delivery.Code}},
		{"configuration", func(r *delivery.Release) { r.Config["FEE"] = "4" }, []delivery.Kind{delivery.Config}},
		{"configuration in prod", func(r *delivery.Release) { r.ConfigIn["prod"]["FEE"] = "4" }, []delivery.Kind{delivery.Config}},
		{"empty or none", func(r *delivery.Release) { r.ConfigIn["dev"] = nil; delete(r.ConfigIn, "dev") }, nil},
		{"a secret", func(r *delivery.Release) { r.Artifacts[2].Ref = "bank-key@8" }, []delivery.Kind{delivery.Secret}},
		{"no secret", func(r *delivery.Release) { r.Artifacts = r.Artifacts[:2] }, []delivery.Kind{delivery.Secret}},
		{"flags and schema", func(r *delivery.Release) {
			r.Artifacts = append(r.Artifacts, delivery.Artifact{Kind: delivery.Schema, Ref: "12"}, delivery.Artifact{Kind: delivery.Flag, Ref: "3"})
		}, []delivery.Kind{delivery.Flag, delivery.Schema}},
		{"everything, code first", func(r *delivery.Release) {
			r.Artifacts, r.Config = []delivery.Artifact{{Kind: delivery.Experiment, Ref: "1"}}, nil
		}, []delivery.Kind{delivery.Code, delivery.Config, delivery.Experiment, delivery.Secret}},
	} {
		to := full()
		c.edit(&to)
		if got := delivery.Difference(full(), to); !slices.Equal(got, c.want) {
			t.Errorf("%s: Difference = %v, want %v", c.name, got, c.want)
		}
		if got := delivery.Difference(to, full()); !slices.Equal(got, c.want) {
			t.Errorf("%s, the other way round: Difference = %v, want %v", c.name, got, c.want)
		}
	}
}

func TestDigest(t *testing.T) {
	const hello = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" // FIPS 180-4, SHA-256 of "hello"
	if got := delivery.DigestOf([]byte("hello")); got != hello {
		t.Errorf("DigestOf(hello) = %s, want %s", got, hello)
	}
	for d, want := range map[delivery.Digest]string{hello: "2cf24dba5fb0", "": "", "sha256:abc": "sha256:abc", "sha256:0123456789ab": "0123456789ab"} {
		if got := d.Short(); got != want {
			t.Errorf("%q.Short() = %q, want %q", d, got, want)
		}
	}
	if got := (delivery.Release{}).CodeDigest(); got != "" {
		t.Errorf("code of nothing = %q, want none", got)
	}
}

func TestWeightString(t *testing.T) {
	for w, want := range map[delivery.Weight]string{
		0: "0 %", 1: "0.01 %", 25: "0.25 %", 50: "0.5 %", 100: "1 %", 500: "5 %", 1250: "12.5 %", 3333: "33.33 %",
		9999: "99.99 %", delivery.Full: "100 %", -100: "-1 %", delivery.Percent(7): "7 %",
	} {
		if got := w.String(); got != want {
			t.Errorf("Weight(%d) = %q, want %q", int(w), got, want)
		}
	}
}
