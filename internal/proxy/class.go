package proxy

import "github.com/slipway-cd/slipway/internal/traffic"

// outcome is how a request ended.
type outcome int

const (
	finished  outcome = iota // by its status
	unreached                // no connection to any instance
	late                     // no answer in time
	broken                   // the instance cut its answer off
	cancelled                // the caller went away
	shed                     // no instance had room in time
)

// class is the counter that a request falls into once it has ended.
type class int

const (
	classOK class = iota
	classClient
	classServer
	classConnect
	classTimeout
	classBroken
	classCancelled
	classShed
)

// classes are the names of classes, as traffic.Block calls them.
var classes = [...]string{"ok", "client", "server", "connect", "timeout", "broken", "cancelled", "shed"}

func (c class) String() string { return classes[c] }

func classOf(how outcome, status int) class {
	switch how {
	case unreached:
		return classConnect
	case late:
		return classTimeout
	case broken:
		return classBroken
	case cancelled:
		return classCancelled
	case shed:
		return classShed
	case finished:
	}
	switch {
	case status >= 500:
		return classServer
	case status >= 400:
		return classClient
	}
	return classOK
}

// bad says whether the class counts against the release.
func (c class) bad() bool {
	switch c {
	case classServer, classConnect, classTimeout, classBroken, classShed:
		return true
	case classOK, classClient, classCancelled:
	}
	return false
}

// of returns the counter of the class.
func (c class) of(b *traffic.Block) *uint64 {
	switch c {
	case classClient:
		return &b.Client
	case classServer:
		return &b.Server
	case classConnect:
		return &b.Connect
	case classTimeout:
		return &b.Timeout
	case classBroken:
		return &b.Broken
	case classCancelled:
		return &b.Cancelled
	case classShed:
		return &b.Shed
	case classOK:
	}
	return &b.OK
}

// add counts one ended request.
func (c class) add(b *traffic.Block, in, out int64) {
	b.Unfinished--
	*c.of(b)++
	b.BytesIn += uint64(in)
	b.BytesOut += uint64(out)
}
