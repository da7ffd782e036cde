package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/manifest"
)

// manifestName is what the file of a project is called.
const manifestName = "slipway.yaml"

// manifestFile is a project file that was read.
type manifestFile struct {
	path string // absolute
	name string // as messages name it
	src  []byte
}

// findManifest reads the file named, or looks for slipway.yaml here and in each
// folder above.
func (s *session) findManifest(named string) (manifestFile, error) {
	if named != "" {
		path := named
		if !filepath.IsAbs(path) {
			path = filepath.Join(s.Dir, path)
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return manifestFile{}, delivery.InvalidNext("file", "cannot be read: "+err.Error(), "slipway init")
		}
		return manifestFile{path: path, name: named, src: src}, nil
	}
	for dir := s.Dir; ; dir = filepath.Dir(dir) {
		path := filepath.Join(dir, manifestName)
		src, err := os.ReadFile(path)
		if err == nil {
			return manifestFile{path: path, name: manifestName, src: src}, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return manifestFile{}, fmt.Errorf("cli: %w", err)
		}
		if dir == filepath.Dir(dir) {
			return manifestFile{}, delivery.InvalidNext("file", "there is no "+manifestName+" in "+s.Dir+" or above it", "slipway init")
		}
	}
}

func (f manifestFile) dir() string { return filepath.Dir(f.path) }

func (f manifestFile) parse() (delivery.Project, manifest.Origins, error) {
	return manifest.Parse(f.name, f.src, f.dir())
}

// mistakesIn returns the mistakes that an error lists, or none.
func mistakesIn(err error) manifest.Mistakes {
	if m, ok := errors.AsType[*manifest.Mistakes](err); ok {
		return *m
	}
	return nil
}
