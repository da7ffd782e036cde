package manifest

// How requests are carried, as it may be written in slipway.yaml. The words and
// their defaults are those of delivery.Traffic and delivery.DataPlane.

type trafficDoc struct {
	Match      []conditionDoc `json:"match,omitempty" jsonschema_description:"The public listener leads here only when all of these hold. Among services at one host and path, the one with the most is asked first."`
	Timeout    *duration      `json:"timeout,omitempty" jsonschema_description:"From the last piece of a request to the head of its answer, retries and queues included; bodies may stream longer. Default: 1m."`
	PerTry     *duration      `json:"per_try,omitempty" jsonschema_description:"The same of one attempt. Default: timeout."`
	Retries    *retriesDoc    `json:"retries,omitempty" jsonschema_description:"Attempts in all, or an object. A request is repeated only when no byte of an answer came and it may be carried out twice, or never reached an instance."`
	Sticky     *stickyDoc     `json:"sticky,omitempty" jsonschema_description:"What keeps a caller on one release while a rollout runs: cookie, ip, none, {header: NAME} or {cookie: NAME}. Who lacks what it asks for is known by our cookie. Default: cookie, one that the data plane sets."`
	Limits     *loadDoc       `json:"limits,omitempty" jsonschema_description:"What the instances of one release get at a time. Default: unbounded."`
	Rates      []rateDoc      `json:"rates,omitempty" jsonschema_description:"Requests a second; what is over one of them is answered 429."`
	Ejection   *ejectionDoc   `json:"ejection,omitempty" jsonschema_description:"Takes an instance out that keeps failing while its check passes."`
	SlowStart  *duration      `json:"slow_start,omitempty" jsonschema_description:"A fresh or recovered instance works up to its full part over this long. Default: 0s, at once."`
	Hold       *holdingDoc    `json:"hold,omitempty" jsonschema_description:"Keeps requests waiting while no release takes traffic, as between the two of a recreate. In one word: for. Default: 10s while a recreate is under way, else they are answered 503 at once."`
	StreamIdle *duration      `json:"stream_idle,omitempty" jsonschema_description:"A body or an upgraded connection on which nothing moves this long is cut. Default: 10m."`
	ErrorField *string        `json:"error_field,omitempty" jsonschema:"minLength=1,maxLength=200" jsonschema_description:"Field of JSON answers that says what failed, such as errors or status.error: a 2xx in which it is there and neither null, false, 0 nor empty counts as failed. Default: bodies are not looked at."`
	Targets    []targetDoc    `json:"targets,omitempty" jsonschema_description:"Requests that go to one release, whatever the rollout's step says: testers, tenants, the sides of an A/B test. The first that matches counts."`
	Mirror     *mirrorDoc     `json:"mirror,omitempty" jsonschema_description:"Sends a copy of some requests to one release and throws its answers away. In one word: share."`
}

type conditionDoc struct {
	Method  anyOf   `json:"method,omitempty" jsonschema_description:"The method is one of these."`
	Header  *string `json:"header,omitempty" jsonschema_description:"Name of a header."`
	Cookie  *string `json:"cookie,omitempty" jsonschema_description:"Name of a cookie."`
	Query   *string `json:"query,omitempty" jsonschema_description:"Name of a query parameter."`
	Baggage *string `json:"baggage,omitempty" jsonschema_description:"Name of a member of the W3C baggage header."`
	Is      anyOf   `json:"is,omitempty" jsonschema_description:"Its value is one of these. With none of is, prefix and pattern it only has to be there."`
	Prefix  *string `json:"prefix,omitempty" jsonschema_description:"Its value begins with this."`
	Pattern *string `json:"pattern,omitempty" jsonschema_description:"RE2 expression of its whole value."`
	Not     *bool   `json:"not,omitempty" jsonschema_description:"The contrary must be true."`
}

type retriesDoc struct {
	Attempts *int    `json:"attempts,omitempty" jsonschema:"minimum=1,maximum=10" jsonschema_description:"Attempts in all; 1 never repeats. Default: 3."`
	Budget   *weight `json:"budget,omitempty" jsonschema_description:"Retries as a share of the requests of one release within ten seconds, beyond the first ten. Default: 20%."`
}

type stickyDoc struct {
	Header *string `json:"header,omitempty" jsonschema_description:"Name of the header that names the caller."`
	Cookie *string `json:"cookie,omitempty" jsonschema_description:"Name of the application's cookie that names the caller."`

	by string // cookie, ip or none, in one word
}

type loadDoc struct {
	InFlight *int      `json:"in_flight,omitempty" jsonschema:"minimum=1,maximum=1000000" jsonschema_description:"Requests at one instance."`
	Queue    *int      `json:"queue,omitempty" jsonschema:"minimum=0,maximum=100000" jsonschema_description:"Requests of one release that wait for an instance. Default: 0, what is over in_flight is answered 503 at once."`
	Wait     *duration `json:"wait,omitempty" jsonschema_description:"Longest wait in the queue. Default: 1s."`
}

