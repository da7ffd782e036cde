package discreet

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
)

const secretWord = "hunter2"

// What looks like a secret in a file is left out, in whichever form YAML has for it;
// what only looks a little like one is not.
func TestSource(t *testing.T) {
	for _, line := range []string{
		"  DB_PASSWORD: hunter2", "  password: 'hunter2'", `  "api_key": "hunter2"`, "  config: { CURRENCY: EUR, API_TOKEN: hunter2, MODE: fast }", "  - SECRET=hunter2",
		"  url: https://ann:hunter2@example.org/db", "  url: https://ann:p@hunter2@example.org", "  url: https://ann:p/hunter2@example.org",
		"  run: ./cart --token hunter2 --port 80", "  run: ./cart --api-key=hunter2", "  run: ./cart --password 'hunter2 and more hunter2'", "  aws_secret_access_key: hunter2 # mine",
		"  PRIVATE_KEY: |\n    hunter2\n\n    hunter2 too\n  NEXT: shown", "  CLIENT_SECRET: >-\n      hunter2\n  NEXT: shown", `  password: "a \" hunter2"`,
		"  password:\n    hunter2\n  NEXT: shown", "  password: \"one line,\n    hunter2\"\n  NEXT: shown", "  password: one line\n    hunter2\n  NEXT: shown", "  - credentials:\n      hunter2\n  - NEXT: shown",
	} {
		text := Source("config:\n"+line+"\n", delivery.Project{})
		if strings.Contains(text, secretWord) || !strings.Contains(text, Mask) || strings.Contains(line, "NEXT") && !strings.Contains(text, "NEXT: shown") {
			t.Errorf("%q is shown as %s", line, text)
		}
		if got, want := strings.Count(text, "\n"), strings.Count(line, "\n")+2; got != want {
			t.Errorf("%q is shown in %d lines, want %d", line, got, want)
		}
	}
	for _, line := range []string{
		"  token_file: /run/token", "prometheus: { url: http://127.0.0.1:9090, password_file: /run/pw }", "  rollout: { steps: [{ weight: 25 }] }",
		"  listen: 127.0.0.1:8080", "  # tokens are made by an admin", "  run: ./cart --token-file /run/token", "  credentials_file:\n    /run/token",
	} {
		if got := Source(line, delivery.Project{}); got != line {
			t.Errorf("%q is shown as %q", line, got)
		}
	}
}

// A secret that the file says in a form that no line shows is left out all the same.
func TestSourceByWhatItSays(t *testing.T) {
	p := delivery.Project{Services: []delivery.Service{{
		Config: map[string]string{"API_TOKEN": secretWord, "PIN_TOKEN": "1", "MODE": "fast"},
		In:     map[string]delivery.Deployment{"prod": {Config: map[string]string{"DB_PASSWORD": "longer " + secretWord}}},
	}}}
	src := "x: &pw hunter2\ny: &other longer hunter2\nconfig: { API_TOKEN: *pw, MODE: fast }\nreplicas: 1\n"
	want := "x: &pw (hidden)\ny: &other (hidden)\nconfig: { API_TOKEN: (hidden), MODE: fast }\nreplicas: 1\n"
	if got := Source(src, p); got != want {
		t.Errorf("Source = %q, want %q", got, want)
	}
}

func TestValue(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"API_TOKEN", "hunter2", Mask},
		{"services.cart.config.DB_PASSWORD", "hunter2", Mask},
		{"API_TOKEN", "", ""},
		{"TOKEN_FILE", "/run/token", "/run/token"},
		{"prometheus.token_file", "/run/token", "/run/token"},
		{"services.token-shop.replicas", "2", "2"}, // the name of a service is none of the value
		{"DB_URL", "postgres://ann:hunter2@db/x", "postgres://(hidden)@db/x"},
		{"command", "./cart --api-key hunter2 --port 1", "./cart --api-key (hidden) --port 1"},
		{"command", "sh -c 'DB_PASSWORD=hunter2 ./cart'", "sh -c 'DB_PASSWORD=(hidden)'"},
		{"CURRENCY", "EUR", "EUR"},
	} {
		if got := Value(c.name, c.value); got != c.want {
			t.Errorf("Value(%q, %q) = %q, want %q", c.name, c.value, got, c.want)
		}
	}
	got := Words([]string{"./cart", "--password", "hunter2", "--token-file", "/run/t", "--secret=hunter2", "--token", "--verbose", "-p", "80"})
	want := []string{"./cart", "--password", Mask, "--token-file", "/run/t", "--secret=" + Mask, "--token", "--verbose", "-p", "80"}
	if !slices.Equal(got, want) {
		t.Errorf("Words = %q, want %q", got, want)
	}
}

// Told answers for itself; keeping is one that has it within.
type Told struct{ Text string }

func (Told) Discreet() any { return Told{Text: "asked"} }

type keeping struct {
	Told

	Any  any
	Deep map[string][]*delivery.Release
	Own  Told
}

// However deep a secret is, it is left out of the copy, and stays in what was copied.
func TestOf(t *testing.T) {
	rel := &delivery.Release{
		Version: "v1", Config: map[string]string{"API_TOKEN": secretWord, "MODE": "fast"},
		ConfigIn: map[string]map[string]string{"prod": {"DB_URL": "x://a:hunter2@b"}},
		Run:      delivery.RunSpec{Command: []string{"./cart", "--token", secretWord}, Health: delivery.Health{Command: []string{"ask", "--secret=" + secretWord}}},
	}
	in := keeping{Any: *rel, Deep: map[string][]*delivery.Release{"x": {nil, rel}}, Told: Told{secretWord}, Own: Told{secretWord}}
	out := Of(in)
	text, err := json.Marshal(out)
	if err != nil || strings.Contains(string(text), secretWord) || !strings.Contains(string(text), `"MODE":"fast"`) || !strings.Contains(string(text), `"version":"v1"`) {
		t.Errorf("Of = %s, %v", text, err)
	}
	if rel.Config["API_TOKEN"] != secretWord || rel.Run.Command[2] != secretWord || in.Own.Text != secretWord {
		t.Errorf("what was copied is altered: %+v", in)
	}
	if !Carries[keeping]() || !Carries[*delivery.Project]() || Carries[delivery.Board]() || Carries[string]() {
		t.Error("Carries is wrong about a type")
	}
}

// Whatever project is shown, what has no secret name and form is as it was, and no
// value that has one is there.
func TestOfProject(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.MapOf(rapid.SampledFrom([]string{"MODE", "API_TOKEN", "DB_PASSWORD", "URL", "KEY_FILE"}), rapid.StringMatching(`[a-z]{8,12}`)).Draw(t, "config")
		p := delivery.Project{Name: "shop", Services: []delivery.Service{{Name: "cart", Config: values, In: map[string]delivery.Deployment{"prod": {Replicas: 2, Config: values}}}}}
		got := Of(p)
		for name, value := range values {
			for _, shown := range []string{got.Services[0].Config[name], got.Services[0].In["prod"].Config[name]} {
				if want := Value(name, value); shown != want || (name == "API_TOKEN" || name == "DB_PASSWORD") != (shown == Mask) {
					t.Fatalf("%s=%s is shown as %q, want %q", name, value, shown, want)
				}
			}
		}
		got.Services[0].Config, got.Services[0].In = p.Services[0].Config, p.Services[0].In
		if !reflect.DeepEqual(got, p) {
			t.Fatalf("more than configuration differs: %+v", got)
		}
	})
}
