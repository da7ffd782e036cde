package manifest

import (
	"bytes"
	"path/filepath"
	"slices"
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

// The schema refuses every bad example but those whose mistake lies in what
// they mean, or that are not YAML.
func TestSchemaRefusesBad(t *testing.T) {
	beyond := []string{"meaning.yaml", "syntax.yaml", "empty.yaml", "aliases.yaml", "twice.yaml"}
	for name, src := range examples(t, "bad") {
		if slices.Contains(beyond, filepath.Base(name)) {
			continue
		}
		if validate(t, src) == nil {
			t.Errorf("the schema accepts %s", name)
		}
	}
}
