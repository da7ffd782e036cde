package server

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/slipway-cd/slipway/internal/access"
)

// described is the OpenAPI document that the server serves, ready to judge answers.
type described struct {
	doc      map[string]any
	compiler *jsonschema.Compiler
	paths    map[string]*regexp.Regexp
	mu       sync.Mutex
	schemas  map[string]*jsonschema.Schema
}

// theSpec reads the document once: it is the same for every server.
var theSpec = sync.OnceValue(func() *described {
	s := New(Deps{Guard: access.New(access.Deps{})})
	req, _ := http.NewRequest(http.MethodGet, "http://localhost"+Base+"/openapi.json", nil)
	rec := &recorder{header: http.Header{}}
	s.ServeHTTP(rec, req)
	d := &described{compiler: jsonschema.NewCompiler(), paths: map[string]*regexp.Regexp{}, schemas: map[string]*jsonschema.Schema{}}
	if err := json.Unmarshal(rec.body.Bytes(), &d.doc); err != nil {
		panic(err)
	}
	asJSON, err := jsonschema.UnmarshalJSON(bytes.NewReader(rec.body.Bytes()))
	if err != nil {
		panic(err)
	}
	d.compiler.DefaultDraft(jsonschema.Draft2020)
	if err := d.compiler.AddResource("openapi.json", asJSON); err != nil {
		panic(err)
	}
	hole := regexp.MustCompile(`\\\{[^}]+\\\}`)
	for path := range d.doc["paths"].(map[string]any) {
		d.paths[path] = regexp.MustCompile("^" + hole.ReplaceAllString(regexp.QuoteMeta(path), `[^/]+`) + "$")
	}
	return d
})

// schema returns the compiled schema at a JSON pointer of the document.
func (d *described) schema(pointer string) (*jsonschema.Schema, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.schemas[pointer]; s != nil {
		return s, nil
	}
	s, err := d.compiler.Compile("openapi.json#" + pointer)
	if err == nil {
		d.schemas[pointer] = s
	}
	return s, err
}

// operation finds what the document says of a request.
func (d *described) operation(method, path string) (pointer string, op map[string]any) {
	path, _, _ = strings.Cut(path, "?")
	best := ""
	for template, re := range d.paths {
		if re.MatchString(path) && (best == "" || strings.Count(template, "{") < strings.Count(best, "{")) {
			best = template
		}
	}
	item, _ := d.doc["paths"].(map[string]any)[best].(map[string]any)
	op, _ = item[strings.ToLower(method)].(map[string]any)
	return "/paths/" + escape(best) + "/" + strings.ToLower(method), op
}

func escape(s string) string {
	return strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(s)
}

// conforms fails the test when an answer is not what the document promises.
func conforms(t *testing.T, a ask, r *reply) {
	t.Helper()
	d := theSpec()
	pointer, op := d.operation(a.method, a.path)
	if op == nil || len(r.Body) == 0 {
		return
	}
	status := strconv.Itoa(r.Status)
	if _, told := op["responses"].(map[string]any)[status]; !told {
		status = "default"
		if r.Status < 400 && (r.Status != 200 || a.path != "/changes" && a.path != "/holds") {
			t.Errorf("%s answered %d, which the document does not name", r.asked, r.Status)
			return
		}
		if r.Status < 400 {
			status = "201" // a dry run has the form of the real thing
		}
	}
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if !strings.Contains(media, "json") || strings.Contains(media, "ndjson") {
		return
	}
	s, err := d.schema(pointer + "/responses/" + status + "/content/" + escape(media) + "/schema")
	if err != nil {
		t.Errorf("%s: %v", r.asked, err)
		return
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(r.Body))
	if err != nil {
		t.Errorf("%s: %v in %s", r.asked, err, r.Body)
		return
	}
	if err := s.Validate(v); err != nil {
		t.Errorf("%s: the answer is not what the document says: %v\n%s", r.asked, err, r.Body)
	}
}
