package proxy

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Headers and the cookie by which callers are known.
const (
	keyHeader     = "Slipway-Key"     // sticky key; passed on, so that a service can hand it to those it calls
	previewHeader = "Slipway-Preview" // release id or version
	keyCookie     = "slipway_id"
	cookieAge     = 30 * 24 * time.Hour // longer than a rollout lasts
	maxKey        = 256                 // bytes of a key that count
)

// caller is who asks: the sticky key, and whether it was made for this request.
type caller struct {
	key   string
	fresh bool
}

// callerOf returns the sticky key of a request: the key header; on a public
// listener the cookie we set; else a fresh random one.
func callerOf(r *http.Request, edge bool) caller {
	if k := r.Header.Get(keyHeader); k != "" {
		return caller{key: k[:min(len(k), maxKey)]}
	}
	if !edge {
		if c, err := r.Cookie(keyCookie); err == nil && wellFormed(c.Value) {
			return caller{key: c.Value}
		}
	}
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return caller{key: hex.EncodeToString(b[:]), fresh: true}
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
func remember(h http.Header, key string) {
	c := http.Cookie{Name: keyCookie, Value: key, Path: "/", MaxAge: int(cookieAge / time.Second), HttpOnly: true, SameSite: http.SameSiteLaxMode}
	h.Add("Set-Cookie", c.String())
}

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
