package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// formats are the values of --output.
func formats() []string { return []string{"table", "json", "yaml", "name"} }

func (s *session) formatKnown() error {
	if slices.Contains(formats(), s.format) {
		return nil
	}
	return usageError{err: fmt.Errorf("--output: there is no format %q; say %s", s.format, strings.Join(formats(), ", ")), next: "slipway status -o json"}
}

// show prints data on stdout in the format asked for. v is the object of the
// API; table lays it out for people and name is one line per thing.
func (s *session) show(v any, table func() string, name func() []string) error {
	var text string
	switch s.format {
	case "json":
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return fmt.Errorf("cli: %w", err)
		}
		text = string(b) + "\n"
	case "yaml":
		b, err := json.Marshal(v)
		if err == nil {
			b, err = yaml.JSONToYAML(b)
		}
		if err != nil {
			return fmt.Errorf("cli: %w", err)
		}
		text = string(b)
	case "name":
		for _, line := range name() {
			text += line + "\n"
		}
	default:
		text = table()
	}
	return s.print(text)
}

// print writes data to stdout.
func (s *session) print(text string) error {
	if _, err := fmt.Fprint(s.Stdout, text); err != nil {
		return fmt.Errorf("cli: %w", err)
	}
	return nil
}
