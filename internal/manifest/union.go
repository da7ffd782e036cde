package manifest

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// The types here may be written short, as one word, or long, as a mapping.

func (v *healthDoc) read(d *decoder, path string, n *node) {
	if n.kind != text {
		d.fields(path, n, reflect.ValueOf(v).Elem())
		return
	}
	switch {
	case strings.HasPrefix(n.text, "/"):
		v.HTTP = &n.text
		d.values[join(path, "http")] = n.at
	case n.text == "tcp":
		v.TCP = new(true)
		d.values[join(path, "tcp")] = n.at
	case n.text == "none":
		v.none = true
	default:
		d.refuse(path, n, fmt.Sprintf("%q is no health check", clip(n.text)), "say a path such as /healthz, or tcp, or none, or command: [...]")
	}
}

// JSONSchemaExtend adds the short form.
func (healthDoc) JSONSchemaExtend(s *jsonschema.Schema) {
	shorten(s, &jsonschema.Schema{Type: "string", Pattern: "^(/.*|tcp|none)$"})
}

func (v *publicDoc) read(d *decoder, path string, n *node) {
	if n.kind != text {
		d.fields(path, n, reflect.ValueOf(v).Elem())
		return
	}
	if strings.HasPrefix(n.text, "/") {
		v.Paths = []string{n.text}
		d.values[join(path, "paths[0]")] = n.at
		d.values[join(path, "paths")] = n.at
		return
	}
	v.Hosts = []string{n.text}
	d.values[join(path, "hosts[0]")] = n.at
	d.values[join(path, "hosts")] = n.at
}

// JSONSchemaExtend adds the short form.
func (publicDoc) JSONSchemaExtend(s *jsonschema.Schema) {
	shorten(s, &jsonschema.Schema{Type: "string", MinLength: new(uint64(1))})
}

func (v *environmentDoc) read(d *decoder, path string, n *node) {
	if n.kind != text {
		d.fields(path, n, reflect.ValueOf(v).Elem())
		return
	}
	v.Name = n.text
	d.values[join(path, "name")] = n.at
}

// JSONSchemaExtend adds the short form.
func (environmentDoc) JSONSchemaExtend(s *jsonschema.Schema) {
	shorten(s, &jsonschema.Schema{Type: "string", Pattern: namePattern})
}

func (v *rolloutDoc) read(d *decoder, path string, n *node) {
	if n.kind != text {
		d.fields(path, n, reflect.ValueOf(v).Elem())
		return
	}
	v.Strategy = &n.text
	d.values[join(path, "strategy")] = n.at
}

// JSONSchemaExtend adds the short form.
func (rolloutDoc) JSONSchemaExtend(s *jsonschema.Schema) {
	shorten(s, &jsonschema.Schema{Type: "string", Enum: []any{delivery.Canary, delivery.BlueGreen, delivery.Rolling, delivery.Recreate}})
}

func (v *stepDoc) read(d *decoder, path string, n *node) {
	if n.kind == mapping {
		d.fields(path, n, reflect.ValueOf(v).Elem())
		return
	}
	if n.kind == list {
		d.refuse(path, n, "a step is a share of the traffic or a mapping, is a list", "say 5, or {weight: 5, hold: 1m}")
		return
	}
	w := new(weight)
	w.read(d, path, n)
	d.values[join(path, "weight")] = n.at
	if !d.bad[path] {
		v.Weight = w
	}
}

// JSONSchemaExtend adds the short form.
func (stepDoc) JSONSchemaExtend(s *jsonschema.Schema) {
	for _, short := range weight(0).JSONSchema().OneOf {
		shorten(s, short)
	}
}

// shorten makes s accept short as well as the object that it describes.
func shorten(s, short *jsonschema.Schema) {
	if s.OneOf == nil {
		long := *s
		*s = jsonschema.Schema{OneOf: []*jsonschema.Schema{&long}}
	}
	s.OneOf = append(s.OneOf, short)
}
