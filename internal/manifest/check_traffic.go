package manifest

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// carriage notes what is wrong with the form of a service's traffic words. What
// their values must be, the words of delivery say themselves.
func (d *decoder) carriage(at string, t *trafficDoc) {
	if t == nil {
		return
	}
	d.conditions(at+".match", t.Match)
	d.above(at+".timeout", t.Timeout, "say 1m")
	d.above(at+".per_try", t.PerTry, "say 1m")
	d.above(at+".stream_idle", t.StreamIdle, "say 10m")
	if r := t.Retries; r != nil {
		d.between(at+".retries.attempts", r.Attempts, 1, 10)
	}
	d.knownBy(at+".sticky", t.Sticky)
	if l := t.Limits; l != nil {
		d.between(at+".limits.in_flight", l.InFlight, 1, maxCount)
		d.above(at+".limits.wait", l.Wait, "say 1s; queue: 0 lets nothing wait")
	}
	for i, r := range t.Rates {
		one := item(at+".rates", i)
		d.oneOf(one+".per", r.Per, string(delivery.PerRoute), string(delivery.PerIP), string(delivery.PerKey), string(delivery.PerHeader))
		d.missing(one+".rate", r.Rate == nil, "say how many requests a second, such as rate: 10")
		d.between(one+".burst", r.Burst, 1, maxCount)
	}
	if e := t.Ejection; e != nil {
		d.between(at+".ejection.after", e.After, 1, 1000)
		d.above(at+".ejection.first", e.First, "say 1s")
		d.above(at+".ejection.longest", e.Longest, "say 30s")
		if e.Off != nil && *e.Off && e.After != nil {
			d.wrong(at+".ejection.after", "is said, though ejection is off", "keep one of the two")
		}
	}
	if h := t.Hold; h != nil {
		d.missing(at+".hold.for", h.For == nil && h.Max == nil, "say for: 10s")
		d.above(at+".hold.for", h.For, "say 1ms to have them answered at once")
		d.between(at+".hold.max", h.Max, 1, maxWaiting)
	}
	for i, target := range t.Targets {
		one := item(at+".targets", i)
		d.missing(one+".name", target.Name == nil, "say name: testers")
		d.conditions(one+".when", target.When)
	}
	if m := t.Mirror; m != nil {
		d.missing(at+".mirror.share", m.Share == nil, "say share: 10%")
	}
}

// Bounds that hold for what is said; zero, which delivery takes for the default,
// would surprise whoever writes it.
const (
	maxCount   = 1_000_000 // requests or connections at a time
	maxWaiting = 100_000   // requests
)

// missing notes a field that must be said and is not.
func (d *decoder) missing(path string, missing bool, cure string) {
	if missing && !d.spoiled(path) {
		d.wrong(path, "is missing", cure)
	}
}

