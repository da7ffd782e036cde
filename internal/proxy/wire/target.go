package wire

import "net/netip"

// form takes a target apart; path is the target up to the query.
func (r *Request) form(path []byte) error {
	switch {
	case string(r.Method) == "CONNECT":
		return r.authority(path)
	case len(path) > 0 && path[0] == '/':
		return r.setPath(path)
	case string(r.Target) == "*":
		if string(r.Method) != "OPTIONS" {
			return refuse(badRequest, whyAsterisk)
		}
		r.Path = path
		r.Unusual |= AsteriskForm
		return nil
	}
	rest, ok := cutScheme(path)
	if !ok {
		return refuse(badRequest, whyForm)
	}
	end := 0
	for end < len(rest) && rest[end] != '/' {
		end++
	}
	r.Host = rest[:end:end]
	if end == 0 || !validHost(r.Host) {
		return refuse(badRequest, whyHost)
	}
	r.Unusual |= AbsoluteForm
	if end == len(rest) {
		r.Path = []byte("/")
		return nil
	}
	return r.setPath(rest[end:])
}

// authority takes the target of CONNECT: a host and a port, nothing else.
func (r *Request) authority(path []byte) error {
	if r.Query != nil || !validHost(path) || len(path) < 2 || path[len(path)-1] == ':' {
		return refuse(badRequest, whyAuthority)
	}
	for i := len(path) - 1; path[i] != ':'; i-- {
		if i == 1 || path[i] < '0' || path[i] > '9' {
			return refuse(badRequest, whyAuthority)
		}
	}
	r.Host = path
	r.Unusual |= AuthorityForm
	return nil
}

// setPath checks the escapes of a path.
func (r *Request) setPath(path []byte) error {
	for i, c := range path {
		if c != '%' {
			continue
		}
		r.Escaped = true
		if i+2 >= len(path) || class[path[i+1]]&class[path[i+2]]&isHex == 0 {
			return refuse(badRequest, whyEscape)
		}
	}
	r.Path = path
	return nil
}

// AppendPath appends the path with its escapes resolved, as routes are matched.
func (r *Request) AppendPath(b []byte) []byte {
	for i := 0; i < len(r.Path); i++ {
		c := r.Path[i]
		if c == '%' && i+2 < len(r.Path) {
			c = unhex(r.Path[i+1])<<4 | unhex(r.Path[i+2])
			i += 2
		}
		b = append(b, c)
	}
	return b
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// cutScheme removes "http://" or "https://" in any case.
func cutScheme(uri []byte) ([]byte, bool) {
	for _, scheme := range [...]string{"http://", "https://"} {
		if len(uri) < len(scheme) {
			continue
		}
		same := true
		for i := range len(scheme) {
			same = same && lower(uri[i]) == scheme[i]
		}
		if same {
			return uri[len(scheme):], true
		}
	}
	return nil, false
}

// ValidHost says whether host is empty, a name or an address, each with an
// optional port, as Request.Parse asks it of Host.
func ValidHost(host string) bool { return validHost(host) }

// validHost says whether b is empty, a name or IPv4 address, or an IPv6 address
// in brackets, each with an optional port. Stricter than RFC 3986: no escapes, no
// zones, no future address formats.
func validHost[text []byte | string](b text) bool {
	if len(b) == 0 {
		return true
	}
	at := 0
	if b[0] == '[' {
		for at < len(b) && b[at] != ']' {
			at++
		}
		if at == len(b) {
			return false
		}
		ip, err := netip.ParseAddr(string(b[1:at]))
		if err != nil || !ip.Is6() || ip.Zone() != "" {
			return false
		}
		at++
	}
	for at < len(b) && class[b[at]]&isHost != 0 && b[0] != '[' {
		at++
	}
	if at == len(b) {
		return true
	}
	if at == 0 || b[at] != ':' || len(b)-at > 6 {
		return false
	}
	for at++; at < len(b); at++ {
		if b[at] < '0' || b[at] > '9' {
			return false
		}
	}
	return true
}
