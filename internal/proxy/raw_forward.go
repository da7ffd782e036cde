package proxy

import (
	"github.com/slipway-cd/slipway/internal/proxy/mirror"
	"github.com/slipway-cd/slipway/internal/proxy/wire"
)

// ours says whether a field of a request is left out because the data plane
// writes it itself. What a caller says about forwarding is dropped on a public
// listener and continued on an edge, where a service calls.
func (c *rawConn) ours(f *wire.Field, edge bool) bool {
	switch f.Kind { //nolint:exhaustive // the others are the caller's
	case wire.KindXForwardedFor, wire.KindTraceparent, wire.KindBaggage:
		return true
	case wire.KindTracestate:
		return !c.x.trace.KeepsState()
	case wire.KindForwarded, wire.KindXForwardedHost, wire.KindXForwardedProto, wire.KindXForwardedPort, wire.KindXRealIP:
		return !edge
	case wire.KindOther:
		switch len(f.Name) {
		case len(keyHeader):
			return sameName(f.Name, keyHeader)
		case len(cohortHeader): // as long as the mirror's mark
			return sameName(f.Name, cohortHeader) || !edge && sameName(f.Name, mirror.Header)
		}
	}
	return false
}

// appendForwarded writes for whom the request is.
func (c *rawConn) appendForwarded(b []byte, edge bool) []byte {
	b = append(b, "X-Forwarded-For: "...)
	if edge && c.req.Has(wire.KindXForwardedFor) {
		for i := range c.req.Fields {
			if f := &c.req.Fields[i]; f.Kind == wire.KindXForwardedFor {
				b = append(append(b, f.Value...), ", "...)
			}
		}
	}
	b = append(c.peer.AppendTo(b), "\r\n"...)
	if !edge || !c.req.Has(wire.KindXForwardedHost) {
		b = append(b, "X-Forwarded-Host: "...)
		b = append(append(b, c.req.Request.Host...), "\r\n"...)
	}
	if !edge || !c.req.Has(wire.KindXForwardedProto) {
		b = append(b, "X-Forwarded-Proto: http\r\n"...)
	}
	return b
}
