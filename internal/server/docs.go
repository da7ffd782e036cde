package server

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed" // the page
	"encoding/base64"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

//go:embed docs.html
var docsTemplate string

//go:embed docs.css
var docsStyle string

// docs is what the page shows.
type docs struct {
	Title, Version, Text string
	Base                 string
	Style                template.CSS
	Groups               []docsGroup
	Schemas              []docsSchema
	Problems             []docsProblem
}

type docsGroup struct {
	Noun   string
	Routes []docsRoute
}

type docsRoute struct {
	ID, Method, Path, Summary, Text string
	Need                            string // the least access that may ask; "" is none
	Params                          []docsField
	Body                            []docsBody
	Answers                         []docsBody
}

type docsBody struct {
	Status, Media string
	docsType
}

type docsField struct {
	Name, In, Text string
	Required       bool
	docsType
}

// docsType is a type in words, and the schema it leads to.
type docsType struct{ Type, Ref string }

type docsSchema struct {
	Name   string
	Fields []docsField
}

type docsProblem struct {
	Code   code
	Status int
	Title  string
}

// docsHTML renders the page once, and the policy that lets a browser show its
// style and nothing else.
func docsHTML(spec *huma.OpenAPI) (page []byte, policy string) {
	d := docs{Title: spec.Info.Title, Version: spec.Info.Version, Text: spec.Info.Description, Base: Base, Style: template.CSS(docsStyle)}
	groups := map[string][]docsRoute{}
	for _, path := range slices.Sorted(maps.Keys(spec.Paths)) {
		item := spec.Paths[path]
		for _, op := range []*huma.Operation{item.Get, item.Put, item.Post} {
			if op != nil {
				groups[op.Tags[0]] = append(groups[op.Tags[0]], routeDocs(op))
			}
		}
	}
	for _, noun := range slices.Sorted(maps.Keys(groups)) {
		d.Groups = append(d.Groups, docsGroup{noun, groups[noun]})
	}
	schemas := spec.Components.Schemas.Map()
	for _, name := range slices.Sorted(maps.Keys(schemas)) {
		d.Schemas = append(d.Schemas, docsSchema{name, fieldDocs(schemas[name])})
	}
	for _, k := range kinds() {
		d.Problems = append(d.Problems, docsProblem{k.code, k.status, k.title})
	}
	var b bytes.Buffer
	if err := template.Must(template.New("docs").Parse(docsTemplate)).Execute(&b, d); err != nil {
		panic("server: the page of the docs is fixed: " + err.Error())
	}
	sum := sha256.Sum256([]byte(docsStyle))
	policy = "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
	return b.Bytes(), policy
}

func routeDocs(op *huma.Operation) docsRoute {
	r := docsRoute{ID: op.OperationID, Method: op.Method, Path: op.Path, Summary: op.Summary, Text: op.Description, Need: needOf(op)}
	for _, p := range op.Parameters {
		r.Params = append(r.Params, docsField{Name: p.Name, In: p.In, Text: p.Description, Required: p.Required, docsType: typeDocs(p.Schema)})
	}
	if op.RequestBody != nil {
		r.Body = bodyDocs("", op.RequestBody.Content)
	}
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		if status == "default" {
			continue
		}
		if len(op.Responses[status].Content) == 0 {
			r.Answers = append(r.Answers, docsBody{Status: status, Media: "no content"})
		}
		r.Answers = append(r.Answers, bodyDocs(status, op.Responses[status].Content)...)
	}
	return r
}

// needOf returns the access that an operation says it needs.
func needOf(op *huma.Operation) string {
	for _, one := range op.Security {
		if roles := one["token"]; len(roles) > 0 {
			return roles[0]
		}
	}
	return ""
}

func bodyDocs(status string, content map[string]*huma.MediaType) []docsBody {
	var out []docsBody
	for _, media := range slices.Sorted(maps.Keys(content)) {
		out = append(out, docsBody{status, media, typeDocs(content[media].Schema)})
	}
	return out
}

func fieldDocs(s *huma.Schema) []docsField {
	var out []docsField
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name]
		out = append(out, docsField{Name: name, Text: p.Description, Required: slices.Contains(s.Required, name), docsType: typeDocs(p)})
	}
	return out
}

// typeDocs says a schema in words.
func typeDocs(s *huma.Schema) docsType {
	switch {
	case s == nil:
		return docsType{Type: "anything"}
	case s.Ref != "":
		name := s.Ref[strings.LastIndex(s.Ref, "/")+1:]
		return docsType{name, name}
	case len(s.AnyOf) > 0:
		t := typeDocs(s.AnyOf[0])
		t.Type += " or null"
		return t
	case s.Type == huma.TypeArray:
		t := typeDocs(s.Items)
		t.Type = "list of " + t.Type
		return t
	case s.Type == huma.TypeObject:
		if of, ok := s.AdditionalProperties.(*huma.Schema); ok {
			t := typeDocs(of)
			t.Type = "map to " + t.Type
			return t
		}
	case s.Format == "date-time":
		return docsType{Type: "time"}
	}
	return docsType{Type: cmp.Or(s.Type, "anything")}
}

// StatusText returns the phrase of a status, for the page.
func (p docsProblem) StatusText() string { return http.StatusText(p.Status) }
