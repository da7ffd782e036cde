package proxy

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/proxy/match"
)

// Headers and the cookie by which callers are known.
const (
	keyHeader     = "Slipway-Key"     // sticky key; passed on, so that a service can hand it to those it calls
	keyBaggage    = "slipway-key"     // the same in W3C Baggage, which many stacks hand on by themselves
	cohortHeader  = "Slipway-Cohort"  // of the release that was chosen for the caller
	cohortBaggage = "slipway-cohort"  // likewise
	previewHeader = "Slipway-Preview" // release id or version, and a signature
	keyCookie     = "slipway_id"
	cookieAge     = 30 * 24 * time.Hour // longer than a rollout lasts
	maxKey        = 256                 // bytes of a key that count
)

// caller is who asks: the sticky key, and how it was come by.
type caller struct {
	key   string
	fresh bool // made for this request, so nobody else will come with it
	keep  bool // fresh, and the caller is to keep it as a cookie
}

// callerOf returns the sticky key of a request: the key header or baggage that
// another service or a believed peer passed on; else what the route knows callers by; else the
// cookie we set; else a fresh random one.
func callerOf(a asked, edge, believed bool, by delivery.Sticky) caller {
	if k, there := a.Value(keyHeader, 0); believed && there && k != "" {
		return known(k)
	}
	if believed {
		if k, there := match.Baggage(a, keyBaggage); there && k != "" {
			return known(k)
		}
	}
	switch by.By {
	case delivery.ByHeader:
		if k, there := a.Value(by.Name, 0); there && k != "" {
			return hashed(k)
		}
	case delivery.ByIP:
		if ip := a.Peer(); ip.IsValid() {
			return caller{key: ip.String()}
		}
	case delivery.ByNobody:
		return caller{key: freshKey(), fresh: true}
	case delivery.ByCookie:
		if by.Name != "" {
			if k, there := match.Cookie(a, by.Name); there && k != "" {
				return hashed(k)
			}
		}
	}
	if edge {
		return caller{key: freshKey(), fresh: true}
	}
	if k, there := match.Cookie(a, keyCookie); there && wellFormed(k) {
		return caller{key: strings.Clone(k)}
	}
	return caller{key: freshKey(), fresh: true, keep: true}
}

// known copies a key out of the request, which may outlive it.
func known(key string) caller { return caller{key: strings.Clone(key[:min(len(key), maxKey)])} }

// hashed returns the key of a caller who is known by something of the
// application's own. That may be a secret, a session perhaps, and a key travels:
// services hand it on in baggage, to others too. It is hashed whole, however long.
func hashed(secret string) caller {
	sum := sha256.Sum256([]byte(secret))
	return caller{key: hex.EncodeToString(sum[:16])}
}

// freshKey returns 32 random hex digits. They need be unique, not secret: whoever
// knows a key knows which release its owner sees.
func freshKey() string {
	var b [16]byte
	binary.NativeEndian.PutUint64(b[:8], rand.Uint64())
	binary.NativeEndian.PutUint64(b[8:], rand.Uint64())
	return hex.EncodeToString(b[:])
}

// wellFormed accepts only what we set ourselves: 32 lower-case hex digits.
func wellFormed(key string) bool {
	if len(key) != 32 {
		return false
	}
	for i := range len(key) {
		if c := key[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// remember sets the sticky cookie on an answer.
func remember(h http.Header, key string) { h.Add("Set-Cookie", keyCookie+"="+key+cookieRest) }

// cookieRest is what follows the sticky cookie's value.
var cookieRest = "; Path=/; Max-Age=" + strconv.Itoa(int(cookieAge/time.Second)) + "; HttpOnly; SameSite=Lax"

// bucket places a sticky key within [0, delivery.Full): FNV-1a over salt, a zero
// byte and key, with the finisher of MurmurHash3 so that near keys fall far apart.
// It must never change: it is where every caller is while a rollout runs.
func bucket(salt, key string) int {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for i := range len(salt) {
		h = (h ^ uint64(salt[i])) * prime
	}
	h *= prime
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * prime
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return int((h >> 32) * uint64(delivery.Full) >> 32)
}
