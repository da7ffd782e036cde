package manifest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Mistake is one thing to mend in a file. Line and Column count from 1, Column
// in characters.
type Mistake struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Field   string `json:"field,omitempty"`   // "services.cart.replicas"; "" for the file as a whole
	Why     string `json:"why"`               // what is wrong
	Next    string `json:"next,omitempty"`    // the edit or command that mends it
	Snippet string `json:"snippet,omitempty"` // the line, and a caret line under the column
}

// Error says the mistake on one line: "slipway.yaml:5:9  services.cart.replicas: …".
func (m Mistake) Error() string {
	where := fmt.Sprintf("%s:%d:%d  ", m.File, m.Line, m.Column)
	if m.Field == "" {
		return where + m.Why
	}
	return where + m.Field + ": " + m.Why
}

// Mistakes is every mistake of one file, in the order of its lines. It matches
// delivery.ErrInvalid.
type Mistakes []Mistake

// Error prints every mistake with its line, its caret and its cure.
func (m Mistakes) Error() string {
	var b strings.Builder
	for i, one := range m {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(one.Error() + "\n")
		if one.Snippet != "" {
			b.WriteString(one.Snippet + "\n")
		}
		if one.Next != "" {
			b.WriteString("  → " + one.Next + "\n")
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Is makes errors.Is(err, delivery.ErrInvalid) true.
func (m Mistakes) Is(target error) bool { return target == delivery.ErrInvalid }

// position is a place in the source, counted from 1. The zero position is nowhere.
type position struct{ line, column int }

func (p position) known() bool { return p.line > 0 }

// report collects mistakes about one file.
type report struct {
	file     string
	lines    []string
	mistakes Mistakes
}

func newReport(file, src string) *report {
	return &report{file: file, lines: strings.Split(src, "\n")}
}

// maxMistakes is how many mistakes one report holds; nobody reads more.
const maxMistakes = 100

func (r *report) full() bool { return len(r.mistakes) > maxMistakes }

// add notes a mistake, once.
func (r *report) add(at position, field, why, next string) {
	if r.full() {
		return
	}
	if len(r.mistakes) == maxMistakes {
		field, why, next = "", fmt.Sprintf("there are more than %d mistakes", maxMistakes), "mend the others first"
	}
	if !at.known() {
		at = position{1, 1}
	}
	m := Mistake{File: r.file, Line: at.line, Column: at.column, Field: field, Why: why, Next: next, Snippet: r.snippet(at)}
	if !slices.Contains(r.mistakes, m) {
		r.mistakes = append(r.mistakes, m)
	}
}

// err returns all mistakes in the order of the file, or nil.
func (r *report) err() error {
	if len(r.mistakes) == 0 {
		return nil
	}
	slices.SortStableFunc(r.mistakes, func(a, b Mistake) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return &r.mistakes
}

// maxSnippet is how many characters of a line a snippet shows.
const maxSnippet = 120

// snippet shows the line of at with a caret under its column. A long line is
// cut to the part around the caret.
func (r *report) snippet(at position) string {
	if at.line > len(r.lines) {
		return ""
	}
	line := []rune(strings.TrimRight(r.lines[at.line-1], "\r"))
	caret := max(0, min(at.column-1, len(line)))
	from := 0
	if len(line) > maxSnippet {
		from = max(0, min(caret-maxSnippet/2, len(line)-maxSnippet))
		line = line[from : from+maxSnippet]
		caret -= from
	}
	var pad strings.Builder
	for i, c := range line {
		if c < ' ' && c != '\t' || c == 0x7f {
			line[i] = '·'
		}
		if i >= caret {
			continue
		}
		if c == '\t' {
			pad.WriteRune('\t')
			continue
		}
		pad.WriteRune(' ')
	}
	number := strconv.Itoa(at.line)
	gutter := strings.Repeat(" ", len(number))
	return fmt.Sprintf("  %s | %s\n  %s | %s^", number, string(line), gutter, pad.String())
}

// meant returns the known word that word was probably meant to be, or "".
func meant(word string, known []string) string {
	if near := delivery.Near(word, known); len(near) > 0 {
		return near[0]
	}
	return ""
}

// didYouMean words the cure for an unknown word.
func didYouMean(word string, known []string) string {
	if m := meant(word, known); m != "" {
		return fmt.Sprintf("did you mean %s?", m)
	}
	if len(known) == 0 {
		return "remove it"
	}
	return "say one of " + strings.Join(known, ", ")
}
