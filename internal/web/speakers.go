package web

import (
	"context"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/workload"
)

// speakers names the instances that lines come from as people know them, by
// environment and version: "prod v2". Each release is looked up once.
type speakers struct {
	releases *store.Store
	versions map[delivery.ReleaseID]string
}

// name is what an instance is called. One whose release is not known keeps its ID.
func (s *speakers) name(ctx context.Context, id workload.ID) string {
	parts := strings.Split(string(id), ".") // environment, service, release, place
	if len(parts) != 4 {
		return string(id)
	}
	version := s.version(ctx, delivery.ReleaseID(parts[2]))
	if version == "" {
		return string(id)
	}
	name := parts[0] + " " + version
	if place := parts[3]; place != "0" {
		name += "/" + place // the first of several says as little as the only one
	}
	return inert(name)
}

func (s *speakers) version(ctx context.Context, id delivery.ReleaseID) string {
	version, known := s.versions[id]
	if known {
		return version
	}
	if rel, err := s.releases.Release(ctx, id); err == nil {
		version = rel.Version
	}
	if s.versions == nil {
		s.versions = map[delivery.ReleaseID]string{}
	}
	s.versions[id] = version
	return version
}
