package delivery

import "time"

// Traffic is how requests to a service are carried, beyond the split between
// its releases. The zero value is what most services want.
type Traffic struct {
	Match      []Condition   `json:"match,omitempty"`       // the public listener leads here only when all of them hold
	Timeout    time.Duration `json:"timeout,omitempty"`     // from the last piece of the request to the head of the answer, retries and queues included; 0 means 60 s. Bodies may stream longer
	PerTry     time.Duration `json:"per_try,omitempty"`     // of one attempt, likewise; 0 means Timeout
	Retries    Retries       `json:"retries,omitzero"`      //
	Sticky     Sticky        `json:"sticky,omitzero"`       //
	Limits     TrafficLimits `json:"limits,omitzero"`       //
	Rates      []Rate        `json:"rates,omitempty"`       // a request needs the leave of each
	Ejection   Ejection      `json:"ejection,omitzero"`     //
	SlowStart  time.Duration `json:"slow_start,omitempty"`  // a fresh or recovered instance works up to its full part over this long; 0 is at once
	Hold       Holding       `json:"hold,omitzero"`         //
	ErrorField string        `json:"error_field,omitempty"` // of JSON answers: a 2xx in whose body it is there and neither null, false, 0, "" nor empty counts as failed: "errors", "status.error"
	Idle       time.Duration `json:"stream_idle,omitempty"` // a body, or an upgraded connection, on which nothing moves this long is cut; 0 means 10 min
}

// ConditionOn names what of a request a condition looks at.
type ConditionOn string

// What a condition can look at.
const (
	OnMethod  ConditionOn = "method"
	OnHeader  ConditionOn = "header"
	OnCookie  ConditionOn = "cookie"
	OnQuery   ConditionOn = "query"
	OnBaggage ConditionOn = "baggage" // a member of the W3C baggage header
)

// Condition is one thing that must be true of a request. With none of Is,
// Prefix and Pattern it asks that the thing is there at all; at most one is set.
type Condition struct {
	On      ConditionOn `json:"on"`
	Name    string      `json:"name,omitempty"`    // of the header, cookie, query parameter or baggage member; none for a method
	Is      []string    `json:"is,omitempty"`      // any of these, exactly
	Prefix  string      `json:"prefix,omitempty"`  //
	Pattern string      `json:"pattern,omitempty"` // RE2, of the whole value
	Not     bool        `json:"not,omitempty"`     // the contrary must be true
}

// Retries bounds repeated attempts. A request is repeated only when no byte of
// an answer came and it may be carried out twice, or never reached an instance.
type Retries struct {
	Attempts int    `json:"attempts,omitempty"` // in all, 1 to 10; 0 means 3
	Budget   Weight `json:"budget,omitempty"`   // retries as a share of the requests that a release of the route got within ten seconds, beyond the first ten, not counting those of requests that never reached an instance; 0 means 20 %
}

// StickyBy says what a caller is known by.
type StickyBy string

// What a caller can be known by.
const (
	ByCookie StickyBy = "cookie" // the one we set, or the application's own when it is named
	ByHeader StickyBy = "header"
	ByIP     StickyBy = "ip"
	ByNobody StickyBy = "none" // every request is drawn afresh
)

// Sticky says what keeps a caller on one release while a rollout runs. The zero
// value is a cookie that the data plane sets. A caller who lacks what it asks
// for is known by that cookie.
type Sticky struct {
	By   StickyBy `json:"by,omitempty"`
	Name string   `json:"name,omitempty"` // of the header or cookie
}

// TrafficLimits bounds what one release's instances get at a time. What is over
// it waits, what cannot wait is shed with 503. Zero is unbounded.
type TrafficLimits struct {
	InFlight int           `json:"in_flight,omitempty"` // requests at one instance
	Queue    int           `json:"queue,omitempty"`     // requests of one release that wait for an instance; 0 sheds at once
	Wait     time.Duration `json:"wait,omitempty"`      // longest wait in the queue; 0 means 1 s
}

// RatePer says whose requests are counted together.
type RatePer string

// Whose requests a rate can count together.
const (
	PerRoute  RatePer = "route"
	PerIP     RatePer = "ip"     // of IPv6 the /64; not for calls between services, which all come from one
	PerKey    RatePer = "key"    // the sticky key; a caller who has none yet is known by its address
	PerHeader RatePer = "header" // all who lack it are one
)

// Rate bounds requests a second; what is over it is answered 429.
type Rate struct {
	Per   RatePer `json:"per"`
	Name  string  `json:"name,omitempty"`  // of the header
	Rate  float64 `json:"rate"`            // requests a second, above 0
	Burst int     `json:"burst,omitempty"` // at once; 0 means one second's worth, at least 1
}

