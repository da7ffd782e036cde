package cli

import (
	"bytes"
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
	case "json", "yaml":
		doc, err := document(v)
		if err != nil {
			return err
		}
		if s.format == "json" {
			text = string(doc) + "\n"
			break
		}
		if doc, err = yaml.JSONToYAML(doc); err != nil {
			return fmt.Errorf("cli: %w", err)
		}
		text = string(doc)
	case "name":
		for _, line := range name() {
			text += line + "\n"
		}
	default:
		text = s.again(table())
	}
	return s.print(text)
}

// rawJSON is a document that came from the API.
type rawJSON = json.RawMessage

// document is v as indented JSON. What came from the API stays as it came.
func document(v any) ([]byte, error) {
	doc, ok := v.(rawJSON)
	if !ok {
		var plain bytes.Buffer
		enc := json.NewEncoder(&plain)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			return nil, fmt.Errorf("cli: %w", err)
		}
		doc = plain.Bytes()
	}
	var out bytes.Buffer
	if err := json.Indent(&out, bytes.TrimSpace(doc), "", "  "); err != nil {
		return nil, fmt.Errorf("cli: %w", err)
	}
	return out.Bytes(), nil
}

// print writes data to stdout.
func (s *session) print(text string) error {
	if _, err := fmt.Fprint(s.Stdout, text); err != nil {
		return fmt.Errorf("cli: %w", err)
	}
	return nil
}
