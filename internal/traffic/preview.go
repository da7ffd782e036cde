package traffic

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"time"
)

// SignPreview returns the value of a preview header that asks route for want, a
// release id or version, until then: "WANT;until=UNIX;sig=BASE64URL", where sig
// is HMAC-SHA256 over route, want and until with line feeds between them.
func SignPreview(key []byte, route, want string, until time.Time) string {
	at := strconv.FormatInt(until.Unix(), 10)
	return want + ";until=" + at + ";sig=" + base64.RawURLEncoding.EncodeToString(previewSum(key, route, want, at))
}

// CheckPreview returns what a signed preview header asks of route, and false
// when its signature is missing or wrong, or now is past its time.
func CheckPreview(key []byte, route, header string, now time.Time) (want string, ok bool) {
	want, rest, signed := strings.Cut(header, ";until=")
	at, sig, whole := strings.Cut(rest, ";sig=")
	if !signed || !whole {
		return "", false
	}
	until, err := strconv.ParseInt(at, 10, 64)
	if err != nil || now.Unix() > until {
		return "", false
	}
	sum, err := base64.RawURLEncoding.DecodeString(sig)
	if err != nil || !hmac.Equal(sum, previewSum(key, route, want, at)) {
		return "", false
	}
	return want, true
}

func previewSum(key []byte, route, want, until string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(route + "\n" + want + "\n" + until))
	return m.Sum(nil)
}
