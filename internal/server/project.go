package server

import (
	"context"
	"path/filepath"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/discreet"
	"github.com/slipway-cd/slipway/internal/manifest"
)

// projectFile is what the file of a project is called where nobody said otherwise.
const projectFile = "slipway.yaml"

type projectInput struct {
	Asker
	File    string `query:"file" default:"slipway.yaml" maxLength:"1000" doc:"name of the file, for messages"`
	Dir     string `query:"dir" required:"true" maxLength:"4000" doc:"absolute folder that the paths of the file start from"`
	RawBody []byte `contentType:"application/yaml"`
}

type projectSet struct {
	Project delivery.Project `json:"project"`
	Changed bool             `json:"changed"`
}

// putProject takes a whole slipway.yaml, or says every mistake of it at once.
func (s *Server) putProject(ctx context.Context, in *projectInput) (*output[projectSet], error) {
	if !filepath.IsAbs(in.Dir) {
		return nil, delivery.Invalid("dir", "must be an absolute path")
	}
	if err := plain(said{"file", in.File}); err != nil {
		return nil, err
	}
	src := append([]byte(nil), in.RawBody...) // huma takes its buffer back
	p, _, err := manifest.Parse(in.File, src, in.Dir)
	if err != nil {
		return nil, err
	}
	changed, err := s.d.Loop.SetProject(ctx, p, src, in.by())
	if err != nil {
		return nil, err
	}
	return answered(projectSet{Project: p, Changed: changed})
}

type projectSource struct {
	Project delivery.Project `json:"project"`
	Source  string           `json:"source" doc:"the slipway.yaml in force, as it was written"`
}

// Discreet returns the project as it is shown to who may not know secrets.
func (p projectSource) Discreet() any {
	return projectSource{Project: discreet.Of(p.Project), Source: discreet.Source(p.Source, p.Project)}
}

func (s *Server) getProject(ctx context.Context, _ *struct{}) (*output[projectSource], error) {
	p, src, err := s.d.Store.Project(ctx)
	if err != nil {
		return nil, err
	}
	return answered(projectSource{Project: p, Source: string(src)})
}

type explainInput struct {
	Prefix string `query:"prefix" maxLength:"500" doc:"only values at or below this field, for example services.cart"`
}

// setting is one value of the project and where it came from.
type setting struct {
	Path   string `json:"path" doc:"the field, environments by name"`
	Value  string `json:"value"`
	Origin string `json:"origin" doc:"file:line:column, or which default"`
}

// Discreet returns the value as it is shown to who may not know secrets.
func (s setting) Discreet() any {
	return setting{Path: s.Path, Value: discreet.Value(s.Path, s.Value), Origin: s.Origin}
}

// explainProject says where each value came from. The file is read again for
// its places; the values are those in force.
func (s *Server) explainProject(ctx context.Context, in *explainInput) (*output[[]setting], error) {
	p, src, err := s.d.Store.Project(ctx)
	if err != nil {
		return nil, err
	}
	_, origins, err := manifest.Parse(projectFile, src, string(filepath.Separator))
	if err != nil {
		return nil, err
	}
	out := []setting{}
	for _, l := range origins.Explain(p, in.Prefix) {
		out = append(out, setting{Path: l.Field, Value: l.Value, Origin: l.Origin})
	}
	if len(out) == 0 && in.Prefix != "" {
		return nil, delivery.InvalidNext("prefix", "there is no field "+in.Prefix, "slipway config explain")
	}
	return answered(out)
}

type alive struct {
	OK      bool   `json:"ok"`
	Version string `json:"version"`
	Project string `json:"project"`
}

// healthz says that the server answers and its store can be read.
func (s *Server) healthz(ctx context.Context, _ *struct{}) (*output[alive], error) {
	w, err := s.d.Store.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	return answered(alive{OK: true, Version: s.d.Version, Project: w.Project.Name})
}
