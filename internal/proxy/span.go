package proxy

import (
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/otlp"
	"github.com/slipway-cd/slipway/internal/proxy/redact"
	"github.com/slipway-cd/slipway/internal/proxy/trace"
)

// try is one attempt that failed, for the spans of a sampled request.
type try struct {
	at         *endpoint
	began, end time.Time
	how        outcome
}

// traced says whether spans of the request are wanted.
func (x *passage) traced() bool { return x.trace.Sampled && x.e.spans.On() }

// export hands the spans of the request over: one of the kind server, and below
// it, when there was more than one, one of the kind client for each attempt.
// Names and attributes follow OpenTelemetry's semantic conventions for HTTP.
// own is what the last attempt came to.
func (x *passage) export(n ended, own failure, c class, now time.Time) {
	s := &otlp.Span{
		Trace: x.trace.Trace, ID: x.trace.Span, Parent: x.trace.Parent, Remote: true,
		Kind: otlp.Server, Start: x.began, End: now, Failed: c.bad(),
	}
	method := methodOf(x.asked.Method())
	s.Name = nameOf(method) + " " + x.route.spec.Name
	a := attrs{{Key: "http.request.method", Text: method}}
	if method == otherMethod {
		a.text("http.request.method_original", strings.Clone(redact.Text(x.asked.Method())))
	}
	host, port := hostAndPort(redact.Host(x.asked.Host()))
	a.text("url.scheme", x.asked.Scheme())
	a.text("url.path", strings.Clone(redact.Text(x.asked.Path())))
	a.text("server.address", strings.Clone(host))
	a.number("server.port", port)
	if peer := x.asked.Peer(); peer.IsValid() {
		a.text("client.address", peer.String())
	}
	if agent, there := x.asked.Value("User-Agent", 0); there {
		a.text("user_agent.original", strings.Clone(redact.Text(agent)))
	}
	a.text("network.protocol.version", versionOf(x.asked.Proto()))
	a.number("http.response.status_code", n.status)
	if c != classOK && c != classClient { // a caller's own mistake is none of a server's
		a.text("error.type", errorType(c, n.status))
	}
	a.text("slipway.route", x.route.spec.Name)
	a.text("slipway.service", x.route.spec.Service)
	a.text("slipway.env", x.route.spec.Env)
	a.text("slipway.release", string(x.pool.spec.Release))
	a.text("slipway.version", x.pool.spec.Version)
	a.text("slipway.caller", x.account)
	a.text("slipway.outcome", c.String())
	if x.last != nil {
		a.text("slipway.upstream", x.last.addr)
	}
	s.Attrs = a
	x.e.spans.Add(s)
	if len(x.tries) == 0 || x.asks == 1 {
		return
	}
	for i, t := range x.tries {
		x.e.spans.Add(x.attempt(i, t, 0))
	}
	if x.asks > len(x.tries) {
		x.e.spans.Add(x.attempt(len(x.tries), try{at: x.last, began: x.since, end: now, how: own.how}, n.status))
	}
}

// attempt is the span of the i-th attempt, from 0.
func (x *passage) attempt(i int, t try, status int) *otlp.Span {
	c := classOf(t.how, status)
	method := methodOf(x.asked.Method())
	a := attrs{{Key: "http.request.method", Text: method}}
	host, port := hostAndPort(t.at.addr)
	a.text("server.address", host)
	a.number("server.port", port)
	a.text("network.peer.address", host)
	a.number("network.peer.port", port)
	a.number("http.request.resend_count", i)
	a.number("http.response.status_code", status)
	if c != classOK {
		a.text("error.type", errorType(c, status))
	}
	a.text("slipway.release", string(t.at.release))
	a.text("slipway.instance", t.at.id)
	return &otlp.Span{
		Trace: x.trace.Trace, ID: trace.NewSpan(), Parent: x.trace.Span,
		Name: nameOf(method), Kind: otlp.Client, Start: t.began, End: t.end, Attrs: a,
		Failed: c != classOK,
	}
}

// attrs are attributes; what is empty is left out.
type attrs []otlp.Attr

func (a *attrs) text(key, value string) {
	if value != "" {
		*a = append(*a, otlp.Attr{Key: key, Text: value})
	}
}

func (a *attrs) number(key string, n int) {
	if n != 0 {
		*a = append(*a, otlp.Attr{Key: key, Number: int64(n)})
	}
}

// otherMethod stands for methods that are not known, so that they are few.
const otherMethod = "_OTHER"

func methodOf(m string) string {
	switch m {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY":
		return strings.Clone(m)
	}
	return otherMethod
}

// nameOf is the method in a span's name.
func nameOf(method string) string {
	if method == otherMethod {
		return "HTTP"
	}
	return method
}

// errorType names what went wrong: the status, or why there was none.
func errorType(c class, status int) string {
	if c == classServer || c == classClient {
		return strconv.Itoa(status)
	}
	return c.String()
}

// versionOf is the version in a request's protocol, as the conventions write it.
func versionOf(proto string) string {
	switch proto {
	case "HTTP/2.0":
		return "2"
	case "HTTP/3.0":
		return "3"
	}
	return strings.TrimPrefix(proto, "HTTP/")
}

func hostAndPort(hostport string) (host string, port int) {
	host, p, err := net.SplitHostPort(hostport)
	if err != nil {
		return hostport, 0
	}
	port, _ = strconv.Atoi(p)
	return host, port
}