type rateDoc struct {
	Per    *string  `json:"per" jsonschema:"enum=route,enum=ip,enum=key,enum=header" jsonschema_description:"Whose requests are counted together: route, ip, key (the sticky key) or header."`
	Header *string  `json:"header,omitempty" jsonschema_description:"Name of the header, with per: header."`
	Rate   *float64 `json:"rate" jsonschema:"exclusiveMinimum=0,maximum=1000000" jsonschema_description:"Requests a second."`
	Burst  *int     `json:"burst,omitempty" jsonschema:"minimum=1,maximum=1000000" jsonschema_description:"Requests at once. Default: one second's worth, at least 1."`
}

type ejectionDoc struct {
	After   *int      `json:"after,omitempty" jsonschema:"minimum=1,maximum=1000" jsonschema_description:"Failures in a row. Default: 5."`
	Off     *bool     `json:"off,omitempty" jsonschema_description:"Never eject."`
	First   *duration `json:"first,omitempty" jsonschema_description:"First time out; it doubles each time. Default: 1s."`
	Longest *duration `json:"longest,omitempty" jsonschema_description:"Longest time out. Default: 30s."`
	Most    *weight   `json:"most,omitempty" jsonschema_description:"Share of a release's instances that may be out at once, never the last. Default: 50%."`
}

type holdingDoc struct {
	For *duration `json:"for" jsonschema_description:"Longest wait of a request."`
	Max *int      `json:"max,omitempty" jsonschema:"minimum=1,maximum=100000" jsonschema_description:"Requests that wait at a time. Default: 1000."`
}

type targetDoc struct {
	Name *string        `json:"name" jsonschema_description:"Its requests are counted under this name, and are no evidence for the judge."`
	When []conditionDoc `json:"when" jsonschema:"minItems=1" jsonschema_description:"All of these must hold."`
	To   *string        `json:"to,omitempty" jsonschema_description:"candidate (what a rollout brings in), stable or a version; idle while nothing is that. Default: candidate."`
}

type mirrorDoc struct {
	To      *string `json:"to,omitempty" jsonschema_description:"candidate (what a rollout brings in), stable or a version; idle while nothing is that. Default: candidate."`
	Share   *weight `json:"share" jsonschema_description:"Share of the requests that are copied."`
	Unsafe  *bool   `json:"unsafe,omitempty" jsonschema_description:"Copy POST and other methods that change things too."`
	MaxBody *size   `json:"max_body,omitempty" jsonschema_description:"A request with a longer body is not copied. Default: 64KiB."`
}

type dataPlaneDoc struct {
	AccessLog *string         `json:"access_log,omitempty" jsonschema:"enum=off,enum=sampled,enum=errors,enum=all" jsonschema_description:"Which requests are written down. Default: off."`
	LogShare  *weight         `json:"log_share,omitempty" jsonschema_description:"Share of the requests in a sampled log. Default: 1%."`
	OTLP      *string         `json:"otlp,omitempty" jsonschema_description:"Base URL that spans are sent to, such as http://127.0.0.1:4318. Default: none are sent."`
	OTLPShare *weight         `json:"otlp_share,omitempty" jsonschema_description:"Share of the traces begun here that are sampled. Default: 1%."`
	Trusted   []string        `json:"trusted,omitempty" jsonschema_description:"Address ranges of peers whose Forwarded and X-Forwarded headers are believed, such as 10.0.0.0/8."`
	Raw       *bool           `json:"raw,omitempty" jsonschema_description:"Carry plain HTTP/1.1 requests past net/http. Default: true."`
	Limits    *planeLimitsDoc `json:"limits,omitempty" jsonschema_description:"What the data plane takes on."`
}

type planeLimitsDoc struct {
	Connections *int      `json:"connections,omitempty" jsonschema:"minimum=1,maximum=1000000" jsonschema_description:"Open connections of one listener. Default: 20000, or what the limit of open files leaves."`
	InFlight    *int      `json:"in_flight,omitempty" jsonschema:"minimum=1,maximum=1000000" jsonschema_description:"Requests at a time. Default: 10000."`
	HeadBytes   *size     `json:"head_bytes,omitempty" jsonschema_description:"Size of a request's head. Default: 64KiB."`
	HeadTime    *duration `json:"head_time,omitempty" jsonschema_description:"Time to send a head. Default: 10s."`
	Idle        *duration `json:"idle,omitempty" jsonschema_description:"Time between two requests of a connection. Default: 2m."`
	Streams     *duration `json:"streams,omitempty" jsonschema_description:"A stream still open this long after the data plane began to end is cut. Default: 10s."`
}

type tlsDoc struct {
	Cert *string  `json:"cert,omitempty" jsonschema_description:"PEM file of the certificate and its chain, relative to this file. It is read again when it changes."`
	Key  *string  `json:"key,omitempty" jsonschema_description:"PEM file of the key, relative to this file."`
	ACME *acmeDoc `json:"acme,omitempty" jsonschema_description:"Get certificates from an authority (RFC 8555), and renew them."`
}

type acmeDoc struct {
	Domains   []string `json:"domains" jsonschema:"minItems=1" jsonschema_description:"Names to get certificates for."`
	Email     *string  `json:"email,omitempty" jsonschema_description:"Address that the authority may write to."`
	Directory *string  `json:"directory,omitempty" jsonschema_description:"URL of the authority's directory. Default: Let's Encrypt."`
	Roots     *string  `json:"roots,omitempty" jsonschema_description:"PEM file with the roots of a private authority, relative to this file."`
}
