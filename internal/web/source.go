package web

import (
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/discreet"
)

// sourceLine is one line of a file, from 1 on.
type sourceLine struct {
	N    int
	Text string
}

// maxSourceLines is how many lines of a file a page shows, and maxSourceBytes how
// much of each.
const (
	maxSourceLines = 250
	maxSourceBytes = 140
)

// sourceLines shows a slipway.yaml that says p: what looks like a secret in it is left
// out, for whoever may read the page need not know it. It says how many lines are not shown.
func sourceLines(src string, p delivery.Project) (lines []sourceLine, more int) {
	all := strings.Split(strings.TrimRight(strings.ReplaceAll(src, "\r\n", "\n"), "\n"), "\n")
	for i, text := range strings.Split(discreet.Source(strings.Join(all, "\n"), p), "\n") {
		if i == maxSourceLines {
			return lines, len(all) - i
		}
		lines = append(lines, sourceLine{i + 1, visible(cutText(text, maxSourceBytes))})
	}
	return lines, 0
}
