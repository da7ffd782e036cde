package server

import (
	"bytes"
	"encoding/json"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// apiVersion is the version of the API, which is not that of Slipway.
const apiVersion = "1.0.0"

// specification returns the part of the OpenAPI document that no route adds. It
// brings nothing of huma's own along: no docs page from a foreign host, no
// $schema links, no second format.
func specification() huma.Config {
	schemas := huma.NewMapRegistry("#/components/schemas/", schemaName)
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Slipway API", Version: apiVersion, License: &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
				Description: "Continuous delivery of services. Times are RFC 3339 in UTC, durations are nanoseconds, weights are hundredths of a percent. Every refusal is an RFC 9457 problem with a stable code and the command that comes next.",
			},
			Components: &huma.Components{
				Schemas: schemas,
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"token":   {Type: "http", Scheme: "bearer", Description: "A named token (slipway token create), or the owner's: the content of STATE/token."},
					"session": {Type: "apiKey", In: "cookie", Name: "slipway_session_PORT", Description: "A browser that is signed in. What changes something must come from a page of this server."},
				},
			},
			Security: []map[string][]string{{"token": {}}},
		},
		Formats:       map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat: "application/json", RejectUnknownQueryParameters: true,
		Transformers: []huma.Transformer{translated},
	}
}

// schemaName names a schema: words of delivery and of this package as they are,
// those of other packages with the package in front, because two of them have a Route.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	at := t.PkgPath()
	pkg := at[strings.LastIndex(at, "/")+1:]
	if t.Name() == "" || pkg == "" || pkg == "delivery" || pkg == "server" || strings.Contains(t.Name(), "[") {
		return name
	}
	return strings.ToUpper(pkg[:1]) + pkg[1:] + name
}

// problemResponse is how every route answers when it does not do what was asked.
func problemResponse(schemas huma.Registry) *huma.Response {
	return &huma.Response{
		Description: "A problem: code says which, hint what to do",
		Content: map[string]*huma.MediaType{
			"application/problem+json": {Schema: schemas.Schema(reflect.TypeFor[problem](), true, "Problem")},
		},
	}
}

// truthful mends what huma takes from Go types a little wrongly: a pointer or a
// map that is not left out when it is nil is null on the wire.
func truthful(schemas huma.Registry) {
	delete(schemas.Map(), "ErrorModel")
	delete(schemas.Map(), "ErrorDetail")
	for name, schema := range schemas.Map() {
		t := schemas.TypeFromRef("#/components/schemas/" + name)
		if t == nil || t.Kind() != reflect.Struct {
			continue
		}
		for _, f := range reflect.VisibleFields(t) {
			tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			prop := schema.Properties[tag]
			if prop == nil || strings.Contains(options, "omit") {
				continue
			}
			switch {
			case f.Type.Kind() == reflect.Map:
				prop.Nullable = true
			case f.Type.Kind() == reflect.Pointer && prop.Ref != "":
				schema.Properties[tag] = &huma.Schema{AnyOf: []*huma.Schema{prop, {Type: "null"}}}
			}
		}
	}
}

// documentRoutes serves the description of the API in its own words: the same
// bytes each time, made once, with nothing from anywhere else.
func (s *Server) documentRoutes() {
	spec := s.api.OpenAPI()
	truthful(spec.Components.Schemas)
	doc, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		panic("server: the API is described by plain data: " + err.Error())
	}
	yaml, err := spec.YAML()
	if err != nil {
		panic("server: the API is described by plain data: " + err.Error())
	}
	html, policy := docsHTML(spec)
	s.document("/openapi.json", "application/openapi+json", "", append(doc, '\n'))
	s.document("/openapi.yaml", "application/openapi+yaml", "", yaml)
	s.document("/docs", "text/html; charset=utf-8", policy, html)
}

// document serves fixed bytes to anyone: they are the same for every Slipway of
// a version, and a browser that opens the docs has no token to show.
func (s *Server) document(path, contentType, policy string, content []byte) {
	pattern := http.MethodGet + " " + Base + path
	s.needs[pattern] = delivery.Nobody
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", contentType)
		if policy != "" {
			h.Set("Content-Security-Policy", policy)
		}
		_, _ = bytes.NewReader(content).WriteTo(w) // a client that is gone asks again
	})
}
