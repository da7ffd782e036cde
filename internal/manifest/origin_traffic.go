package manifest

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// traffic lists how a service's requests are carried. Where nothing was said it
// names what the data plane does then, as package delivery documents it.
func (e *explainer) traffic(at string, s delivery.Service) {
	t := s.Traffic
	e.conditions(at+".match", t.Match, "every request")
	timeout := spanOr(t.Timeout, time.Minute)
	e.say(at+".timeout", timeout)
	e.say(at+".per_try", textOr(t.PerTry == 0, timeout, delivery.Lasting(t.PerTry)))
	e.say(at+".retries.attempts", countOr(t.Retries.Attempts, "3"))
	e.say(at+".retries.budget", weightOr(t.Retries.Budget, delivery.Percent(20)))
	e.say(at+".sticky", stickyText(t.Sticky))
	e.say(at+".limits.in_flight", countOr(t.Limits.InFlight, "unbounded"))
	e.say(at+".limits.queue", countOr(t.Limits.Queue, "none"))
	e.say(at+".limits.wait", spanOr(t.Limits.Wait, time.Second))
	if len(t.Rates) == 0 {
		e.say(at+".rates", "unbounded")
	}
	for i, r := range t.Rates {
		one := item(at+".rates", i)
		e.say(one+".per", string(r.Per))
		if r.Per == delivery.PerHeader {
			e.say(one+".header", r.Name)
		}
		e.say(one+".rate", strconv.FormatFloat(r.Rate, 'f', -1, 64)+" a second")
		e.say(one+".burst", countOr(r.Burst, "one second's worth"))
	}
	e.say(at+".ejection.after", textOr(t.Ejection.After < 0, "never", countOr(t.Ejection.After, "5")))
	e.say(at+".ejection.first", spanOr(t.Ejection.First, time.Second))
	e.say(at+".ejection.longest", spanOr(t.Ejection.Longest, 30*time.Second))
	e.say(at+".ejection.most", weightOr(t.Ejection.Most, delivery.Percent(50)))
	e.say(at+".slow_start", delivery.Lasting(t.SlowStart))
	e.say(at+".hold.for", textOr(t.Hold.For == 0, "none; 10s while a recreate is under way", delivery.Lasting(t.Hold.For)))
	e.say(at+".hold.max", countOr(t.Hold.Max, "1000"))
	e.say(at+".stream_idle", spanOr(t.Idle, 10*time.Minute))
	e.say(at+".error_field", textOr(t.ErrorField == "", "none", t.ErrorField))
	if len(s.Targets) == 0 {
		e.say(at+".targets", "none")
	}
	for i, target := range s.Targets {
		one := item(at+".targets", i)
		e.say(one+".name", target.Name)
		e.conditions(one+".when", target.When, "")
		e.say(one+".to", target.To)
	}
	if s.Mirror == nil {
		e.say(at+".mirror", "none")
		return
	}
	e.say(at+".mirror.to", s.Mirror.To)
	e.say(at+".mirror.share", s.Mirror.Share.String())
	e.say(at+".mirror.unsafe", strconv.FormatBool(s.Mirror.Unsafe))
	e.say(at+".mirror.max_body", textOr(s.Mirror.MaxBody == 0, "64KiB", strconv.FormatInt(s.Mirror.MaxBody, 10)+"B"))
}

func (e *explainer) conditions(at string, all []delivery.Condition, none string) {
	if len(all) == 0 {
		e.say(at, none)
	}
	for i, c := range all {
		e.say(item(at, i), conditionText(c))
	}
}

// conditionText says a condition as a sentence: "header X-Tester is not 1".
func conditionText(c delivery.Condition) string {
	what := strings.TrimSpace(string(c.On) + " " + c.Name)
	not := textOr(c.Not, "not ", "")
	switch {
	case c.Prefix != "":
		return what + textOr(c.Not, " does not begin with ", " begins with ") + strconv.Quote(c.Prefix)
	case c.Pattern != "":
		return what + textOr(c.Not, " does not match ", " matches ") + c.Pattern
	case len(c.Is) == 0:
		return what + " is " + not + "there"
	}
	return what + " is " + not + strings.Join(c.Is, " or ")
}

func stickyText(s delivery.Sticky) string {
	if s.By == "" {
		return string(delivery.ByCookie)
	}
	return strings.TrimSpace(string(s.By) + " " + s.Name)
}

// tls lists how a listener proves who it is.
func (e *explainer) tls(at string, t *delivery.TLS) {
	switch {
	case t == nil:
		e.say(at, "none")
	case t.ACME == nil:
		e.say(at+".cert", t.Cert)
		e.say(at+".key", t.Key)
	default:
		e.say(at+".acme.domains", listText(t.ACME.Domains))
		e.say(at+".acme.email", orNone(t.ACME.Email))
		e.say(at+".acme.directory", textOr(t.ACME.Directory == "", "Let's Encrypt", t.ACME.Directory))
		e.say(at+".acme.roots", textOr(t.ACME.Roots == "", "those of the system", t.ACME.Roots))
	}
}

func (e *explainer) dataPlane(p delivery.DataPlane) {
	const at = "data_plane"
	e.say(at+".access_log", textOr(p.AccessLog == "", string(delivery.LogOff), string(p.AccessLog)))
	e.say(at+".log_share", weightOr(p.LogShare, delivery.Percent(1)))
	e.say(at+".otlp", orNone(p.OTLP))
	e.say(at+".otlp_share", weightOr(p.OTLPShare, delivery.Percent(1)))
	e.say(at+".trusted", listText(p.Trusted))
	e.say(at+".raw", strconv.FormatBool(!p.FullOnly))
	e.say(at+".limits.connections", countOr(p.Limits.Connections, "20000, or what the open-files limit leaves"))
	e.say(at+".limits.in_flight", countOr(p.Limits.InFlight, "10000"))
	e.say(at+".limits.head_bytes", textOr(p.Limits.HeadBytes == 0, "64KiB", fmt.Sprintf("%dB", p.Limits.HeadBytes)))
	e.say(at+".limits.head_time", spanOr(p.Limits.HeadTime, 10*time.Second))
	e.say(at+".limits.idle", spanOr(p.Limits.Idle, 2*time.Minute))
	e.say(at+".limits.streams", spanOr(p.Limits.Streams, 10*time.Second))
}

func textOr(which bool, yes, no string) string {
	if which {
		return yes
	}
	return no
}

func countOr(n int, zero string) string { return textOr(n == 0, zero, strconv.Itoa(n)) }

func spanOr(d, zero time.Duration) string { return delivery.Lasting(cmp.Or(d, zero)) }

func weightOr(w, zero delivery.Weight) string { return cmp.Or(w, zero).String() }
