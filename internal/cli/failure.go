package cli

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/slipway-cd/slipway/internal/client"
)

// failure is an error for programs: what "-o json" says on stderr, in one line, and
// "-o yaml" as a document. The exit code of the program is the same as without.
type failure struct {
	Code   string                 `json:"code"`             // stable: that of the API, or one of the codes below
	Error  string                 `json:"error"`            // in a sentence
	Why    []string               `json:"why,omitempty"`    // details
	Who    string                 `json:"who,omitempty"`    // may lift it
	Next   string                 `json:"next"`             // the command or edit that comes next
	Errors []client.ProblemDetail `json:"errors,omitempty"` // what is wrong, each with its place
	Exit   exit                   `json:"exit"`
}

// Codes of what the API has not said.
const (
	failedCode      = "failed"
	usageCode       = "usage"
	invalidCode     = "invalid"
	noServerCode    = "no_server"
	interruptedCode = "interrupted"
)

// forPrograms reports whether errors are said for programs, and how. What is wrong with
// the command line is found before its format is known, so that is looked for in it.
func (s *session) forPrograms() (format string, yes bool) {
	format = s.format
	if !s.began {
		for i, arg := range s.Args {
			value, found := strings.CutPrefix(arg, "--output=")
			if !found {
				value, found = strings.CutPrefix(arg, "-o")
				value = strings.TrimPrefix(value, "=")
			}
			if (arg == "-o" || arg == "--output") && i+1 < len(s.Args) {
				value, found = s.Args[i+1], true
			}
			if found && slices.Contains(formats(), value) {
				format = value
			}
		}
	}
	return format, format == "json" || format == "yaml"
}

// written is the failure as a document.
func (f failure) written(format string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(f); err != nil {
		return f.Error + "\n" // a value of the API that is no JSON: there is none
	}
	if format != "yaml" {
		return b.String()
	}
	doc, err := yaml.JSONToYAML(b.Bytes())
	if err != nil {
		return b.String() // JSON is YAML
	}
	return string(doc)
}
