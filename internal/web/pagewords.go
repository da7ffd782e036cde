package web

import (
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// linkTable is the neighbours of one direction.
type linkTable struct {
	Title string
	Links []serviceLink
	None  string // what is said of no neighbour
}

// linksOfWay is a table of neighbours, for templates.
func linksOfWay(title string, links []serviceLink, none string) linkTable {
	return linkTable{Title: title, Links: links, None: none}
}

// gateSign is the sign of a gate.
func gateSign(g delivery.GateWord) sign {
	switch g {
	case delivery.GatePass:
		return sign{signGood.Icon, "pass", signGood.Class}
	case delivery.GateWaits:
		return sign{signRunning.Icon, "waits", signRunning.Class}
	case delivery.GateBlocked:
		return signBlocked
	}
	return sign{signUnknown.Icon, string(g), signUnknown.Class}
}

// isNoProject says whether there is no project yet.
func isNoProject(err error) bool {
	no := refusalOf(err)
	return no != nil && no.Code == delivery.CodeNoProject
}

// isCommand says whether what comes next is a command line, and nothing beside it.
func isCommand(next string) bool {
	return strings.HasPrefix(next, "slipway ") && !strings.ContainsAny(next, ",;:")
}

// plural says how many of a thing there are: "1 service", "1,930 requests".
func plural(n int, thing string) string { return delivery.Plural(n, thing) }

// grouped writes a number with a comma between thousands.
func grouped(n int) string { return delivery.Grouped(n) }
