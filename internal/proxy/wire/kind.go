package wire

// Kind is a field that somebody on the way must know. It spares comparing names
// again after the head was parsed.
type Kind uint8

// The kinds. Those from KindConnection on belong to one connection and are never
// passed on (RFC 9110, 7.6.1); KindContentLength is the one before them, so that
// a proxy which writes its own framing skips everything from there on.
const (
	KindOther Kind = iota
	KindAuthorization
	KindBaggage
	KindContentType
	KindCookie
	KindExpect
	KindForwarded
	KindHost
	KindSetCookie
	KindTraceparent
	KindTracestate
	KindUserAgent
	KindXForwardedFor
	KindXForwardedHost
	KindXForwardedPort
	KindXForwardedProto
	KindXRealIP
	KindContentLength
	KindConnection
	KindKeepAlive
	KindProxyAuthenticate
	KindProxyAuthorization
	KindProxyConnection
	KindTE
	KindTrailer
	KindTransferEncoding
	KindUpgrade
	KindNamed // by this message's Connection
)

// HopByHop says whether fields of this kind end at the next hop.
func (k Kind) HopByHop() bool { return k >= KindConnection }

// Framing says whether a proxy that frames the body itself leaves fields of this
// kind out: Content-Length, and what ends at the next hop.
func (k Kind) Framing() bool { return k >= KindContentLength }

// fixed says whether Connection cannot make a field of this kind end here.
func (k Kind) fixed() bool { return k == KindHost || k == KindContentLength || k == KindExpect }

// KindOf returns the kind of a field name in any case. The name must be a token.
func KindOf(name []byte) Kind {
	k, lower := candidate(name)
	if k != KindOther && !foldsTo(name, lower) {
		return KindOther
	}
	return k
}

// candidate returns the only kind that a name of this length and one of its
// letters can have, and that kind's name.
func candidate(name []byte) (Kind, string) {
	if len(name) == 0 {
		return KindOther, ""
	}
	first := name[0] | 0x20
	switch len(name) {
	case 2:
		return KindTE, "te"
	case 4:
		return KindHost, "host"
	case 6:
		if first == 'c' {
			return KindCookie, "cookie"
		}
		return KindExpect, "expect"
	case 7:
		switch first {
		case 'b':
			return KindBaggage, "baggage"
		case 't':
			return KindTrailer, "trailer"
		}
		return KindUpgrade, "upgrade"
	case 9:
		if first == 'x' {
			return KindXRealIP, "x-real-ip"
		}
		return KindForwarded, "forwarded"
	case 10:
		switch first {
		case 'c':
			return KindConnection, "connection"
		case 'k':
			return KindKeepAlive, "keep-alive"
		case 's':
			return KindSetCookie, "set-cookie"
		case 't':
			return KindTracestate, "tracestate"
		}
		return KindUserAgent, "user-agent"
	case 11:
		return KindTraceparent, "traceparent"
	case 12:
		return KindContentType, "content-type"
	case 13:
		return KindAuthorization, "authorization"
	case 14:
		return KindContentLength, "content-length"
	case 15:
		return KindXForwardedFor, "x-forwarded-for"
	case 16:
		switch name[12] | 0x20 {
		case 'h':
			return KindXForwardedHost, "x-forwarded-host"
		case 'p':
			return KindXForwardedPort, "x-forwarded-port"
		}
		return KindProxyConnection, "proxy-connection"
	case 17:
		if first == 'x' {
			return KindXForwardedProto, "x-forwarded-proto"
		}
		return KindTransferEncoding, "transfer-encoding"
	case 18:
		return KindProxyAuthenticate, "proxy-authenticate"
	case 19:
		return KindProxyAuthorization, "proxy-authorization"
	}
	return KindOther, ""
}

// foldsTo says whether a token of the same length is lower in another case. Among
// the characters of tokens only capital letters become letters by setting 0x20.
func foldsTo(token []byte, lower string) bool {
	for i, c := range token {
		if c|0x20 != lower[i] {
			return false
		}
	}
	return true
}

// Is says whether a token is lower, a lower-case name, in any case.
func Is(token []byte, lower string) bool {
	return len(token) == len(lower) && foldsTo(token, lower)
}
