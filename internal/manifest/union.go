package manifest

import (
	"fmt"
	"reflect"
	"slices"
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
	case n.text == "grpc":
		v.GRPC = new("")
		d.values[join(path, "grpc")] = n.at
	case n.text == "tcp":
		v.TCP = new(true)
		d.values[join(path, "tcp")] = n.at
	case n.text == "none":
		v.none = true
	default:
		d.refuse(path, n, fmt.Sprintf("%q is no health check", clip(n.text)), "say a path such as /healthz, or grpc, or tcp, or none, or command: [...]")
	}
}

// JSONSchemaExtend adds the short form.
func (healthDoc) JSONSchemaExtend(s *jsonschema.Schema) {
	shorten(s, &jsonschema.Schema{Type: "string", Pattern: "^(/.*|grpc|tcp|none)$"})
}

func (v *metricsDoc) read(d *decoder, path string, n *node) {
	switch {
	case n.kind != text:
		d.fields(path, n, reflect.ValueOf(v).Elem())
	case strings.HasPrefix(n.text, "/"):
		v.Path = &n.text
		d.values[join(path, "path")] = n.at
	case n.text == "off":
		v.off = true
	default:
		d.refuse(path, n, fmt.Sprintf("%q is no place for metrics", clip(n.text)), "say a path such as /metrics, or off")
	}
}

// JSONSchemaExtend adds the short form.
func (metricsDoc) JSONSchemaExtend(s *jsonschema.Schema) {
	shorten(s, &jsonschema.Schema{Type: "string", Pattern: "^(/.*|off)$"})
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

func (v *stickyDoc) read(d *decoder, path string, n *node) {
	if n.kind != text {
		d.fields(path, n, reflect.ValueOf(v).Elem())
		return
	}
	short := []delivery.StickyBy{delivery.ByCookie, delivery.ByIP, delivery.ByNobody}
	if v.by = n.text; !slices.Contains(short, delivery.StickyBy(v.by)) {
		d.refuse(path, n, fmt.Sprintf("%q is nothing that callers are known by", clip(n.text)), "say cookie, ip, none, {header: NAME} or {cookie: NAME}")
	}
}

// JSONSchemaExtend adds the short form.
func (stickyDoc) JSONSchemaExtend(s *jsonschema.Schema) {
	s.MinProperties, s.MaxProperties = new(uint64(1)), new(uint64(1))
	shorten(s, &jsonschema.Schema{Type: "string", Enum: []any{delivery.ByCookie, delivery.ByIP, delivery.ByNobody}})
}

func (v *retriesDoc) read(d *decoder, path string, n *node) {
	if n.kind == mapping {
		d.fields(path, n, reflect.ValueOf(v).Elem())
		return
	}
	if attempts, ok := d.integer(path, n); ok {
		v.Attempts = &attempts
		d.values[join(path, "attempts")] = n.at
	}
}

// JSONSchemaExtend adds the short form.
func (retriesDoc) JSONSchemaExtend(s *jsonschema.Schema) {
	shorten(s, &jsonschema.Schema{Type: "integer", Minimum: "1", Maximum: "10"})
}

func (v *holdingDoc) read(d *decoder, path string, n *node) {
	if n.kind == mapping {
		d.fields(path, n, reflect.ValueOf(v).Elem())
		return
	}
	longest := new(duration)
	longest.read(d, path, n)
	d.values[join(path, "for")] = n.at
	if !d.bad[path] {
		v.For = longest
	}
}

// JSONSchemaExtend adds the short form.
func (holdingDoc) JSONSchemaExtend(s *jsonschema.Schema) { shorten(s, duration(0).JSONSchema()) }

func (v *mirrorDoc) read(d *decoder, path string, n *node) {
	if n.kind == mapping {
		d.fields(path, n, reflect.ValueOf(v).Elem())
		return
	}
	share := new(weight)
	share.read(d, path, n)
	d.values[join(path, "share")] = n.at
	if !d.bad[path] {
		v.Share = share
	}
}

// JSONSchemaExtend adds the short form.
func (mirrorDoc) JSONSchemaExtend(s *jsonschema.Schema) {
	for _, short := range weight(0).JSONSchema().OneOf {
		shorten(s, short)
	}
}

// JSONSchemaExtend asks for one thing to look at.
func (conditionDoc) JSONSchemaExtend(s *jsonschema.Schema) {
	s.OneOf = requiring([]string{"method"}, []string{"header"}, []string{"cookie"}, []string{"query"}, []string{"baggage"})
}

// JSONSchemaExtend asks for files or an authority.
func (tlsDoc) JSONSchemaExtend(s *jsonschema.Schema) {
	s.OneOf = requiring([]string{"cert", "key"}, []string{"acme"})
}

func requiring(groups ...[]string) []*jsonschema.Schema {
	out := make([]*jsonschema.Schema, len(groups))
	for i, g := range groups {
		out[i] = &jsonschema.Schema{Required: g}
	}
	return out
}

// anyOf is one word or a list of them.
type anyOf []string

func (v *anyOf) read(d *decoder, path string, n *node) {
	items := n.items
	if n.kind != list {
		items = []*node{n}
	}
	*v = anyOf{}
	for i, item := range items {
		one := new(setting)
		d.value(fmt.Sprintf("%s[%d]", path, i), item, reflect.ValueOf(one).Elem())
		*v = append(*v, string(*one))
	}
}

// JSONSchema describes one word or a list of them to editors.
func (anyOf) JSONSchema() *jsonschema.Schema {
	forms := setting("").JSONSchema().OneOf
	list := &jsonschema.Schema{Type: "array", MinItems: new(uint64(1)), Items: setting("").JSONSchema()}
	return &jsonschema.Schema{OneOf: append(forms, list)}
}

// shorten makes s accept short as well as the object that it describes.
func shorten(s, short *jsonschema.Schema) {
	if s.OneOf == nil {
		long := *s
		*s = jsonschema.Schema{OneOf: []*jsonschema.Schema{&long}}
	}
	s.OneOf = append(s.OneOf, short)
}
