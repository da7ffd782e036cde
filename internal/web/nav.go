package web

import (
	"net/http"
	"net/url"
)

// tab is one entry of the navigation.
type tab struct {
	Name string // that a page gives as its Tab
	Href string
	Text string
	Key  string // goes there after g; "" is none
	Line string // of the command line that tells as much; "" is none
}

// tabs are the pages that everybody finds in the navigation, in its order.
func tabs() []tab {
	return []tab{
		{Name: "board", Href: "/", Text: "Board", Key: "b", Line: "slipway status"},
		{Name: "changes", Href: "/changes", Text: "Changes", Key: "c", Line: "slipway history"},
		{Name: "services", Href: "/services", Text: "Services", Key: "s"},
		{Name: "environments", Href: "/environments", Text: "Environments", Key: "e"},
		{Name: "graph", Href: "/graph", Text: "Graph", Key: "g"},
		{Name: "numbers", Href: "/numbers", Text: "Metrics", Key: "m"},
		{Name: "settings", Href: "/settings", Text: "Settings", Key: "t", Line: "slipway config explain"},
	}
}

// nav returns the tabs whose pages are there.
func (w *Web) nav() []tab {
	var out []tab
	for _, t := range tabs() {
		if _, pattern := w.mux.Handler(&http.Request{Method: http.MethodGet, URL: &url.URL{Path: t.Href}}); pattern != "" {
			out = append(out, t)
		}
	}
	return out
}
