package proxy

import (
	"net/http"
	"strings"

	"github.com/slipway-cd/slipway/internal/proxy/wire"
)

// misframed says why a request of HTTP/2 may not go on, if it may not. net/http
// lets pass what HTTP/1.1 behind us would read in another way: a method with
// spaces in it is a request line, a Content-Length without that much of a body
// takes the next request for it, and two hosts are two opinions (RFC 9113, 8.1.1,
// 8.3.1 and 10.3). One that may go on has its host in one place.
func misframed(r *http.Request) *wire.Error {
	switch {
	case !wire.IsToken(r.Method):
		return badFrame("the method has a character that is no token's")
	case !wire.ValidHost(r.Host):
		return badFrame("the authority is not a name or an address with an optional port")
	case r.Method != http.MethodConnect && !strings.HasPrefix(r.RequestURI, "/") && (r.Method != http.MethodOptions || r.RequestURI != "*"):
		return badFrame("the path does not begin with a slash")
	case !sameLength(r):
		return badFrame("Content-Length is not the length of the body")
	}
	for _, host := range r.Header["Host"] {
		if !strings.EqualFold(host, r.Host) {
			return badFrame("Host is not the authority")
		}
	}
	delete(r.Header, "Host")
	return nil
}

// sameLength says whether Content-Length is what net/http took the body's length
// for. It takes 0 for the length of a body whose stream has ended already,
// whatever was said, and for one that is no number.
func sameLength(r *http.Request) bool {
	said := r.Header["Content-Length"]
	if len(said) == 0 {
		return true
	}
	n, ok := wire.Length(said[0])
	return ok && len(said) == 1 && n == r.ContentLength
}

func badFrame(why string) *wire.Error {
	return &wire.Error{Status: http.StatusBadRequest, Reason: why}
}
