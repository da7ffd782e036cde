package wire

import (
	"strings"
	"testing"
)

func TestKinds(t *testing.T) {
	names := map[string]Kind{
		"authorization": KindAuthorization, "baggage": KindBaggage, "content-type": KindContentType, "cookie": KindCookie,
		"expect": KindExpect, "forwarded": KindForwarded, "host": KindHost, "set-cookie": KindSetCookie,
		"traceparent": KindTraceparent, "tracestate": KindTracestate, "user-agent": KindUserAgent,
		"x-forwarded-for": KindXForwardedFor, "x-forwarded-host": KindXForwardedHost, "x-forwarded-port": KindXForwardedPort,
		"x-forwarded-proto": KindXForwardedProto, "x-real-ip": KindXRealIP, "content-length": KindContentLength,
		"connection": KindConnection, "keep-alive": KindKeepAlive, "proxy-authenticate": KindProxyAuthenticate,
		"proxy-authorization": KindProxyAuthorization, "proxy-connection": KindProxyConnection, "te": KindTE,
		"trailer": KindTrailer, "transfer-encoding": KindTransferEncoding, "upgrade": KindUpgrade,
	}
	seen := map[Kind]bool{}
	for name, want := range names {
		for _, n := range []string{name, strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:]} {
			if got := KindOf([]byte(n)); got != want {
				t.Errorf("KindOf(%q) = %d, want %d", n, got, want)
			}
		}
		seen[want] = true
		// any one letter changed, and the name is another
		for i := range name {
			other := []byte(name)
			other[i] = 'q'
			if got := KindOf(other); got != KindOther {
				t.Errorf("KindOf(%q) = %d, want none", other, got)
			}
		}
		if got := KindOf([]byte(name + "s")); got != KindOther {
			t.Errorf("KindOf(%ss) = %d, want none", name, got)
		}
	}
	for k := KindOther + 1; k < KindNamed; k++ {
		if !seen[k] {
			t.Errorf("kind %d has no name here", k)
		}
	}
	for k := KindOther; k <= KindNamed; k++ {
		hop := k == KindNamed || k >= KindConnection && k <= KindUpgrade
		if k.HopByHop() != hop || k.Framing() != (hop || k == KindContentLength) {
			t.Errorf("kind %d: HopByHop %v, Framing %v", k, k.HopByHop(), k.Framing())
		}
	}
	if got := KindOf(nil); got != KindOther {
		t.Errorf("KindOf(nil) = %d", got)
	}
}
