package server

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "write docs/openapi.json")

const golden = "../../docs/openapi.json"

// The document is the one that is committed: a change of the API shows in its diff.
func TestOpenAPIGolden(t *testing.T) {
	h := build(t)
	got := h.get("/openapi.json").want(http.StatusOK)
	if *update {
		if err := os.WriteFile(golden, got.Body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Body, want) {
		t.Error("docs/openapi.json is not what the server says; see the difference with: go test ./internal/server -run OpenAPIGolden -update && git diff docs")
	}
	if ct := got.Header.Get("Content-Type"); ct != "application/openapi+json" {
		t.Errorf("Content-Type = %q", ct)
	}
	var fromJSON, fromYAML any
	if err := json.Unmarshal(got.Body, &fromJSON); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(h.get("/openapi.yaml").want(http.StatusOK).Body, &fromYAML); err != nil {
		t.Fatal(err)
	}
	back, err := json.Marshal(fromYAML)
	if err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(fromJSON)
	if err != nil {
		t.Fatal(err)
	}
	if !sameJSON(t, back, again) {
		t.Error("openapi.yaml and openapi.json differ")
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal(a, &x); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &y); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(x) == fmt.Sprint(y)
}

// The document is OpenAPI 3.1: what the specification demands of every object
// that is in it, and every schema is JSON Schema 2020-12.
func TestOpenAPIIsValid(t *testing.T) {
	d := theSpec()
	if v, _ := d.doc["openapi"].(string); !regexp.MustCompile(`^3\.1\.\d+$`).MatchString(v) {
		t.Errorf("openapi = %q, want 3.1.x", v)
	}
	info := object(d.doc["info"])
	if info["title"] == "" || info["version"] == "" {
		t.Errorf("info = %v, want a title and a version", info)
	}
	for key := range d.doc {
		if !slices.Contains([]string{"openapi", "info", "servers", "paths", "components", "security", "tags"}, key) {
			t.Errorf("the document has a field %q", key)
		}
	}
	ids := map[string]bool{}
	for path, item := range object(d.doc["paths"]) {
		if !strings.HasPrefix(path, "/") {
			t.Errorf("path %q does not begin with a slash", path)
		}
		for method, op := range object(item) {
			checkOperation(t, d, path, method, object(op), ids)
		}
	}
	for name := range object(object(d.doc["components"])["schemas"]) {
		if !regexp.MustCompile(`^[A-Za-z0-9._-]+$`).MatchString(name) {
			t.Errorf("schema %q has no name that may be referred to", name)
		}
		if _, err := d.schema("/components/schemas/" + name); err != nil {
			t.Errorf("schema %s: %v", name, err)
		}
	}
	everyRef(t, d, d.doc)
}

func object(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

func checkOperation(t *testing.T, d *described, path, method string, op map[string]any, ids map[string]bool) {
	t.Helper()
	where := method + " " + path
	id, _ := op["operationId"].(string)
	if id == "" || ids[id] {
		t.Errorf("%s: operationId %q is empty or there twice", where, id)
	}
	ids[id] = true
	if op["summary"] == "" || len(object(op["responses"])) < 2 {
		t.Errorf("%s: want a summary, an answer and a problem", where)
	}
	inPath := map[string]bool{}
	params, _ := op["parameters"].([]any)
	for _, p := range params {
		p := object(p)
		name, _ := p["name"].(string)
		if p["in"] == "path" {
			inPath[name] = true
			if p["required"] != true {
				t.Errorf("%s: path parameter %s is not required", where, name)
			}
		}
		if p["schema"] == nil || name == "" {
			t.Errorf("%s: parameter %v has no name or no schema", where, p)
		}
	}
	for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
		if !inPath[m[1]] {
			t.Errorf("%s: {%s} is not described", where, m[1])
		}
		delete(inPath, m[1])
	}
	if len(inPath) > 0 {
		t.Errorf("%s: describes %v, which the path does not have", where, inPath)
	}
	for status, resp := range object(op["responses"]) {
		if status != "default" && !regexp.MustCompile(`^[1-5]\d\d$`).MatchString(status) {
			t.Errorf("%s: status %q", where, status)
		}
		if object(resp)["description"] == nil {
			t.Errorf("%s: answer %s has no description", where, status)
		}
		for media := range object(object(resp)["content"]) {
			if _, err := d.schema("/paths/" + escape(path) + "/" + method + "/responses/" + status + "/content/" + escape(media) + "/schema"); err != nil {
				t.Errorf("%s: %v", where, err)
			}
		}
	}
	if (method == "get") == (op["requestBody"] != nil) {
		t.Errorf("%s: requestBody is %v", where, op["requestBody"])
	}
}

// everyRef holds that each $ref leads somewhere.
func everyRef(t *testing.T, d *described, v any) {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			name, local := strings.CutPrefix(ref, "#/components/schemas/")
			if object(object(d.doc["components"])["schemas"])[name] == nil || !local {
				t.Errorf("$ref %q leads nowhere", ref)
			}
		}
		for _, one := range v {
			everyRef(t, d, one)
		}
	case []any:
		for _, one := range v {
			everyRef(t, d, one)
		}
	}
}

// The judge of all other tests' answers does judge.
func TestSchemasRefuse(t *testing.T) {
	s, err := theSpec().schema("/components/schemas/Board")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{`{}`, `[]`, `{"project":"shop","environments":[],"services":[],"deployable":"none","at":"2026-01-01T00:00:00Z"}`} {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(bad))
		if err != nil {
			t.Fatal(err)
		}
		if s.Validate(v) == nil {
			t.Errorf("%s passes for a board", bad)
		}
	}
}

// The page needs nothing from anywhere, names every route and every code, and
// its policy lets a browser show it.
func TestDocs(t *testing.T) {
	h := build(t)
	r := h.call(ask{method: "GET", path: "/docs", bare: true}).want(http.StatusOK)
	text := string(r.Body)
	for _, foreign := range []string{"http://", "https://", "//", "src=", "<script", "@import", "url("} {
		if strings.Contains(strings.ReplaceAll(text, "http://127.0.0.1", ""), foreign) {
			t.Errorf("the page holds %q", foreign)
		}
	}
	for path := range theSpec().doc["paths"].(map[string]any) {
		if !strings.Contains(text, "<code>"+path+"</code>") {
			t.Errorf("the page does not name %s", path)
		}
	}
	for _, k := range kinds() {
		if !strings.Contains(text, `id="`+string(k.code)+`"`) {
			t.Errorf("the page does not explain %s", k.code)
		}
	}
	for _, m := range regexp.MustCompile(`href="#([^"]+)"`).FindAllStringSubmatch(text, -1) {
		if !strings.Contains(text, `id="`+m[1]+`"`) {
			t.Errorf("the link to #%s leads nowhere", m[1])
		}
	}
	style := text[strings.Index(text, "<style>")+len("<style>") : strings.Index(text, "</style>")]
	if style != docsStyle {
		t.Error("the style of the page is not the one that its policy allows")
	}
	if csp := r.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "style-src 'sha256-") || strings.Contains(csp, "unsafe") {
		t.Errorf("Content-Security-Policy = %q", csp)
	}
	if strings.Contains(string(h.get("/status").Body)+string(h.get("/openapi.json").Body), "$schema") {
		t.Error("an answer holds a $schema link")
	}
}
