package manifest

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// reader is a type that reads itself from a node.
type reader interface {
	read(d *decoder, path string, n *node)
}

// decoder reads a tree into the document types. It notes every mistake and
// where every value was written, and reads on.
type decoder struct {
	*report
	values map[string]position // field path -> where its value is
	keys   map[string]position // field path -> where its key is
	bad    map[string]bool     // field paths that could not be read
	seen   int                 // values read, aliases followed
}

func newDecoder(r *report) *decoder {
	return &decoder{report: r, values: map[string]position{}, keys: map[string]position{}, bad: map[string]bool{}}
}

// where returns the place to point at for a field: its value, or else its key,
// or else its nearest parent's key or place in a list.
func (d *decoder) where(path string) position {
	if at, ok := d.values[path]; ok {
		return at
	}
	for path != "" {
		if at, ok := d.values[path]; ok && strings.HasSuffix(path, "]") {
			return at
		}
		if at, ok := d.keys[path]; ok {
			return at
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return position{}
}

// wrong notes a mistake about the value at path.
func (d *decoder) wrong(path, why, next string) { d.add(d.where(path), path, why, next) }

// refuse notes that n cannot be read into path.
func (d *decoder) refuse(path string, n *node, why, next string) {
	d.bad[path] = true
	d.add(n.at, path, why, next)
}

// broken says whether anything at or below path could not be read.
func (d *decoder) broken(path string) bool {
	for p := range d.bad {
		if rest, ok := strings.CutPrefix(p, path); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}

// value reads n into v, which is settable.
func (d *decoder) value(path string, n *node, v reflect.Value) {
	if d.seen++; d.seen > maxValues {
		if d.seen == maxValues+1 {
			d.refuse(path, n, fmt.Sprintf("the file unfolds to more than %d values", maxValues), "use fewer aliases")
		}
		return
	}
	if v.Kind() == reflect.Pointer {
		fresh := reflect.New(v.Type().Elem())
		d.value(path, n, fresh.Elem())
		if !d.bad[path] {
			v.Set(fresh)
		}
		return
	}
	d.values[path] = n.at
	if d.masked(path, n) {
		return
	}
	if r, ok := reflect.TypeAssert[reader](v.Addr()); ok {
		r.read(d, path, n)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.fields(path, n, v)
	case reflect.Slice:
		d.items(path, n, v)
	case reflect.String:
		if s, ok := d.text(path, n); ok {
			v.SetString(s)
		}
	case reflect.Int:
		if i, ok := d.integer(path, n); ok {
			v.SetInt(int64(i))
		}
	case reflect.Float64:
		if f, ok := d.number(path, n); ok {
			v.SetFloat(f)
		}
	case reflect.Bool:
		if n.kind != truth {
			d.refuse(path, n, "must be true or false, is "+n.show(), "say true or false")
			return
		}
		v.SetBool(n.text == "true" || n.text == "True" || n.text == "TRUE")
	default:
		panic("manifest: the document has no such type: " + v.Type().String())
	}
}

// masked refuses what was shown in place of a secret: a file that was read back from
// Slipway would put it in force.
func (d *decoder) masked(path string, n *node) bool {
	if n.kind != text || !strings.Contains(n.text, delivery.Mask) {
		return false
	}
	d.refuse(path, n, delivery.Mask+" is shown in place of a secret and is no value", "write the value itself")
	return true
}

// fields reads a mapping into a struct by its json tags.
func (d *decoder) fields(path string, n *node, v reflect.Value) {
	if n.kind != mapping {
		d.refuse(path, n, "must be a mapping of fields, is "+n.show(), "say one of "+strings.Join(fieldNames(v.Type()), ", ")+" here")
		return
	}
	byName := map[string]reflect.Value{}
	for i := range v.NumField() {
		if name := fieldName(v.Type().Field(i)); name != "" {
			byName[name] = v.Field(i)
		}
	}
	for _, p := range n.pairs {
		at := join(path, p.key)
		field, ok := byName[p.key]
		if !ok {
			why, next, word := unknownField(p.key, fieldNames(v.Type()))
			if word != "" {
				d.bad[join(path, word)] = true // it was said, under the wrong name
			}
			d.add(p.at, at, why, next)
			continue
		}
		d.keys[at] = p.at
		if p.value.kind != nothing {
			d.value(at, p.value, field)
		}
	}
}

// items reads a list into a slice.
func (d *decoder) items(path string, n *node, v reflect.Value) {
	if n.kind != list {
		d.refuse(path, n, "must be a list, is "+n.show(), listCure(n))
		return
	}
	out := reflect.MakeSlice(v.Type(), len(n.items), len(n.items))
	for i, item := range n.items {
		at := fmt.Sprintf("%s[%d]", path, i)
		if item.kind == nothing {
			d.refuse(at, item, "there is nothing here", "write a value, or remove the line")
			continue
		}
		d.value(at, item, out.Index(i))
	}
	v.Set(out)
}

func listCure(n *node) string {
	if n.kind == mapping || n.kind == list {
		return "put a dash in front of each item"
	}
	return fmt.Sprintf("put it in brackets: [%s]", clip(n.text))
}

func (d *decoder) text(path string, n *node) (string, bool) {
	switch n.kind {
	case text:
		return n.text, true
	case whole, decimal, truth:
		d.refuse(path, n, "must be text, is "+n.show(), fmt.Sprintf("put it in quotes: %q", n.text))
	case mapping, list, nothing:
		d.refuse(path, n, "must be text, is "+n.show(), "say it as text")
	}
	return "", false
}

func (d *decoder) integer(path string, n *node) (int, bool) {
	if n.kind == whole {
		if i, err := strconv.ParseInt(strings.ReplaceAll(n.text, "_", ""), 0, 32); err == nil {
			return int(i), true
		}
		d.refuse(path, n, clip(n.text)+" is out of range", "say a smaller number")
		return 0, false
	}
	next := "say a number, such as 2"
	if _, err := strconv.Atoi(n.text); err == nil && n.kind == text {
		next = "remove the quotes: " + n.text
	}
	d.refuse(path, n, "must be a whole number, is "+n.show(), next)
	return 0, false
}

func (d *decoder) number(path string, n *node) (float64, bool) {
	if n.kind == whole || n.kind == decimal {
		if f, err := strconv.ParseFloat(strings.ReplaceAll(n.text, "_", ""), 64); err == nil && f-f == 0 {
			return f, true
		}
		d.refuse(path, n, clip(n.text)+" is not a number that can be used", "say a number, such as 0.5")
		return 0, false
	}
	next := "say a number, such as 0.5"
	if _, err := strconv.ParseFloat(n.text, 64); err == nil && n.kind == text {
		next = "remove the quotes: " + n.text
	}
	d.refuse(path, n, "must be a number, is "+n.show(), next)
	return 0, false
}

// named is a mapping from names that people choose, in the order of the file.
type named[T any] struct {
	names []string
	of    map[string]*T
}

func (m *named[T]) read(d *decoder, path string, n *node) {
	if n.kind != mapping {
		d.refuse(path, n, "must be a mapping of names, is "+n.show(), "write NAME: and what it has, one per line")
		return
	}
	m.of = map[string]*T{}
	for _, p := range n.pairs {
		at := join(path, p.key)
		d.keys[at] = p.at
		one := new(T)
		if v := reflect.ValueOf(one).Elem(); p.value.kind != nothing || v.Kind() != reflect.Struct {
			d.value(at, p.value, v)
		}
		m.names = append(m.names, p.key)
		m.of[p.key] = one
	}
}

// JSONSchemaAlias tells the schema generator what a named mapping looks like.
func (named[T]) JSONSchemaAlias() any { return map[string]T{} }

// join appends a field to a path.
func join(path, field string) string {
	if path == "" {
		return field
	}
	return path + "." + field
}

// fieldName returns the name of a struct field in the document, or "".
func fieldName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

func fieldNames(t reflect.Type) []string {
	var names []string
	for f := range t.Fields() {
		if name := fieldName(f); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// unknownField words what is wrong with a field that does not exist, with the
// cure for words that people bring from elsewhere. word is the field that was
// probably meant, or "".
func unknownField(name string, known []string) (why, next, word string) {
	if name == "port" || name == "ports" {
		return "Slipway gives each instance a free port in PORT", "remove it, and let the service listen on $PORT", ""
	}
	elsewhere := map[string]string{
		"command": "run", "cmd": "run", "entrypoint": "run", "start": "run",
		"path": "dir", "directory": "dir", "build": "dir", "working_dir": "dir", "context": "dir",
		"depends_on": "needs", "dependencies": "needs", "requires": "needs",
		"environment": "config", "env": "config", "vars": "config",
		"healthcheck": "health", "check": "health", "readiness": "health",
		"scale": "replicas", "instances": "replicas", "count": "replicas",
		"environments": "in", "overrides": "in", "envs": "environments", "stages": "environments",
		"strategy": "rollout", "deploy": "rollout", "kind": "strategy", "type": "strategy",
		"name": "project", "percent": "weight", "setWeight": "weight", "pause": "hold", "duration": "hold",
		"mem": "memory", "cpu": "cpus", "nofile": "open_files", "pids": "processes",
		"retry": "retries", "rate_limit": "rates", "rate_limits": "rates", "affinity": "sticky", "shadow": "mirror", "outlier_detection": "ejection",
		"ssl": "tls", "certificate": "cert", "letsencrypt": "acme", "proxy": "data_plane", "burst_size": "burst", "equals": "is", "exact": "is", "regex": "pattern",
		"address": "listen", "addr": "listen", "bind": "listen", "host": "hosts", "prefix": "paths",
	}
	why = fmt.Sprintf("there is no field %s here", clip(name))
	if word = elsewhere[name]; word != "" && slices.Contains(known, word) {
		return why, "here it is called " + word, word
	}
	return why, didYouMean(name, known), meant(name, known)
}
