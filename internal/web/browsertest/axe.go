package browsertest

import (
	_ "embed"
	"fmt"
	"strings"
)

// axe is axe-core as its authors published it; axe/README.md says where from.
//
//go:embed axe/axe-4.14.1.min.js
var axe string

// Violation is one rule that a page breaks, and where.
type Violation struct {
	ID     string `json:"id"`
	Impact string `json:"impact"`
	Help   string `json:"help"`
	Nodes  []struct {
		Target  []any  `json:"target"`
		HTML    string `json:"html"`
		Summary string `json:"failureSummary"`
	} `json:"nodes"`
}

func (v Violation) String() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s (%s): %s", v.ID, v.Impact, v.Help)
	for i, n := range v.Nodes {
		if i == 3 {
			fmt.Fprintf(&out, "\n    and %d more", len(v.Nodes)-i)
			break
		}
		fmt.Fprintf(&out, "\n    %v %.200s\n      %s", n.Target, n.HTML, strings.ReplaceAll(n.Summary, "\n", "\n      "))
	}
	return out.String()
}

// Axe asks axe-core what is wrong with the page as it is now, by all of its rules.
func (tab *Tab) Axe() []Violation {
	tab.t.Helper()
	if !tab.Is("window.axe") {
		var version string
		tab.Eval(axe+";axe.version", &version)
	}
	var out []Violation
	tab.Eval(`axe.run(document, {resultTypes: ["violations"]}).then(r => r.violations)`, &out)
	return out
}
