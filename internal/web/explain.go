package web

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/slipway-cd/slipway/internal/discreet"
	"github.com/slipway-cd/slipway/internal/manifest"
)

// explainView is every value that a service is run with, and where it came from.
type explainView struct {
	Name   string
	Here   string
	File   string
	Ask    string // what the fields that are shown hold; "" shows all
	Groups []explainGroup
	Set    int // values that the file says
	All    int
	Found  int
}

// explainGroup is the values below one field.
type explainGroup struct {
	Name  string
	Lines []explainLine
}

// explainLine is one value.
type explainLine struct {
	Field  string // without the service
	Value  string
	Origin string
	Set    bool // the file says so; else it is a default
}

// projectFile is what a project's file is called where nobody said otherwise.
const projectFile = "slipway.yaml"

func (w *Web) serviceSettings(ctx context.Context, q request) (page, error) {
	name := q.PathValue("service")
	if _, err := w.d.Loop.Service(ctx, name); err != nil {
		return page{}, err
	}
	p, src, err := w.d.Store.Project(ctx)
	if err != nil {
		return page{}, err
	}
	_, origins, err := manifest.Parse(projectFile, src, string(filepath.Separator)) // read again for its places; the values are those in force
	if err != nil {
		return page{}, err
	}
	v := explainView{Name: name, Here: "settings", File: projectFile, Ask: inert(strings.TrimSpace(q.URL.Query().Get("q")))}
	prefix := "services." + name
	for _, l := range origins.Explain(p, prefix) {
		v.add(strings.TrimPrefix(strings.TrimPrefix(l.Field, prefix), "."), l)
	}
	return page{Tab: "services", Title: "Configuration of " + name, Name: "settings-of", View: v}, nil
}

// add puts a value into the group of its first word, those of an environment into
// one of their own. What is asked for is looked for in the field alone: a value that
// is hidden cannot be found out by asking for parts of it.
func (v *explainView) add(field string, l manifest.Line) {
	set := strings.HasPrefix(l.Origin, projectFile+":")
	if v.All++; set {
		v.Set++
	}
	if !strings.Contains(strings.ToLower(field), strings.ToLower(v.Ask)) {
		return
	}
	v.Found++
	group, rest, deep := strings.Cut(field, ".")
	if group == "in" {
		env, below, _ := strings.Cut(rest, ".")
		group, field = "in "+env, below
	} else if !deep {
		group = "run"
	}
	line := explainLine{Field: field, Value: discreet.Value(field, l.Value), Origin: l.Origin, Set: set}
	for i := range v.Groups {
		if v.Groups[i].Name == group {
			v.Groups[i].Lines = append(v.Groups[i].Lines, line)
			return
		}
	}
	v.Groups = append(v.Groups, explainGroup{Name: group, Lines: []explainLine{line}})
}
