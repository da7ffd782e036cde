package field_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/proxy/field"
)

func found(path, text string, pieces int) bool {
	s := field.New(field.Parse(path))
	for len(text) > 0 {
		n := min(max(pieces, 1), len(text))
		_, _ = s.Write([]byte(text[:n]))
		text = text[n:]
	}
	return s.Found()
}

func TestScanner(t *testing.T) {
	deep := strings.Repeat(`{"a":[`, 5000) + strings.Repeat(`]}`, 5000)
	for _, tc := range []struct {
		path, text string
		want       bool
	}{
		{"errors", ``, false},
		{"errors", `{}`, false},
		{"errors", `{"errors":null}`, false},
		{"errors", ` { "errors" : false , "errors" : 0, "errors":-0.00E+5,"errors":"" , "errors":[ ],"errors":{
		} }`, false},
		{"errors", `{"errors":true}`, true},
		{"errors", `{"errors":0.01}`, true},
		{"errors", `{"errors":-1e-999}`, true},
		{"errors", `{"errors":"0"}`, true},
		{"errors", `{"errors":"\u0000"}`, true},
		{"errors", `{"data":{"errors":1},"errors":[]}`, false},
		{"errors", `{"data":null,"errors":[{"message":"no"}]}`, true},
		{"errors", `{"data":[1,"}",{"x":"\"]"}],"errors":[0]}`, true},
		{"errors", `{"error\u0073":1}`, true},
		{"errors", `{"error\u0073x":1,"Errors":1," errors":1}`, false},
		{"errors", `[{"errors":1}]`, false},
		{"errors", `{"a":` + deep + `,"errors":1}`, true},
		{"errors", `{"` + strings.Repeat("errors", 10000) + `":1,"errors":1}`, true},
		{"errors", `"errors"`, false},
		{"errors", "{\"errors\":0}\x01{\"errors\":1}", false},
		{"errors", `{"errors":nonsense`, false},
		{"status.error", `{"status":{"ok":1,"error":"no"}}`, true},
		{"status.error", `{"status":{"error":null},"error":"no"}`, false},
		{"status.error", `{"status":[{"error":"no"}]}`, false},
		{"status.error", `{"status":{"error":0},"status":{"error":1}}`, true},
		{"status.error", `{"status.error":1}`, false},
		{"größe", `{"gr\u00f6\u00DFe":1}`, true},
		{"😀", `{"\ud83d\ude00":1}`, true},
	} {
		for _, n := range []int{1, 2, 3, 7, 1 << 20} {
			if got := found(tc.path, tc.text, n); got != tc.want {
				t.Errorf("%s in %.60q by %d bytes = %v, want %v", tc.path, tc.text, n, got, tc.want)
			}
		}
	}
}

// What stands behind the limit is not looked at, and a scanner that has stopped
// says so.
func TestScannerStops(t *testing.T) {
	pad := `{"a":"` + strings.Repeat("x", field.Limit) + `"`
	if found("b", pad+`,"b":1}`, 1000) {
		t.Error("something was found behind the limit")
	}
	s := field.New(field.Parse("b"))
	if _, _ = s.Write([]byte(`{"a":1`)); s.Stopped() {
		t.Error("stopped in the middle")
	}
	if _, _ = s.Write([]byte(`,"b":1`)); !s.Stopped() || !s.Found() {
		t.Error("not stopped by what it looks for")
	}
	var none *field.Scanner
	if _, _ = none.Write([]byte("x")); !none.Stopped() || none.Found() {
		t.Error("none is not as good as stopped")
	}
}

func TestJSON(t *testing.T) {
	for kind, want := range map[string]bool{
		"application/json": true, "Application/JSON; charset=utf-8": true, "application/problem+json": true,
		"application/graphql-response+json; charset=utf-8": true, "text/json": false, "text/html": false,
		"": false, "application/jsonl": false, "application/json-seq": false, "image/svg+json": false,
	} {
		if got := field.JSON(kind); got != want {
			t.Errorf("JSON(%q) = %v, want %v", kind, got, want)
		}
	}
}

// reference looks with encoding/json, which reads the text whole.
func reference(path []string, text []byte) bool {
	d := json.NewDecoder(bytes.NewReader(text))
	if first, err := d.Token(); err != nil || first != json.Delim('{') {
		return false
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return false
		}
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return false
		}
		switch {
		case key != path[0]:
		case len(path) > 1:
			if reference(path[1:], value) {
				return true
			}
		case says(value):
			return true
		}
	}
	return false
}

