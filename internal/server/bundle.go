package server

import (
	"context"
	"io"

	"github.com/danielgtaylor/huma/v2"

	"github.com/slipway-cd/slipway/internal/artifact"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// bundleInput is a tar that is read as it comes, never as a whole.
type bundleInput struct {
	body io.Reader
}

// Resolve hands over the body unread.
func (in *bundleInput) Resolve(ctx huma.Context) []error {
	in.body = ctx.BodyReader()
	return nil
}

type bundleKept struct {
	Digest delivery.Digest `json:"digest" doc:"of the canonical tar; name it in a change"`
}

func (s *Server) postBundle(ctx context.Context, in *bundleInput) (*output[bundleKept], error) {
	d, err := s.d.Artifacts.Unpack(ctx, in.body, artifact.Limits{Bytes: maxBundle, Files: artifact.MaxEntries})
	if err == nil {
		return answered(bundleKept{Digest: d})
	}
	if u, ok := in.body.(*upload); ok && u.err != nil {
		return nil, unread(u.err)
	}
	return nil, err
}

type digestInput struct {
	Digest delivery.Digest `path:"digest" doc:"sha256: and 64 hex digits"`
}

func (s *Server) getBundle(_ context.Context, in *digestInput) (*struct{}, error) {
	if !s.d.Artifacts.Has(in.Digest) {
		p := newProblem(codeNotFound, "there is no bundle "+string(in.Digest))
		p.Hint = "POST " + Base + "/bundles uploads it"
		return nil, p
	}
	return nil, nil
}
