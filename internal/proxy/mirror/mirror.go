// Package mirror holds copies of requests until they are sent: which requests may
// be copied, how much of them is kept, and how many wait and are sent at a time.
// It sends nothing itself; its tests are properties, and senders that get stuck.
package mirror

import (
	"math/rand/v2"
	"net/http"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Header marks a copy. What carries it is never copied again.
const Header = "Slipway-Mirror"

// MaxBody is the longest body of a copy, in bytes, when a mirror does not say.
const MaxBody = 64 << 10

// Copyable says whether a method changes nothing on the server (RFC 9110,
// 9.2.1), so that its request may be carried out once more. TRACE, which is
// answered with the request itself, is not copied for anybody.
func Copyable(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// Never says that requests of a method are not copied, even if unsafe ones are:
// one opens a tunnel, the other tells of the way it came.
func Never(method string) bool { return method == http.MethodConnect || method == http.MethodTrace }

// Draw says whether a request is among share of all. It is drawn afresh for
// each, whoever calls: the copies are then like the requests they are made of,
// and no caller's requests are copied always or never.
func Draw(share delivery.Weight) bool {
	return share >= delivery.Full || share > 0 && rand.IntN(int(delivery.Full)) < int(share)
}
