package otlp

import (
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Bounds of one span as it is kept.
const (
	maxAttrs  = 32
	maxEvents = 8
	maxValue  = 256 // bytes of an attribute
)

// traces takes in an ExportTraceServiceRequest, which is a TracesData on the wire.
func (v *Receiver) traces(f form, body []byte, who Sender) (taken, error) {
	var t taken
	data := &tracepb.TracesData{}
	if err := decode(f, body, data); err != nil {
		return t, err
	}
	for _, resource := range data.GetResourceSpans() {
		attrs := resource.GetResource().GetAttributes()
		lie := ""
		if !who.Plane {
			lie = foreign(attrs, who)
		}
		for _, scope := range resource.GetScopeSpans() {
			for _, sp := range scope.GetSpans() {
				trace, s, why := span(sp, f, who)
				switch {
				case lie != "":
					t.refuse(1, lie)
				case why != "":
					t.refuse(1, why)
				case !v.o.Spans(trace, s):
					t.refuse(1, "there is no room for more spans of trace "+trace)
				}
			}
		}
	}
	return t, nil
}

// span reads one span, or says why it is none.
func span(p *tracepb.Span, f form, who Sender) (trace string, s delivery.Span, why string) {
	trace, ok := identifier(p.GetTraceId(), f, 16)
	if s.ID, _ = identifier(p.GetSpanId(), f, 8); !ok || s.ID == "" {
		return "", s, "a span has no sound identifier"
	}
	s.Parent, _ = identifier(p.GetParentSpanId(), f, 8)
	if s.Start = at(p.GetStartTimeUnixNano()); s.Start.IsZero() {
		return "", s, "span " + s.ID + " has no start"
	}
	if end := at(p.GetEndTimeUnixNano()); end.After(s.Start) {
		s.Took = end.Sub(s.Start)
	}
	s.Name, s.Kind = short(p.GetName()), kindOf(p.GetKind())
	s.Service, s.Env, s.Release, s.Instance = who.Service, who.Env, who.Release, string(who.Instance)
	s.Attrs = attributes(p.GetAttributes(), maxAttrs)
	if who.Plane {
		s.Service, s.Env = "slipway-proxy", s.Attrs["slipway.env"]
		s.Release, s.Instance = delivery.ReleaseID(s.Attrs["slipway.release"]), s.Attrs["slipway.instance"]
	}
	s.Failed = p.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR
	if s.Failed {
		s.Why = short(p.GetStatus().GetMessage())
	}
	for _, e := range p.GetEvents()[:min(len(p.GetEvents()), maxEvents)] {
		s.Events = append(s.Events, delivery.SpanEvent{At: at(e.GetTimeUnixNano()), Name: short(e.GetName()), Attrs: attributes(e.GetAttributes(), maxEvents)})
	}
	if s.Failed && s.Why == "" {
		s.Why = blame(s)
	}
	return trace, s, ""
}

// blame finds why a span failed when its status does not say.
func blame(s delivery.Span) string {
	for _, e := range s.Events {
		if m := e.Attrs["exception.message"]; m != "" {
			return m
		}
	}
	if code := s.Attrs["http.response.status_code"]; code != "" {
		return "answered " + code
	}
	return s.Attrs["error.type"]
}

func kindOf(k tracepb.Span_SpanKind) string {
	switch k {
	case tracepb.Span_SPAN_KIND_SERVER:
		return "server"
	case tracepb.Span_SPAN_KIND_CLIENT:
		return "client"
	case tracepb.Span_SPAN_KIND_PRODUCER:
		return "producer"
	case tracepb.Span_SPAN_KIND_CONSUMER:
		return "consumer"
	case tracepb.Span_SPAN_KIND_UNSPECIFIED, tracepb.Span_SPAN_KIND_INTERNAL:
	}
	return "internal"
}

func attributes(list []*commonpb.KeyValue, most int) map[string]string {
	if len(list) == 0 {
		return nil
	}
	out := map[string]string{}
	for _, a := range list[:min(len(list), most)] {
		out[short(a.GetKey())] = short(say(a.GetValue()))
	}
	return out
}

// short is cut, for what there are many of.
func short(s string) string { return cutAt(s, maxValue) }
