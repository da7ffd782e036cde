package proxy

import (
	"cmp"
	"encoding/binary"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/proxy/trace"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// defaultShare is the part of requests that is logged or traced when the table
// does not say: 1 %.
const defaultShare = delivery.Full / 100

// recording is what is written down of requests, by the table in force.
type recording struct {
	log        delivery.AccessLog
	logShare   delivery.Weight
	traceShare delivery.Weight
	failures   bool // a failed request is traced though its trace is not sampled
}

func recordingOf(t traffic.Table) recording {
	p, share := t.Plane, defaultShare
	if p.OTLP == "" {
		share = delivery.Full // we record nothing, so whether to is for the services to say
	}
	return recording{
		log:        cmp.Or(p.AccessLog, delivery.LogOff),
		logShare:   cmp.Or(p.LogShare, defaultShare),
		traceShare: cmp.Or(p.OTLPShare, share),
		failures:   t.Failures,
	}
}

// logs says whether a request is to be logged. failed is one that was answered
// 5xx or not at all. A sample holds all requests of a trace or none, so that
// what belongs together is found together.
func (r recording) logs(failed bool, of *trace.Context) bool {
	switch r.log {
	case delivery.LogAll:
		return true
	case delivery.LogErrors:
		return failed
	case delivery.LogSampled:
		h := binary.BigEndian.Uint64(of.Trace[:8]) ^ binary.BigEndian.Uint64(of.Trace[8:])
		h *= 0x9e3779b97f4a7c15 // 2^64 over the golden ratio, so that all bits have their say
		return h>>32%uint64(delivery.Full) < uint64(r.logShare)
	case delivery.LogOff:
	}
	return false
}
