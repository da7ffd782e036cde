// Package traffic is the port to whatever moves requests: the table that a data
// plane takes in whole, what it acknowledges, and the counts it gives back.
// Callers use Router, which holds the rules every engine shares; engines
// implement Driver and are judged by traffictest.
package traffic

import (
	"context"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Table is all that a data plane routes by. It is immutable once applied.
type Table struct {
	Generation int64              `json:"generation"`
	Listeners  []Listener         `json:"listeners"`
	Routes     []Route            `json:"routes"`
	Plane      delivery.DataPlane `json:"plane,omitzero"`
	PreviewKey []byte             `json:"preview_key,omitempty"` // preview headers of public listeners must be signed with it; empty takes them unsigned
	Failures   bool               `json:"failures,omitempty"`    // Plane.OTLP is the control plane itself: of each failed request that becomes a Sample it gets a span, whether its trace is sampled or not
}

// Listener is one address the data plane accepts requests on. A public listener
// chooses among routes by host and path; one with Only set is an edge: every
// request on it goes to that route and is counted as coming from Caller.
type Listener struct {
	Name   string        `json:"name"` // "prod", or "prod/shop>cart" for an edge
	Addr   string        `json:"addr"` // host:port
	Env    string        `json:"env"`
	Caller string        `json:"caller,omitempty"` // service that calls through this edge
	Only   string        `json:"only,omitempty"`   // Route.Name
	TLS    *delivery.TLS `json:"tls,omitempty"`
}

// Route is one service's traffic in one environment. A public listener of the
// environment leads to it at each pair of Hosts and Paths, and at Own.
type Route struct {
	Name    string             `json:"name"` // "prod/payment"
	Env     string             `json:"env"`
	Service string             `json:"service"`
	Gen     int64              `json:"generation"`    // of the split, as delivery.Route.Gen
	Own     []string           `json:"own,omitempty"` // hosts at which every path is its, whatever Paths says
	Hosts   []string           `json:"hosts"`         // lower case, without port; exact, or "*.example.org" for every name below it; "" is any host; with Paths and no host: any
	Paths   []string           `json:"paths"`         // prefixes on the environment's listener, on path-segment borders; not stripped
	Salt    string             `json:"salt"`
	Pools   []Pool             `json:"pools"` // candidates first, stable last
	Preview delivery.ReleaseID `json:"preview,omitempty"`
	Targets []Target           `json:"targets,omitempty"` // before the split; the first that matches
	Mirror  *Mirror            `json:"mirror,omitempty"`
	Paused  bool               `json:"paused,omitempty"` // requests are held, as Traffic.Hold allows, though pools have weight
	Arms    []string           `json:"arms,omitempty"`   // names of routes that are rolled out and that this one's service calls: its requests are counted by their draw too

	delivery.Traffic
}

// Target is delivery.Target, aimed.
type Target struct {
	Name    string               `json:"name"`
	When    []delivery.Condition `json:"when"`
	Release delivery.ReleaseID   `json:"release"` // of a pool of the route
}

// Mirror is delivery.Mirror, aimed. Never copied are requests of methods that may
// change something (RFC 9110, 9.2.1), unless Unsafe is set; tunnels, upgrades and
// TRACE; what waits for "100 Continue" or announces trailers; copies; requests
// for a preview; and those that go to Release anyway. A copy that was drawn and
// found no room, or whose body was too long or broken off, is Block.Dropped.
type Mirror struct {
	Release delivery.ReleaseID `json:"release"` // of a pool of the route
	Share   delivery.Weight    `json:"share"`
	Unsafe  bool               `json:"unsafe,omitempty"`
	MaxBody int64              `json:"max_body,omitempty"`
}

// Pool is the instances of one release behind a route.
type Pool struct {
	Release   delivery.ReleaseID `json:"release"`
	Version   string             `json:"version"`
	Weight    delivery.Weight    `json:"weight"`
	Cohort    string             `json:"cohort,omitempty"`   // requests carried here tell it to those they call, and a caller's own leads it here
	Protocol  delivery.Protocol  `json:"protocol,omitempty"` // the instances'
	Endpoints []Endpoint         `json:"endpoints"`
	Check     Check              `json:"check"`
	Drain     time.Duration      `json:"drain,omitempty"` // a request still on an endpoint this long after it left the table is cut; 0 never cuts
}

// Endpoint is one instance that takes requests.
type Endpoint struct {
	ID   string `json:"id"`   // workload ID
	Addr string `json:"addr"` // host:port
}

// Check is the active health check of a pool's endpoints. It never stops. An
// empty Check opens a TCP connection. Zero fields mean every second, one second
// to answer, 2 good checks to rise and 3 bad ones to fall.
type Check struct {
	HTTP     string        `json:"http,omitempty"` // path; any 2xx is healthy
	GRPC     *string       `json:"grpc,omitempty"` // service name for grpc.health.v1.Health/Check, "" for the whole server
	Interval time.Duration `json:"interval"`
	Timeout  time.Duration `json:"timeout"`
	Rise     int           `json:"rise"`
	Fall     int           `json:"fall"`
}

// State is what a data plane acknowledges and sees.
type State struct {
	Generation int64           `json:"generation"` // of the table in force
	Routes     []RouteState    `json:"routes"`
	Draining   []EndpointState `json:"draining"`         // left the table, still answers requests
	Listeners  []ListenerState `json:"listeners"`        // every listener of the table
	Faults     []FaultState    `json:"faults,omitempty"` // in force now
	Started    time.Time       `json:"started"`          // of the data-plane process
	PID        int             `json:"pid"`
	Version    string          `json:"version"`

	Predecessor int `json:"predecessor,omitempty"` // pid of the process that served before this one, while it has requests to finish; they are in InFlight and Draining
}

// RouteState is one route as it is in force.
type RouteState struct {
	Name    string             `json:"name"`
	Gen     int64              `json:"generation"`
	Split   []delivery.Share   `json:"split"`
	Preview delivery.ReleaseID `json:"preview,omitempty"`
	Held    int                `json:"held,omitempty"` // requests that wait for a release to serve them
	Pools   []PoolState        `json:"pools"`

	Troubled  int    `json:"troubled,omitempty"`  // callers that are remembered for Block.Again, while two releases have weight
	Forgotten uint64 `json:"forgotten,omitempty"` // of those, that there was no room for: they count as new ones each time
}

// PoolState is one pool as it is in force.
type PoolState struct {
	Release   delivery.ReleaseID `json:"release"`
	Healthy   int                `json:"healthy"`           // endpoints that pass their check and are not ejected
	Waiting   int                `json:"waiting,omitempty"` // requests in the queue for them
	Endpoints []EndpointState    `json:"endpoints"`
}

// EndpointState is one endpoint as the data plane sees it.
type EndpointState struct {
	ID       string `json:"id"`
	Addr     string `json:"addr"`
	Healthy  bool   `json:"healthy"`
	InFlight int    `json:"in_flight"`
	Why      string `json:"why,omitempty"` // it is not healthy

	Drained *Drained `json:"drained,omitempty"` // taken out of rotation by a person
}

// ListenerState says whether a listener could be bound, and how full it is.
type ListenerState struct {
	Name      string    `json:"name"`
	Addr      string    `json:"addr"`
	Error     string    `json:"error,omitempty"`
	Open      int       `json:"open"`                // connections
	Most      int       `json:"most"`                // of them, that may be open
	Waited    uint64    `json:"waited,omitempty"`    // connections that had to wait for others to close
	Dismissed uint64    `json:"dismissed,omitempty"` // idle connections that were closed to make room
	TLS       *TLSState `json:"tls,omitempty"`

	Refused map[string]uint64 `json:"refused,omitempty"` // requests since State.Started that saw no release, by the code of the answer
}

// TLSState is what a listener proves with who it is.
type TLSState struct {
	Names    []string  `json:"names"`              // that it has a certificate for
	NotAfter time.Time `json:"not_after,omitzero"` // of the certificate that ends first
	Waiting  string    `json:"waiting,omitempty"`  // for what, while it cannot serve some name
	Error    string    `json:"error,omitempty"`    // why the newest certificate is not in use, or cannot be had
}

// Frame is one push of counts: every block that changed since the last frame.
// The first frame of a stream holds every block from Since on that is still kept.
type Frame struct {
	At     time.Time `json:"at"`
	Boot   string    `json:"boot"` // changes when the data plane restarts and its blocks are lost
	Blocks []Block   `json:"blocks"`
	Failed []Sample  `json:"failed,omitempty"` // failed requests, bounded
}

// Callers of requests that the split did not draw, and which are no evidence.
// TargetCaller is followed by the target's name and a closing bracket, and
// FaultCaller by the fault's ID likewise.
const (
	CohortCaller = "(cohort)" // sent where its caller's cohort is
	MirrorCaller = "(mirror)" // a copy, of which nobody sees the answer
	TargetCaller = "(target "
	ArmCaller    = "(arm "   // of requests to a caller of a service that is rolled out: counted once more, under the release that their key is drawn to there (Route.Arms)
	FaultCaller  = "(fault " // disturbed on purpose, whoever called: as its caller saw it end, and on the release that was chosen for it
)

// PreviewCaller is the Block.Caller of requests that asked for the preview
// release by header. They are not drawn by the split, so they are no evidence.
const PreviewCaller = "(preview)"

// Drawn says whether requests counted under caller were drawn by the split, and
// so are evidence.
func Drawn(caller string) bool { return !strings.HasPrefix(caller, "(") }

// Block counts the requests of one route, release and caller that arrived in
// one second. It is cumulative for that second and sent again when it grows.
type Block struct {
	Route      string             `json:"route"`
	Release    delivery.ReleaseID `json:"release"`
	Caller     string             `json:"caller,omitempty"`
	Second     int64              `json:"second"`     // Unix second of arrival
	Gen        int64              `json:"generation"` // Route.Gen of the first request
	Mixed      bool               `json:"mixed"`      // the split changed within this second
	Requests   uint64             `json:"requests"`
	Unfinished uint64             `json:"unfinished"`
	OK         uint64             `json:"ok"`        // 1xx to 3xx
	Client     uint64             `json:"client"`    // 4xx
	Server     uint64             `json:"server"`    // 5xx answered by the instance, or a 2xx whose body tells of a failure (Traffic.ErrorField)
	Connect    uint64             `json:"connect"`   // no connection to any instance
	Timeout    uint64             `json:"timeout"`   // no answer in time
	Broken     uint64             `json:"broken"`    // answer cut off, by the instance
	Cancelled  uint64             `json:"cancelled"` // the caller went away, or we had no means left to carry it
	Shed       uint64             `json:"shed"`      // no instance had room in time, as delivery.TrafficLimits asks
	Retries    uint64             `json:"retries"`
	Units      uint64             `json:"units"`             // distinct sticky keys
	UnitsBad   uint64             `json:"units_bad"`         // of them, those with a 5xx, connect, timeout, broken or shed
	UnitsOpen  uint64             `json:"units_open"`        // of them, those whose first request has no answer yet
	Bins       map[int]uint32     `json:"bins"`              // analysis.Bin of the time to the answer's head of a unit's first request -> units; one without an answer is in no bin
	BytesIn    uint64             `json:"bytes_in"`          //
	BytesOut   uint64             `json:"bytes_out"`         //
	Dropped    uint64             `json:"dropped,omitempty"` // copies that were not sent, which are no requests; of MirrorCaller only

	Share  delivery.Weight  `json:"share,omitempty"`  // of the release in the split Gen
	Drawn  uint64           `json:"drawn,omitempty"`  // of the units, those whose key was made for them: each was drawn once, by Share
	Again  *Again           `json:"again,omitempty"`  // of the units, those whose key had failed or been very slow before; nil is none
	Places map[string]Place `json:"places,omitempty"` // by endpoint; while two releases have weight
	Pairs  *Pairs           `json:"pairs,omitempty"`  // copies beside their originals; of MirrorCaller only
	Fields uint64           `json:"fields,omitempty"` // of Units, those bad only by what their answer's body says (Traffic.ErrorField); in UnitsBad too
}

// Again is the part of a block's units whose sticky key had failed, or been
// slower than stable's recent 99th percentile, on this route within the ten
// minutes before. One caller in lasting trouble is one observation, not one each
// second: evidence against a release leaves these units out.
type Again struct {
	Units uint64         `json:"units"`
	Bad   uint64         `json:"bad"`
	Open  uint64         `json:"open"`
	Bins  map[int]uint32 `json:"bins"`
}

// Place is what one instance did in a block.
type Place struct {
	Requests uint64 `json:"requests"`
	Failed   uint64 `json:"failed"` // as for UnitsBad
}

// Pairs counts requests that were answered twice, by the release they were
// carried to and, as a copy, by the block's release.
type Pairs struct {
	Both     uint64 `json:"both"`     // answered
	CopyBad  uint64 `json:"copy_bad"` // of them, those where only the copy failed
	OrigBad  uint64 `json:"orig_bad"` // where only the original failed
	CopySlow uint64 `json:"slow"`     // where the copy took more than 1.25 times as long, and 1 ms more
	OrigSlow uint64 `json:"orig_slow"`
}

// Sample is one failed request, for people. It holds no body, no value of a
// header that is not known to be harmless, and none of a query.
type Sample struct {
	At       time.Time          `json:"at"`
	Route    string             `json:"route"`
	Release  delivery.ReleaseID `json:"release"`
	Caller   string             `json:"caller,omitempty"`
	Method   string             `json:"method"`
	Path     string             `json:"path"` // without query
	Status   int                `json:"status"`
	Error    string             `json:"error,omitempty"` // "dial tcp 127.0.0.1:9401: connection refused"
	Took     time.Duration      `json:"took"`
	Trace    string             `json:"trace,omitempty"`    // W3C trace ID
	Endpoint string             `json:"endpoint,omitempty"` // ID of the instance that was asked last
	Asked    string             `json:"asked,omitempty"`    // head of the request, "Name: value" a line; other values as "(31 bytes)"
	Answered string             `json:"answered,omitempty"` // head of the answer, likewise
}

// Driver is one engine that moves requests.
type Driver interface {
	// Apply puts the whole table in force and returns when new requests are
	// routed by it. A table whose generation is lower than the one in force is
	// refused with delivery.ErrConflict; the same generation again changes nothing.
	Apply(ctx context.Context, t Table) error
	// State returns what is in force now.
	State(ctx context.Context) (State, error)
	// Watch calls frame with counts from second since on, every 250 ms while
	// anything changes and at least once a second, until ctx ends or the engine goes away.
	Watch(ctx context.Context, since int64, frame func(Frame)) error
}

// Fault is a disturbance that a data plane makes on purpose. It is never kept on
// disk, and ends by itself when its lease is not renewed in time; a delay or a
// slowed body that is under way ends with it. A request has to do with one fault
// at most, the oldest that is drawn for it. Copies have to do with none, and an
// upgraded connection is neither slowed nor cut.
//
// Share draws sticky keys, by a hash of the key and ID: one caller is touched
// throughout, or never. Since few keys may make many requests, what is touched
// is bounded too: with each touched request, at most MaxFaultShare of the
// route's requests of the ten seconds before it, and at most ten requests and
// twice Share of them by one fault.
type Fault struct {
	ID      string               `json:"id"`                // up to 64 letters, digits, and ._- after the first
	Route   string               `json:"route"`             // Route.Name
	Release delivery.ReleaseID   `json:"release,omitempty"` // "" is any
	Cohort  string               `json:"cohort,omitempty"`  // of the request; "" is any
	When    []delivery.Condition `json:"when,omitempty"`    // all of them
	Share   delivery.Weight      `json:"share"`             // of the sticky keys, above 0 and at most MaxFaultShare in sum for a route
	Delay   time.Duration        `json:"delay,omitempty"`   // before the request is carried, at most a minute, on top of the route's Timeout; may be joined with one of the others
	Abort   int                  `json:"abort,omitempty"`   // answer this status, 400 to 599, instead
	Reset   bool                 `json:"reset,omitempty"`   // cut the caller's connection instead, or its stream of HTTP/2
	Slow    int                  `json:"slow,omitempty"`    // bytes a second of the answer's body
	Cut     int64                `json:"cut,omitempty"`     // cut the connection after so many bytes of an answer's body that is longer; -1 cuts after the head
	Lease   time.Duration        `json:"lease"`             // above 0, at most MaxFaultLease
}

// Bounds of faults.
const (
	MaxFaultLease = 10 * time.Second
	MaxFaultDelay = time.Minute
	MaxFaultShare = delivery.Full / 2 // of a route's sticky keys, and of its requests, all of its faults together
)

// FaultState is a fault in force.
type FaultState struct {
	Fault
	Until   time.Time `json:"until"`   // its lease
	Touched uint64    `json:"touched"` // requests so far
	Spared  uint64    `json:"spared"`  // requests it was drawn for so far, and did not touch for the bounds on what is touched
}
