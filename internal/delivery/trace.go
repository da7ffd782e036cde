package delivery

import "time"

// Trace is one request on its way through the services, as far as they told.
type Trace struct {
	ID      string    `json:"id"`                // W3C trace ID, 32 hex digits
	At      time.Time `json:"at"`                // of its first span
	Change  ChangeID  `json:"change,omitempty"`  // that it is kept for; 0 is one that is not kept, only recent
	Service string    `json:"service,omitempty"` // whose request failed, of a kept one
	Env     string    `json:"env,omitempty"`     //
	Release ReleaseID `json:"release,omitempty"` // that failed it
	Why     string    `json:"why,omitempty"`     // it is kept: "answered 500"
	Spans   []Span    `json:"spans"`             // by start
	Missing int       `json:"missing,omitempty"` // spans beyond the bound of one trace
}

// Span is one operation of a trace.
type Span struct {
	ID       string            `json:"id"`               // 16 hex digits
	Parent   string            `json:"parent,omitempty"` // ID of the span it is part of; it may be unknown here
	Name     string            `json:"name"`
	Kind     string            `json:"kind"` // "server", "client", "producer", "consumer" or "internal"
	Service  string            `json:"service"`
	Env      string            `json:"env,omitempty"`
	Release  ReleaseID         `json:"release,omitempty"`  // of the instance that told it
	Instance string            `json:"instance,omitempty"` // workload ID
	Start    time.Time         `json:"start"`
	Took     time.Duration     `json:"took"`
	Failed   bool              `json:"failed,omitempty"`
	Why      string            `json:"why,omitempty"` // it failed
	Attrs    map[string]string `json:"attrs,omitempty"`
	Events   []SpanEvent       `json:"events,omitempty"`
}

// SpanEvent is a moment within a span, such as an exception.
type SpanEvent struct {
	At    time.Time         `json:"at"`
	Name  string            `json:"name"`
	Attrs map[string]string `json:"attrs,omitempty"`
}
