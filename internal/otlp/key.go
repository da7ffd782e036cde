package otlp

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/workload"
)

// Sender is who a token names.
type Sender struct {
	Service, Env string
	Release      delivery.ReleaseID
	Instance     workload.ID
	Plane        bool // the data plane, whose spans say themselves whose they are; it sends no metrics
}

// planeID is what the data plane's token names; no instance is called so.
const planeID = "(data plane)"

// Keys makes and checks tokens. Whoever has one may speak for one instance and no
// other; it opens nothing else.
type Keys struct{ secret []byte }

// NewKeys returns the keys of a secret.
func NewKeys(secret []byte) Keys { return Keys{secret: secret} }

// Token is what an instance sends with everything it says.
func (k Keys) Token(id workload.ID) string { return string(id) + ":" + k.sign(string(id)) }

// Plane is the base URL at which the data plane is known to the receiver at addr.
// Its token stands where a password does, which nobody logs or dumps.
func (k Keys) Plane(addr string) string {
	return (&url.URL{Scheme: "http", User: url.UserPassword("slipway-proxy", k.sign(planeID)), Host: addr}).String()
}

// Vars is the environment by which an SDK finds the receiver at base and shows
// the instance's token.
func (k Keys) Vars(base string, id workload.ID) map[string]string {
	return map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": base,
		"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
		"OTEL_EXPORTER_OTLP_HEADERS":  "authorization=" + url.PathEscape("Bearer "+k.Token(id)),
		"OTEL_METRIC_EXPORT_INTERVAL": "5000", // milliseconds; the default of a minute is long for a canary
		"OTEL_LOGS_EXPORTER":          "none", // an instance's log is read from its output
	}
}

func (k Keys) sign(what string) string {
	mac := hmac.New(sha256.New, k.secret)
	mac.Write([]byte("otlp\n" + what))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// Who returns whom a token names.
func (k Keys) Who(token string) (Sender, bool) {
	if len(k.secret) == 0 {
		return Sender{}, false
	}
	if hmac.Equal([]byte(token), []byte(k.sign(planeID))) {
		return Sender{Plane: true}, true
	}
	id, mac, _ := strings.Cut(token, ":")
	part := strings.Split(id, ".")
	if len(part) != 4 || !hmac.Equal([]byte(mac), []byte(k.sign(id))) {
		return Sender{}, false
	}
	return Sender{Env: part[0], Service: part[1], Release: delivery.ReleaseID(part[2]), Instance: workload.ID(id)}, true
}
