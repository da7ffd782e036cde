package manifest

import (
	"bytes"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// The committed schema is the one that the types give.
func TestSchemaIsCurrent(t *testing.T) {
	golden(t, "../../docs/slipway.schema.json", string(Schema()))
}

// validate judges a file by the schema alone.
func validate(t *testing.T, src []byte) error {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(SchemaURL, doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(SchemaURL)
	if err != nil {
		t.Fatalf("the schema does not compile: %v", err)
	}
	asJSON, err := yaml.YAMLToJSON(src)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(value)
}

func TestSchemaAcceptsGood(t *testing.T) {
	for name, src := range examples(t, "good") {
		if err := validate(t, src); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The schema refuses what is wrong in the shape of a file. What is wrong in its
// meaning, only Parse can know.
func TestSchemaRefusesBad(t *testing.T) {
	for _, name := range []string{"testdata/bad/five.yaml", "testdata/bad/types.yaml", "testdata/bad/traffic.yaml"} {
		if validate(t, examples(t, "bad")[name]) == nil {
			t.Errorf("the schema accepts %s", name)
		}
	}
	shapes := []string{
		"project missing", "project name", "name too long", "no services", "services missing", "not a mapping", "service name", "run missing",
		"run empty", "run nested", "port", "word from elsewhere", "typo", "unlike anything", "replicas high", "replicas low", "replicas quoted",
		"need malformed", "need not a list", "health word", "health path", "health rise", "duration bare", "duration quoted", "duration below zero",
		"duration word", "memory bare", "memory word", "cpus", "open files", "config name", "config list", "environments not a list",
		"environment name", "environment nameless", "promote", "listen form", "strategy", "silence", "supersede", "step without weight",
		"step of words", "step as list", "surge range", "judge share", "judge ratio", "judge latency", "judge truth",
		"protocol", "condition of nothing", "condition of two", "condition misspelt", "condition as a word", "condition list", "values of nothing",
		"retries", "retries of none", "retries of words", "sticky word", "sticky two", "sticky of nothing", "in flight",
		"rate per", "rate without per", "rate without rate", "rate of nothing", "rate of words", "rate burst", "ejection after", "hold of nothing", "hold bare",
		"hold max alone", "target without a name", "target of everybody", "mirror share", "mirror word", "word of other proxies", "tls of nothing", "tls half",
		"tls two", "metric kind", "metric source", "metric misspelt", "metric ratio", "metric add", "metric quantile", "metric at least", "judge at least",
		"slo share", "acme without a domain", "access log", "plane connections",
	}
	known := map[string]string{}
	for _, r := range rules() {
		known[r.name] = r.src
	}
	for _, name := range shapes {
		src, ok := known[name]
		if !ok {
			t.Fatalf("there is no rule %q", name)
		}
		if validate(t, []byte(src)) == nil {
			t.Errorf("the schema accepts a file with this mistake: %s", name)
		}
	}
}
