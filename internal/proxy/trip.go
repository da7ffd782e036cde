package proxy

import "net/http"

// roundTrip sends req to the endpoint and returns its answer's head. It is the
// one place that knows the HTTP client; an error that is a *dialError means that
// no byte was sent. The context of req ends the exchange, body included.
func roundTrip(p *endpoint, req *http.Request) (*http.Response, error) {
	return p.client.RoundTrip(req)
}
