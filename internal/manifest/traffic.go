package manifest

import (
	"cmp"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// told notes the origin of the value at path and returns it, or zero, which
// stands for the data plane's own default.
func told[T any](s *resolver, path string, v *T) T {
	var zero T
	return pick(s, path, zero, "default", said[T]{path, v})
}

func (s *resolver) toldSpan(path string, v *duration) time.Duration {
	return time.Duration(told(s, path, v))
}

func (s *resolver) toldWeight(path string, v *weight) delivery.Weight {
	return delivery.Weight(told(s, path, v))
}

// noted notes the origin of a list or mapping that is resolved as a whole.
func (s *resolver) noted(path string, there bool) {
	s.origins[path] = "default"
	if there {
		s.from(path, path)
	}
}

func protocolOf(word string) delivery.Protocol {
	switch word {
	case "h2c", "grpc":
		return delivery.H2C
	}
	return delivery.HTTP1
}

// traffic fills in how a service's requests are carried, and refuses what no
// data plane could do.
func (s *resolver) traffic(at string, doc *trafficDoc, out *delivery.Service) {
	if doc == nil {
		doc = &trafficDoc{}
	}
	out.Traffic = delivery.Traffic{
		Match:     s.conditions(at+".match", doc.Match),
		Timeout:   s.toldSpan(at+".timeout", doc.Timeout),
		PerTry:    s.toldSpan(at+".per_try", doc.PerTry),
		Retries:   s.retries(at+".retries", doc.Retries),
		Sticky:    s.sticky(at+".sticky", doc.Sticky),
		Limits:    s.load(at+".limits", doc.Limits),
		Rates:     s.rates(at+".rates", doc.Rates),
		Ejection:  s.ejection(at+".ejection", doc.Ejection),
		SlowStart: s.toldSpan(at+".slow_start", doc.SlowStart),
		Hold:      s.holding(at+".hold", doc.Hold),
		Idle:      s.toldSpan(at+".stream_idle", doc.StreamIdle),

		ErrorField: told(s, at+".error_field", doc.ErrorField),
	}
	out.Targets = s.targets(at+".targets", doc.Targets)
	out.Mirror = s.mirror(at+".mirror", doc.Mirror)
	s.checkTraffic(at, *out)
}

func (s *resolver) conditions(at string, docs []conditionDoc) []delivery.Condition {
	s.noted(at, len(docs) > 0)
	for i := range docs {
		s.from(item(at, i), item(at, i))
	}
	return conditionsOf(docs)
}

// conditionsOf turns conditions into the words of delivery.
func conditionsOf(docs []conditionDoc) []delivery.Condition {
	var out []delivery.Condition
	for _, doc := range docs {
		c := delivery.Condition{Is: doc.Is}
		switch {
		case doc.Method != nil:
			c.On, c.Is = delivery.OnMethod, doc.Method
		case doc.Header != nil:
			c.On, c.Name = delivery.OnHeader, *doc.Header
		case doc.Cookie != nil:
			c.On, c.Name = delivery.OnCookie, *doc.Cookie
		case doc.Query != nil:
			c.On, c.Name = delivery.OnQuery, *doc.Query
		case doc.Baggage != nil:
			c.On, c.Name = delivery.OnBaggage, *doc.Baggage
		}
		if doc.Prefix != nil {
			c.Prefix = *doc.Prefix
		}
		if doc.Pattern != nil {
			c.Pattern = *doc.Pattern
		}
		c.Not = doc.Not != nil && *doc.Not
		out = append(out, c)
	}
	return out
}

func (s *resolver) retries(at string, doc *retriesDoc) delivery.Retries {
	if doc == nil {
		doc = &retriesDoc{}
	}
	return delivery.Retries{
		Attempts: told(s, at+".attempts", doc.Attempts),
		Budget:   s.toldWeight(at+".budget", doc.Budget),
	}
}

func (s *resolver) sticky(at string, doc *stickyDoc) delivery.Sticky {
	s.noted(at, doc != nil)
	switch {
	case doc == nil:
		return delivery.Sticky{}
	case doc.Header != nil:
		return delivery.Sticky{By: delivery.ByHeader, Name: *doc.Header}
	case doc.Cookie != nil:
		return delivery.Sticky{By: delivery.ByCookie, Name: *doc.Cookie}
	case doc.by == string(delivery.ByCookie):
		return delivery.Sticky{} // the default, said
	}
	return delivery.Sticky{By: delivery.StickyBy(doc.by)}
}

func (s *resolver) load(at string, doc *loadDoc) delivery.TrafficLimits {
	if doc == nil {
		doc = &loadDoc{}
	}
	return delivery.TrafficLimits{
		InFlight: told(s, at+".in_flight", doc.InFlight),
		Queue:    told(s, at+".queue", doc.Queue),
		Wait:     s.toldSpan(at+".wait", doc.Wait),
	}
}

func (s *resolver) rates(at string, docs []rateDoc) []delivery.Rate {
	s.noted(at, len(docs) > 0)
	var out []delivery.Rate
	for i, doc := range docs {
		one := item(at, i)
		out = append(out, delivery.Rate{
			Per:   delivery.RatePer(told(s, one+".per", doc.Per)),
			Name:  told(s, one+".header", doc.Header),
			Rate:  told(s, one+".rate", doc.Rate),
			Burst: told(s, one+".burst", doc.Burst),
		})
	}
	return out
}

func (s *resolver) ejection(at string, doc *ejectionDoc) delivery.Ejection {
	if doc == nil {
		doc = &ejectionDoc{}
	}
	e := delivery.Ejection{
		After:   told(s, at+".after", doc.After),
		First:   s.toldSpan(at+".first", doc.First),
		Longest: s.toldSpan(at+".longest", doc.Longest),
		Most:    s.toldWeight(at+".most", doc.Most),
	}
	if doc.Off != nil && *doc.Off {
		e.After = -1
		s.from(at+".after", at+".off")
	}
	return e
}

func (s *resolver) holding(at string, doc *holdingDoc) delivery.Holding {
	if doc == nil {
		doc = &holdingDoc{}
	}
	return delivery.Holding{For: s.toldSpan(at+".for", doc.For), Max: told(s, at+".max", doc.Max)}
}

func (s *resolver) targets(at string, docs []targetDoc) []delivery.Target {
	s.noted(at, len(docs) > 0)
	var out []delivery.Target
	for i, doc := range docs {
		one := item(at, i)
		out = append(out, delivery.Target{
			Name: told(s, one+".name", doc.Name),
			When: s.conditions(one+".when", doc.When),
			To:   s.aim(one+".to", doc.To),
		})
	}
	return out
}

func (s *resolver) mirror(at string, doc *mirrorDoc) *delivery.Mirror {
	s.noted(at, doc != nil)
	if doc == nil {
		return nil
	}
	return &delivery.Mirror{
		To:      s.aim(at+".to", doc.To),
		Share:   s.toldWeight(at+".share", doc.Share),
		Unsafe:  told(s, at+".unsafe", doc.Unsafe),
		MaxBody: int64(told(s, at+".max_body", doc.MaxBody)),
	}
}

// aim is where a target or a mirror leads: to what is being tried out, unless
// something else is said.
func (s *resolver) aim(at string, to *string) string {
	return pick(s, at, delivery.TargetCandidate, "default", said[string]{at, to})
}

// tls fills in how the listener of an environment proves who it is. Paths are
// those of the file's folder.
func (s *resolver) tls(field, at string, doc *tlsDoc) *delivery.TLS {
	s.origins[field] = "default"
	if doc == nil {
		return nil
	}
	s.from(field, at)
	text := func(name string, v *string) string {
		return pick(s, field+name, "", "default", said[string]{at + name, v})
	}
	file := func(name string, v *string) string {
		if p := text(name, v); p != "" {
			return s.path(p)
		}
		return ""
	}
	t := &delivery.TLS{Cert: file(".cert", doc.Cert), Key: file(".key", doc.Key)}
	if doc.ACME != nil {
		s.from(field+".acme.domains", at+".acme.domains")
		t.ACME = &delivery.ACME{
			Domains: doc.ACME.Domains, Email: text(".acme.email", doc.ACME.Email),
			Directory: text(".acme.directory", doc.ACME.Directory), Roots: file(".acme.roots", doc.ACME.Roots),
		}
	}
	s.refused(t.Check(at))
	return t
}

func (s *resolver) dataPlane(doc *dataPlaneDoc) delivery.DataPlane {
	const at = "data_plane"
	if doc == nil {
		doc = &dataPlaneDoc{}
	}
	l := cmp.Or(doc.Limits, &planeLimitsDoc{})
	s.noted(at+".trusted", len(doc.Trusted) > 0)
	out := delivery.DataPlane{
		AccessLog: delivery.AccessLog(told(s, at+".access_log", doc.AccessLog)),
		LogShare:  s.toldWeight(at+".log_share", doc.LogShare),
		OTLP:      told(s, at+".otlp", doc.OTLP),
		OTLPShare: s.toldWeight(at+".otlp_share", doc.OTLPShare),
		Trusted:   doc.Trusted,
		FullOnly:  !pick(s, at+".raw", true, "default", said[bool]{at + ".raw", doc.Raw}),
		Limits: delivery.PlaneLimits{
			Connections: told(s, at+".limits.connections", l.Connections),
			InFlight:    told(s, at+".limits.in_flight", l.InFlight),
			HeadBytes:   int(told(s, at+".limits.head_bytes", l.HeadBytes)),
			HeadTime:    s.toldSpan(at+".limits.head_time", l.HeadTime),
			Idle:        s.toldSpan(at+".limits.idle", l.Idle),
			Streams:     s.toldSpan(at+".limits.streams", l.Streams),
		},
	}
	s.checkDataPlane(at, out)
	return out
}
