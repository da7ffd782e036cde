package wire

// Classes of characters.
const (
	isToken  = 1 << iota // RFC 9110, 5.6.2
	isTarget             // visible ASCII but '#': browsers send more of it raw than RFC 3986 allows
	isHost               // RFC 3986 reg-name without '%', which no host needs
	isHex
)

// class is computed once by the compiler's initialiser and never changes.
var class = func() (t [256]uint8) {
	for c := '!'; c <= '~'; c++ {
		if c != '#' {
			t[c] |= isTarget
		}
	}
	for c := '0'; c <= '9'; c++ {
		t[c] |= isToken | isHost | isHex
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c] |= isToken | isHost
		t[c-0x20] |= isToken | isHost
	}
	for c := 'a'; c <= 'f'; c++ {
		t[c] |= isHex
		t[c-0x20] |= isHex
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] |= isToken
	}
	for _, c := range "-._~!$&'()*+,;=" {
		t[c] |= isHost
	}
	return t
}()

// IsToken says whether s is a token, as a method is (RFC 9110, 5.6.2).
func IsToken(s string) bool {
	for i := range len(s) {
		if class[s[i]]&isToken == 0 {
			return false
		}
	}
	return s != ""
}