// spoiled says whether something at, above or below path could not be read, so
// that what is seen there is not what was written.
func (d *decoder) spoiled(path string) bool {
	if d.broken(path) {
		return true
	}
	for path != "" {
		if d.bad[path] {
			return true
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return false
}

// conditions checks that each looks at one thing.
func (d *decoder) conditions(at string, docs []conditionDoc) {
	for i, c := range docs {
		one := item(at, i)
		if d.spoiled(one) {
			d.bad[one] = true // what is missing in it may be what could not be read
			continue
		}
		var said []string
		for _, on := range []struct {
			word  string
			there bool
		}{{"method", c.Method != nil}, {"header", c.Header != nil}, {"cookie", c.Cookie != nil}, {"query", c.Query != nil}, {"baggage", c.Baggage != nil}} {
			if on.there {
				said = append(said, on.word)
			}
		}
		switch {
		case len(said) == 0:
			d.bad[one] = true
			d.wrong(one, "looks at nothing", "say {header: NAME}, {cookie: NAME}, {query: NAME}, {baggage: NAME} or {method: GET}")
			continue
		case len(said) > 1:
			d.bad[one] = true
			d.wrong(join(one, said[1]), strings.Join(said, " and ")+" are both said", "keep one of them; a second condition can ask for the other")
			continue
		case c.Method != nil && c.Is != nil:
			d.wrong(one+".is", "a method is named by method itself", "say method: [GET, HEAD]")
		}
		d.someWords(one+".is", c.Is)
		d.someWords(one+".method", c.Method)
		d.filled(one+".prefix", c.Prefix, "say what the value begins with, or remove it")
		d.filled(one+".pattern", c.Pattern, "say an expression for the whole value, or remove it")
	}
}

func (d *decoder) someWords(path string, words anyOf) {
	if words != nil && len(words) == 0 {
		d.wrong(path, "the list is empty", "say a value, or remove it")
	}
}

// knownBy checks that sticky says one thing that callers are known by.
func (d *decoder) knownBy(at string, s *stickyDoc) {
	switch {
	case s == nil || s.by != "" || d.spoiled(at):
	case s.Header == nil && s.Cookie == nil:
		d.wrong(at, "says nothing that callers are known by", "say cookie, ip, none, {header: NAME} or {cookie: NAME}")
	case s.Header != nil && s.Cookie != nil:
		d.wrong(at+".cookie", "header and cookie are both said", "keep one of them")
	case s.Cookie != nil && *s.Cookie == "":
		d.wrong(at+".cookie", "is empty", "say the name of the application's cookie, or sticky: cookie for one of ours")
	}
}

// plane notes what is wrong with the form of the data plane's words.
func (d *decoder) plane(at string, p *dataPlaneDoc) {
	if p == nil {
		return
	}
	d.oneOf(at+".access_log", p.AccessLog, string(delivery.LogOff), string(delivery.LogSampled), string(delivery.LogErrors), string(delivery.LogAll))
	d.filled(at+".otlp", p.OTLP, "say http://127.0.0.1:4318, or remove it")
	if l := p.Limits; l != nil {
		d.between(at+".limits.connections", l.Connections, 1, maxCount)
		d.between(at+".limits.in_flight", l.InFlight, 1, maxCount)
		d.above(at+".limits.head_time", l.HeadTime, "say 10s")
		d.above(at+".limits.idle", l.Idle, "say 2m")
		d.above(at+".limits.streams", l.Streams, "say 10s")
	}
}

// checkTraffic has delivery check each word by itself, so that every mistake is
// found and not only the first.
func (s *resolver) checkTraffic(at string, svc delivery.Service) {
	t := svc.Traffic
	for i, c := range t.Match {
		s.refused(c.Check(item(at+".match", i)))
	}
	for i, r := range t.Rates {
		s.refused(r.Check(item(at+".rates", i)))
	}
	for _, part := range []delivery.Traffic{
		{Match: t.Match},
		{Timeout: t.Timeout, PerTry: t.PerTry},
		{Retries: t.Retries},
		{Sticky: t.Sticky},
		{Limits: t.Limits},
		{Rates: t.Rates},
		{Ejection: t.Ejection},
		{SlowStart: t.SlowStart},
		{Hold: t.Hold},
		{Idle: t.Idle},
		{ErrorField: t.ErrorField},
	} {
		s.refused(part.Check(at))
	}
	for i, target := range svc.Targets {
		s.refused(target.Check(item(at+".targets", i)))
		for j, c := range target.When {
			s.refused(c.Check(item(item(at+".targets", i)+".when", j)))
		}
	}
	s.refused(delivery.CheckTargets(at+".targets", svc.Targets))
	if svc.Mirror != nil {
		s.refused(svc.Mirror.Check(at + ".mirror"))
	}
}

// checkDataPlane likewise.
func (s *resolver) checkDataPlane(at string, p delivery.DataPlane) {
	for _, part := range []delivery.DataPlane{
		{AccessLog: p.AccessLog}, {LogShare: p.LogShare}, {OTLP: p.OTLP}, {OTLPShare: p.OTLPShare}, {Trusted: p.Trusted}, {Limits: p.Limits},
	} {
		s.refused(part.Check(at))
	}
}

// refused notes what delivery says of a value, at the place in the file that it
// came from. What is known to be wrong there already is not said again.
func (s *resolver) refused(err error) {
	f, ok := errors.AsType[*delivery.FieldError](err)
	if !ok {
		return
	}
	path := s.written(f.Field)
	if !s.spoiled(path) && !s.complained(path) {
		s.wrong(path, f.Why, f.Next)
	}
}

// complained says whether a mistake about a field is noted already.
func (s *resolver) complained(path string) bool {
	return slices.ContainsFunc(s.mistakes, func(m Mistake) bool { return m.Field == path })
}

var inTargets = regexp.MustCompile(`\.targets\[\d+\]$`)

// written is the path in the file of a field of delivery: a condition's name
// stands under the word for what it looks at, and a method is its own value.
func (d *decoder) written(field string) string {
	if holder, ok := strings.CutSuffix(field, ".name"); ok && !inTargets.MatchString(holder) {
		for _, word := range []string{"header", "cookie", "query", "baggage"} {
			if _, said := d.keys[join(holder, word)]; said {
				return join(holder, word)
			}
		}
		return join(holder, "header")
	}
	if i := strings.LastIndex(field, ".is"); i >= 0 {
		method := field[:i] + ".method"
		if _, said := d.keys[method]; said {
			return method + field[i+len(".is"):]
		}
	}
	return field
}

// item names the place of one in a list.
func item(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
