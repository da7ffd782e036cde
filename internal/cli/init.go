package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/manifest"
)

func (s *session) initialise() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "init", Short: "Write a slipway.yaml for what is in this folder", Args: none,
		Long:    "Recognises compose.yaml, Procfile, go.mod, package.json and pyproject.toml, here and one\nfolder below, and says what it guessed and why.",
		Example: "  slipway init\n  slipway init --force     over the one that is there",
		RunE:    func(*cobra.Command, []string) error { return s.runInit(force) },
	}
	cmd.Flags().BoolVar(&force, "force", false, "overwrite the slipway.yaml that is there")
	return cmd
}

func (s *session) runInit(force bool) error {
	path := filepath.Join(s.Dir, manifestName)
	if _, err := os.Lstat(path); err == nil && !force {
		return delivery.InvalidNext("file", manifestName+" is here already; nothing was changed", "slipway config validate, or slipway init --force")
	}
	files, err := gather(s.Dir)
	if err != nil {
		return err
	}
	found := manifest.Detect(files)
	if found.Project == "" {
		found.Project = filepath.Base(s.Dir)
	}
	src := manifest.Starter(found)
	if err := os.WriteFile(path, src, 0o644); err != nil {
		return fmt.Errorf("cli: %w", err)
	}
	type written struct {
		File      string             `json:"file"`
		Detection manifest.Detection `json:"detection"`
	}
	return s.show(written{path, found}, func() string { return s.guessed(found) }, func() []string { return []string{path} })
}

// guessed says what was recognised, why, and what a person should check.
func (s *session) guessed(d manifest.Detection) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %s wrote %s for %s\n", s.look.good("✔"), manifestName, plural(len(d.Services), "service"))
	for _, f := range d.Services {
		fmt.Fprintf(&b, "  %s   %s\n", s.look.strong(f.Name), strings.Join(f.Run, " "))
		for _, why := range f.Reasons {
			fmt.Fprintf(&b, "      why   %s\n", why)
		}
		if f.Before != "" {
			fmt.Fprintf(&b, "      first %s\n", f.Before)
		}
	}
	for _, n := range d.Notes {
		fmt.Fprintf(&b, "  %s %s\n", s.look.in(toneWarn, "?"), n)
	}
	if len(d.Services) == 0 {
		fmt.Fprintf(&b, "  %s nothing was recognised, so it holds an example: put your own command in its place\n", s.look.in(toneWarn, "?"))
	}
	return b.String() + next("slipway config validate", "slipway up")
}

// Bounds of what init reads.
const (
	maxGathered = 1 << 20 // bytes of one file
	maxFolders  = 200
)

// telling are the files that init looks at.
func telling() []string {
	return []string{
		"compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml",
		"Procfile", "go.mod", "package.json", "pyproject.toml",
	}
}

// gather reads the files that tell what a project is made of, from a folder and
// those one level below it.
func gather(dir string) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cli: %w", err)
	}
	folders := []string{"."}
	for _, e := range entries {
		ignored := strings.HasPrefix(e.Name(), ".") || slices.Contains([]string{"node_modules", "vendor", "testdata", "__pycache__"}, e.Name())
		if e.IsDir() && !ignored && len(folders) < maxFolders {
			folders = append(folders, e.Name())
		}
	}
	files := map[string][]byte{}
	for _, folder := range folders {
		for _, name := range telling() {
			src, err := readSome(filepath.Join(dir, folder, name))
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("cli: %w", err)
			}
			files[filepath.ToSlash(filepath.Join(folder, name))] = src
		}
	}
	return files, nil
}

// readSome reads a regular file, up to a bound.
func readSome(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, os.ErrNotExist)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	src, err := io.ReadAll(io.LimitReader(f, maxGathered))
	return src, errors.Join(err, f.Close())
}
