package discreet

import (
	"reflect"
	"slices"
	"strings"
)

// Hider is a value that knows itself what of it is a secret, beyond what Of finds.
// Discreet returns it, of the same type, without that.
type Hider interface{ Discreet() any }

// Of returns a copy of v in which each map of configuration and each command, however
// deep, is without its secrets. What is in no map of texts, no command and no Hider is
// as it was. v itself is not altered. An embedded type has to be exported to be seen.
func Of[T any](v T) T {
	in := reflect.ValueOf(&v).Elem()
	if carries(in.Type(), nil) {
		in.Set(hidden(in))
	}
	return v
}

// Carries reports whether values of a type can hold what Of leaves out.
func Carries[T any]() bool { return carries(reflect.TypeFor[T](), nil) }

var (
	hider  = reflect.TypeFor[Hider]()
	config = reflect.TypeFor[map[string]string]()
	words  = reflect.TypeFor[[]string]()
)

// carries is Carries for the types below one; above holds those that are being looked at.
func carries(t reflect.Type, above []reflect.Type) bool {
	if t == config || t.Implements(hider) {
		return true
	}
	if slices.Contains(above, t) {
		return false
	}
	above = append(above, t)
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return carries(t.Elem(), above)
	case reflect.Struct:
		for f := range t.Fields() {
			if f.IsExported() && (command(f) || carries(f.Type, above)) {
				return true
			}
		}
	default:
	}
	return false
}

// command reports whether a field holds the words of a command.
func command(f reflect.StructField) bool {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return f.Type == words && (name == "command" || name == "test")
}

// hidden returns v without its secrets.
func hidden(v reflect.Value) reflect.Value {
	t := v.Type()
	if t.Implements(hider) && (t.Kind() != reflect.Pointer || !v.IsNil()) {
		if h, ok := reflect.TypeAssert[Hider](v); ok {
			if out := reflect.ValueOf(h.Discreet()); out.Type() == t { // an embedded one answers for itself alone
				return out
			}
		}
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Interface:
		return pointed(v)
	case reflect.Slice:
		if v.IsNil() || !carries(t.Elem(), nil) {
			return v
		}
		out := reflect.MakeSlice(t, v.Len(), v.Len())
		for i := range v.Len() {
			out.Index(i).Set(hidden(v.Index(i)))
		}
		return out
	case reflect.Map:
		return mapped(v)
	case reflect.Struct:
		return fields(v)
	default:
	}
	return v
}

// pointed is hidden for what is behind a pointer or an interface.
func pointed(v reflect.Value) reflect.Value {
	if v.IsNil() || !carries(v.Elem().Type(), nil) {
		return v
	}
	if v.Kind() == reflect.Interface {
		return hidden(v.Elem())
	}
	out := reflect.New(v.Type().Elem())
	out.Elem().Set(hidden(v.Elem()))
	return out
}

func mapped(v reflect.Value) reflect.Value {
	if v.IsNil() || !carries(v.Type(), nil) {
		return v
	}
	out := reflect.MakeMapWithSize(v.Type(), v.Len())
	for _, key := range v.MapKeys() {
		value := v.MapIndex(key)
		if v.Type() == config {
			value = reflect.ValueOf(Value(key.String(), value.String()))
		} else {
			value = hidden(value)
		}
		out.SetMapIndex(key, value)
	}
	return out
}

func fields(v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	out.Set(v)
	for i := range v.NumField() {
		f := v.Type().Field(i)
		switch {
		case !f.IsExported():
		case command(f):
			if !v.Field(i).IsNil() {
				out.Field(i).Set(reflect.ValueOf(Words(v.Field(i).Interface().([]string))))
			}
		case carries(f.Type, nil):
			out.Field(i).Set(hidden(v.Field(i)))
		}
	}
	return out
}
