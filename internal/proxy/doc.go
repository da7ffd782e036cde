// Package proxy is the data plane: listeners, routes, pools, health checks, draining
// and counts. It knows no rollouts and can run alone; its tests are real
// requests over real sockets.
//
// The life of a request: the listener and its host and path give the route; the
// preview header or the hash of the sticky key gives the release; among that
// release's healthy instances the less loaded of two random ones is claimed; the
// answer is passed on and the request is counted in the second it arrived in,
// under the release that was chosen first, whoever answered in the end. The release
// is chosen before anything is known of its instances, by the key alone (find,
// choose), and instances are picked within it (next, pick), whose queue, ejections
// and budget of retries are its own: what becomes of one release's requests
// decides nothing about who is drawn to the other.
//
// Testing in production is off the way of what it does not touch. A copy of a
// request is made as its body passes, and sent by somebody else later; a fault
// is looked for by one load, and what it touches is counted as its own.
//
// Two paths carry requests by one passage, which routes, claims and counts. The
// full path is net/http in front, for everything; the raw path answers plain
// HTTP/1.1 on plain routes without it, and hands a connection that wants more to
// the full path for good. Both speak to HTTP/1.1 instances through upstream.
//
// The life of a table: validated whole, compiled aside, its new addresses bound,
// written to disk, swapped in by one pointer; then what only the old table had
// refuses claims and drains. Everything on the way of a request reads the table
// without a lock.
package proxy