// Ejection takes an instance out that keeps failing while its check passes: it
// takes no connection, breaks answers off, or is late by PerTry.
type Ejection struct {
	After   int           `json:"after,omitempty"`   // failures in a row; 0 means 5, -1 never ejects
	First   time.Duration `json:"first,omitempty"`   // doubles each time; 0 means 1 s
	Longest time.Duration `json:"longest,omitempty"` // 0 means 30 s
	Most    Weight        `json:"most,omitempty"`    // share of a release's instances that may be out at once, never the last; 0 means 50 %, rounded up
}

// Holding keeps requests waiting while no release takes traffic, as between the
// old and the new one of a recreate. Zero holds nothing: they are answered 503.
type Holding struct {
	For time.Duration `json:"for,omitempty"` // longest wait of a request
	Max int           `json:"max,omitempty"` // requests that wait at a time; 0 means 1,000
}

// Target sends the requests that match to one release, whatever the split says:
// testers, tenants, the two sides of an A/B test. They are counted apart, and
// are no evidence for the judge. The first target that matches counts.
type Target struct {
	Name string      `json:"name"`
	When []Condition `json:"when"` // all of them
	To   string      `json:"to"`   // TargetCandidate, TargetStable or a version; idle while nothing is that
}

// What a target or a mirror can be aimed at, beside a version.
const (
	TargetCandidate = "candidate" // the release that a rollout brings in
	TargetStable    = "stable"
)

// Mirror sends a copy of some requests to one release and throws its answers
// away. The caller never waits for it.
type Mirror struct {
	To      string `json:"to"`                 // as Target.To
	Share   Weight `json:"share"`              // of the requests
	Unsafe  bool   `json:"unsafe,omitempty"`   // copies POST and other methods that change things too
	MaxBody int64  `json:"max_body,omitempty"` // bytes; a request with a longer body is not copied; 0 means 64 KiB
}

// TLS is how a listener proves who it is. Either files or ACME.
type TLS struct {
	Cert string `json:"cert,omitempty"` // PEM file, read again when it changes
	Key  string `json:"key,omitempty"`  // PEM file
	ACME *ACME  `json:"acme,omitempty"`
}

// ACME gets certificates from a certificate authority (RFC 8555).
type ACME struct {
	Domains   []string `json:"domains"`
	Email     string   `json:"email,omitempty"`
	Directory string   `json:"directory,omitempty"` // URL; empty is Let's Encrypt
	Roots     string   `json:"roots,omitempty"`     // PEM file of the authority's own roots, when it is a private one
}

// AccessLog says which requests are written down.
type AccessLog string

// Which requests an access log can hold.
const (
	LogOff     AccessLog = "off"
	LogSampled AccessLog = "sampled"
	LogErrors  AccessLog = "errors" // 5xx, and what got no answer
	LogAll     AccessLog = "all"
)

// DataPlane is what one data plane does for all of its routes.
type DataPlane struct {
	AccessLog AccessLog   `json:"access_log,omitempty"` // "" is off
	LogShare  Weight      `json:"log_share,omitempty"`  // of a sampled log; 0 means 1 %
	OTLP      string      `json:"otlp,omitempty"`       // base URL spans are sent to over HTTP, "http://127.0.0.1:4318"; empty sends none
	OTLPShare Weight      `json:"otlp_share,omitempty"` // of the traces begun here; 0 means 1 %. A caller's own decision is kept
	Trusted   []string    `json:"trusted,omitempty"`    // address ranges of peers whose Forwarded and X-Forwarded-* are believed: "10.0.0.0/8"
	FullOnly  bool        `json:"full_only,omitempty"`  // every connection is served by net/http, none by the raw path
	Limits    PlaneLimits `json:"limits,omitzero"`      //
}

// PlaneLimits bounds what one data plane takes on. Zero means the default.
type PlaneLimits struct {
	Connections int           `json:"connections,omitempty"` // open at a time, of one listener; 0 means 20,000, or what the open-files limit leaves
	InFlight    int           `json:"in_flight,omitempty"`   // requests at a time; 0 means 10,000
	HeadBytes   int           `json:"head_bytes,omitempty"`  // of a request; 0 means 64 KiB
	HeadTime    time.Duration `json:"head_time,omitempty"`   // to send a head; 0 means 10 s
	Idle        time.Duration `json:"idle,omitempty"`        // between two requests; 0 means 2 min
	Streams     time.Duration `json:"streams,omitempty"`     // an upgraded connection or stream still open this long after the data plane began to end is cut; 0 means 10 s
}
