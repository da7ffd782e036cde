package proxy

import (
	"net/http"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// roundTrip sends req to the endpoint and returns its answer's head. It is the
// one place that knows the HTTP client; an error that is a *dialError means that
// no byte was sent. The context of req ends the exchange, body included.
func roundTrip(p *endpoint, req *http.Request) (*http.Response, error) {
	if p.protocol == delivery.H2C && req.Header["Upgrade"] != nil {
		req.Header = req.Header.Clone() // another attempt may go elsewhere
		delete(req.Header, "Upgrade")   // HTTP/2 has none, and whoever gets one may ignore it (RFC 9110, 7.8)
		delete(req.Header, "Connection")
	}
	return p.client.RoundTrip(req)
}
