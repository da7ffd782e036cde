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

// looks is how often a page is looked at that changes meanwhile.
const looks = 20

// lookAtAll is one of them: what axe-core found, and whether it was the same page throughout.
const lookAtAll = `(async () => {
	let changed = false;
	const watch = new MutationObserver(() => { changed = true; });
	watch.observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
	const found = await axe.run(document, {resultTypes: ["violations"]});
	changed ||= watch.takeRecords().length > 0;
	watch.disconnect();
	return {changed, violations: found.violations};
})()`

// Axe asks axe-core what is wrong with the page as it is now, by all of its rules. What
// it finds on a page that is renewed under its eyes may be of neither the old nor the
// new one, so it has to find it again.
func (tab *Tab) Axe() []Violation {
	tab.t.Helper()
	if !tab.Is("window.axe") {
		var version string
		tab.Eval(axe+";axe.version", &version)
	}
	var seen struct {
		Changed    bool
		Violations []Violation
	}
	for range looks {
		tab.Eval(lookAtAll, &seen)
		if !seen.Changed || len(seen.Violations) == 0 {
			break
		}
	}
	return seen.Violations
}
