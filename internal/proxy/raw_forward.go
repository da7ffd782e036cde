package proxy

import (
	"github.com/slipway-cd/slipway/internal/proxy/mirror"
	"github.com/slipway-cd/slipway/internal/proxy/wire"
)

// ours says whether a field of a request is left out because the data plane
// writes it itself, or because it is not believed.
func (c *rawConn) ours(f *wire.Field) bool {
	switch f.Kind { //nolint:exhaustive // the others are the caller's
	case wire.KindForwarded, wire.KindXForwardedFor, wire.KindXForwardedHost, wire.KindXForwardedProto, wire.KindTraceparent, wire.KindBaggage:
		return true
	case wire.KindTracestate:
		return !c.x.trace.KeepsState()
	case wire.KindXForwardedPort, wire.KindXRealIP:
		return !c.x.believed
	case wire.KindOther:
		switch len(f.Name) {
		case len(keyHeader):
			return sameName(f.Name, keyHeader)
		case len(cohortHeader): // as long as the mirror's mark
			return sameName(f.Name, cohortHeader) || !c.x.believed && sameName(f.Name, mirror.Header)
		}
	}
	return false
}