func says(value json.RawMessage) bool {
	switch value[0] {
	case 'n', 'f':
		return false
	case 't':
		return true
	case '"':
		return string(value) != `""`
	case '[':
		var list []json.RawMessage
		return json.Unmarshal(value, &list) == nil && len(list) > 0
	case '{':
		var object map[string]json.RawMessage
		return json.Unmarshal(value, &object) == nil && len(object) > 0
	}
	mantissa, _, _ := strings.Cut(strings.ToLower(string(value)), "e")
	return strings.ContainsAny(mantissa, "123456789")
}

// FuzzScanner holds the scanner to encoding/json on texts that are JSON, and on
// all others to saying the same however the text is cut.
func FuzzScanner(f *testing.F) {
	for _, text := range []string{
		`{"a":1}`, `{"b":{"a":[1,{"a":"\\\""}]},"a":-0.0e1}`, `{"\u0061":"x"}`, `[{"a":1}]`, `{"a":{"a":{"a":true}}}`, `{"a":{"b":"\ud800"},"a":[[]]}`, "{\"\xff\":1}",
	} {
		for _, path := range []string{"a", "a.b", "a.a.a", "\ufffd"} {
			f.Add(path, []byte(text), uint8(3))
		}
	}
	f.Fuzz(func(t *testing.T, dotted string, text []byte, pieces uint8) {
		path := field.Parse(dotted)
		if path == nil || len(text) > field.Limit || !utf8.ValidString(dotted) {
			return
		}
		got := found(dotted, string(text), int(pieces))
		if whole := found(dotted, string(text), len(text)); whole != got {
			t.Fatalf("found %v in %q at once, and %v by %d bytes", whole, text, got, pieces)
		}
		if json.Valid(text) {
			if want := reference(path, text); got != want {
				t.Fatalf("found %v of %q in %q, want %v", got, dotted, text, want)
			}
		}
	})
}

// texts draws JSON in which the keys that are looked for are many, written in all
// their ways.
func texts(t *rapid.T, depth int) string {
	pad := func() string { return rapid.SampledFrom([]string{"", "", " ", "\n\t"}).Draw(t, "space") }
	kinds := []string{"null", "true", "false", "0", "-0.0e7", "1e-9", "25", `""`, `"a"`, `"\"}"`, `"\\"`, `"\u0000"`, "[", "{", "{", "{"}
	if depth == 0 {
		kinds = kinds[:12]
	}
	kind := rapid.SampledFrom(kinds).Draw(t, "kind")
	if kind != "[" && kind != "{" {
		return pad() + kind + pad()
	}
	var all []string
	for range rapid.IntRange(0, 4).Draw(t, "length") {
		member := texts(t, depth-1)
		if kind == "{" {
			member = pad() + `"` + rapid.SampledFrom([]string{"a", "b", `\u0061`, "aa", "", `\"a`, "é", `\u00e9`, `\u00E9a`}).Draw(t, "key") + `"` + pad() + ":" + member
		}
		all = append(all, member)
	}
	if len(all) == 0 {
		all = []string{pad()}
	}
	return pad() + kind + strings.Join(all, ",") + map[string]string{"[": "]", "{": "}"}[kind] + pad()
}

func TestScannerFindsWhatEncodingJSONFinds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := texts(t, 5)
		if !json.Valid([]byte(text)) {
			t.Fatalf("%q is no JSON", text)
		}
		path := rapid.SampledFrom([]string{"a", "a", "a.b", "b.a", "a.a.a", "é", "é.a"}).Draw(t, "path")
		want := reference(field.Parse(path), []byte(text))
		if got := found(path, text, rapid.IntRange(1, 9).Draw(t, "pieces")); got != want {
			t.Fatalf("found %v of %s in %s, want %v", got, path, text, want)
		}
	})
}

func BenchmarkScanner(b *testing.B) {
	text := []byte(`{"data":{"items":[` + strings.Repeat(`{"id":"0123456789","name":"a thing of some sort","price":12.50},`, 500) + `{}]},"errors":[]}`)
	path := field.Parse("errors")
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		s := field.New(path)
		if _, _ = s.Write(text); s.Found() {
			b.Fatal("found")
		}
	}
}
