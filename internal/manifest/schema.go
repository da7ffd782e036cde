package manifest

import (
	"encoding/json"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"
)

// SchemaURL is where editors find the schema.
const SchemaURL = "https://raw.githubusercontent.com/slipway-cd/slipway/main/docs/slipway.schema.json"

// Schema returns the JSON Schema (draft 2020-12) of slipway.yaml, generated
// from the document types. It knows the shape of a file; what depends on the
// rest of the file, such as whether a needed service exists, only Parse knows.
func Schema() []byte {
	r := jsonschema.Reflector{
		ExpandedStruct: true,
		Namer:          func(t reflect.Type) string { return strings.TrimSuffix(t.Name(), "Doc") },
	}
	s := r.Reflect(&document{})
	s.ID = SchemaURL
	s.Title = "slipway.yaml"
	s.Description = "One project of Slipway: its services, its environments and how releases roll out."
	names := &jsonschema.Schema{Type: "string", Pattern: namePattern}
	s.Properties.GetPair("project").Value.Pattern = namePattern
	s.Properties.GetPair("services").Value.PropertyNames = names
	s.Properties.GetPair("services").Value.MinProperties = new(uint64(1))
	variables := &jsonschema.Schema{Type: "string", Pattern: validVariable.String()}
	for _, holder := range []string{"service", "in"} {
		properties := s.Definitions[holder].Properties
		properties.GetPair("config").Value.PropertyNames = variables
		if in := properties.GetPair("in"); in != nil {
			in.Value.PropertyNames = names
		}
	}
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic("manifest: a schema is plain data and always marshals: " + err.Error())
	}
	return append(out, '\n')
}
