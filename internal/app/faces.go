package app

import (
	"net/http"
	"strings"

	"github.com/slipway-cd/slipway/internal/server"
	"github.com/slipway-cd/slipway/internal/web"
)

// faces is all that one address answers with: the API, what Prometheus reads, and
// the pages for everything else.
type faces struct {
	api   *server.Server
	pages *web.Web
}

func (f faces) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/api/") || r.URL.Path == "/metrics" || strings.HasPrefix(r.URL.Path, "/metrics/") {
		f.api.ServeHTTP(w, r)
		return
	}
	f.pages.ServeHTTP(w, r)
}

// HangUp ends the streams of both.
func (f faces) HangUp() {
	f.api.HangUp()
	f.pages.HangUp()
}
