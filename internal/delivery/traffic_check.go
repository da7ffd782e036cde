package delivery

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of what can be asked of a data plane. They are far beyond what helps
// anybody, and keep its sums within their integers and its memory within reason.
const (
	maxConditions = 32        // of one list
	maxPattern    = 1000      // bytes
	maxRates      = 16        // of one service
	minRate       = 0.001     // requests a second: one in a quarter of an hour
	maxRate       = 1_000_000 // requests a second
	maxCount      = 1_000_000 // requests or connections at a time
	maxQueue      = 100_000   // requests that wait
	maxWait       = 10 * time.Minute
	maxCopied     = 8 << 20 // bytes of a mirrored body; the copies of one mirror that are under way share 16 MiB
	minHead       = 1 << 10
	maxHead       = 1 << 20
	day           = 24 * time.Hour
)

// Check refuses what no data plane could do. The error is a *FieldError for a
// place below field, as "services.cart.traffic.rates[0].rate" is below
// "services.cart.traffic".
func (t Traffic) Check(field string) error {
	err := cmp.Or(
		CheckConditions(field+".match", t.Match),
		within(field+".timeout", t.Timeout, time.Millisecond, day),
		within(field+".per_try", t.PerTry, time.Millisecond, day),
		amount(field+".retries.attempts", t.Retries.Attempts, 0, 10),
		t.Retries.Budget.check(field+".retries.budget", 0),
		t.Sticky.check(field+".sticky"),
		t.Limits.check(field+".limits"),
		amount(field+".rates", len(t.Rates), 0, maxRates),
		t.Ejection.check(field+".ejection"),
		within(field+".slow_start", t.SlowStart, time.Millisecond, time.Hour),
		t.Hold.check(field+".hold"),
		fieldPath(field+".error_field", t.ErrorField),
		within(field+".stream_idle", t.Idle, time.Millisecond, 7*day),
	)
	if err != nil {
		return err
	}
	if all := cmp.Or(t.Timeout, time.Minute); t.PerTry > all {
		return InvalidNext(field+".per_try", fmt.Sprintf("is %s, longer than the %s of all tries together", t.PerTry, all), "raise timeout, or lower per_try")
	}
	for i, r := range t.Rates {
		if err := r.Check(fmt.Sprintf("%s.rates[%d]", field, i)); err != nil {
			return err
		}
	}
	return nil
}

// CheckConditions refuses a list of conditions of which one can never be asked.
func CheckConditions(field string, all []Condition) error {
	if err := amount(field, len(all), 0, maxConditions); err != nil {
		return err
	}
	for i, c := range all {
		if err := c.Check(fmt.Sprintf("%s[%d]", field, i)); err != nil {
			return err
		}
	}
	return nil
}

// Check refuses a condition that can never be asked, as Traffic.Check does.
func (c Condition) Check(field string) error {
	var err error
	switch c.On {
	case OnMethod:
		err = cmp.Or(unnamed(field, c.Name, "a method"), methods(field+".is", c.Is))
		if err == nil && len(c.Is) == 0 && c.Prefix == "" && c.Pattern == "" {
			err = InvalidNext(field, "asks for no method", "say is: [GET, HEAD]")
		}
	case OnHeader, OnCookie, OnBaggage:
		err = token(field+".name", c.Name)
	case OnQuery:
		if c.Name == "" {
			err = InvalidNext(field+".name", "names no query parameter", "say its name, or remove the condition")
		}
	default:
		err = unknown(field+".on", string(c.On), OnMethod, OnHeader, OnCookie, OnQuery, OnBaggage)
	}
	if err != nil {
		return err
	}
	return c.checkValue(field)
}

func (c Condition) checkValue(field string) error {
	said := 0
	for _, there := range []bool{len(c.Is) > 0, c.Prefix != "", c.Pattern != ""} {
		if there {
			said++
		}
	}
	if said > 1 {
		return InvalidNext(field, "says more than one of is, prefix and pattern", "keep one; a second condition can ask for the other")
	}
	if c.Pattern == "" {
		return nil
	}
	if len(c.Pattern) > maxPattern {
		return InvalidNext(field+".pattern", fmt.Sprintf("is longer than %d bytes", maxPattern), "say is, with a list of values")
	}
	if _, err := regexp.Compile(c.Pattern); err != nil {
		return InvalidNext(field+".pattern", err.Error(), "the syntax is RE2: https://github.com/google/re2/wiki/Syntax")
	}
	return nil
}

// methods refuses names that no request has: methods are upper case.
func methods(field string, all []string) error {
	for i, m := range all {
		at := fmt.Sprintf("%s[%d]", field, i)
		if err := token(at, m); err != nil {
			return err
		}
		if up := strings.ToUpper(m); up != m {
			return InvalidNext(at, m+" is not a method: they are upper case", "say "+up)
		}
	}
	return nil
}

func (s Sticky) check(field string) error {
	switch s.By {
	case ByHeader:
		return token(field+".name", s.Name)
	case ByCookie:
		if s.Name == "" {
			return nil // ours
		}
		return token(field+".name", s.Name)
	case "":
		if s.Name != "" {
			return InvalidNext(field+".by", "is missing beside name", "say by: header or by: cookie")
		}
		return nil
	case ByIP, ByNobody:
		return unnamed(field, s.Name, "by "+string(s.By))
	}
	return unknown(field+".by", string(s.By), ByCookie, ByHeader, ByIP, ByNobody)
}

func (l TrafficLimits) check(field string) error {
	err := cmp.Or(
		amount(field+".in_flight", l.InFlight, 0, maxCount),
		amount(field+".queue", l.Queue, 0, maxQueue),
		within(field+".wait", l.Wait, time.Millisecond, maxWait),
	)
	switch {
	case err != nil:
		return err
	case l.Queue > 0 && l.InFlight == 0:
		return InvalidNext(field+".queue", "is set, but without in_flight nothing ever waits", "say in_flight too")
	case l.Wait > 0 && l.Queue == 0:
		return InvalidNext(field+".wait", "is set, but without queue nothing waits", "say queue too")
	}
	return nil
}

// Check refuses a rate that cannot be kept, as Traffic.Check does.
func (r Rate) Check(field string) error {
	var err error
	switch r.Per {
	case PerHeader:
		err = token(field+".name", r.Name)
	case PerRoute, PerIP, PerKey:
		err = unnamed(field, r.Name, "per "+string(r.Per))
	default:
		err = unknown(field+".per", string(r.Per), PerRoute, PerIP, PerKey, PerHeader)
	}
	if err != nil {
		return err
	}
	if math.IsNaN(r.Rate) || r.Rate < minRate || r.Rate > maxRate {
		return InvalidNext(field+".rate", fmt.Sprintf("must be from %v to %d requests a second, is %v", minRate, maxRate, r.Rate), "say a number such as 10; 0.5 is one in two seconds")
	}
	return amount(field+".burst", r.Burst, 0, maxCount)
}

func (e Ejection) check(field string) error {
	err := cmp.Or(
		amount(field+".after", e.After, -1, 1000),
		within(field+".first", e.First, time.Millisecond, time.Hour),
		within(field+".longest", e.Longest, time.Millisecond, time.Hour),
		e.Most.check(field+".most", 0),
	)
	if err == nil && e.Longest > 0 && e.First > e.Longest {
		err = InvalidNext(field+".first", fmt.Sprintf("is %s, longer than the longest, %s", e.First, e.Longest), "raise longest, or lower first")
	}
	return err
}

func (h Holding) check(field string) error {
	err := cmp.Or(
		within(field+".for", h.For, time.Millisecond, maxWait),
		amount(field+".max", h.Max, 0, maxQueue),
	)
	if err == nil && h.Max > 0 && h.For == 0 {
		err = InvalidNext(field+".max", "is set, but without for nothing is held", "say for: 10s too")
	}
	return err
}

// CheckTargets refuses a list of targets of which one can never be aimed, or
// two have one name.
func CheckTargets(field string, all []Target) error {
	seen := map[string]bool{}
	for i, t := range all {
		at := fmt.Sprintf("%s[%d]", field, i)
		if err := t.Check(at); err != nil {
			return err
		}
		if seen[t.Name] {
			return InvalidNext(at+".name", "there are two targets "+t.Name, "rename one of the two")
		}
		seen[t.Name] = true
	}
	return nil
}

// Bounds of a path to a field of JSON texts.
const (
	maxFieldPath  = 200 // bytes
	maxFieldDepth = 8   // names
)

// fieldPath refuses a path that leads to no field.
func fieldPath(field, path string) error {
	const next = "say a name, or names with dots between: errors, status.error"
	switch {
	case path == "":
		return nil
	case len(path) > maxFieldPath || strings.Count(path, ".") >= maxFieldDepth:
		return InvalidNext(field, fmt.Sprintf("is longer than %d bytes or %d names", maxFieldPath, maxFieldDepth), next)
	case !utf8.ValidString(path):
		return InvalidNext(field, "is no UTF-8", next)
	case slices.Contains(strings.Split(path, "."), ""):
		return InvalidNext(field, fmt.Sprintf("%q has a name of no letters", path), next)
	}
	return nil
}

// Check refuses a target that can never be aimed, as Traffic.Check does.
func (t Target) Check(field string) error {
	switch {
	case t.To == "":
		return InvalidNext(field+".to", "names no release", "say candidate, stable or a version")
	case len(t.When) == 0:
		return InvalidNext(field+".when", "is empty, so every request would match", "say which requests are meant")
	}
	return cmp.Or(token(field+".name", t.Name), CheckConditions(field+".when", t.When))
}

// Check refuses a mirror that copies nothing or cannot be, as Traffic.Check does.
func (m Mirror) Check(field string) error {
	if m.To == "" {
		return InvalidNext(field+".to", "names no release", "say candidate, stable or a version")
	}
	if m.MaxBody < 0 || m.MaxBody > maxCopied {
		return InvalidNext(field+".max_body", fmt.Sprintf("must be from 0 to %d bytes, is %d", maxCopied, m.MaxBody), "say 64KiB; at most 8MiB")
	}
	return m.Share.check(field+".share", 1)
}

// Check refuses a listener's proof that is none or is two, as Traffic.Check does.
func (t TLS) Check(field string) error {
	switch {
	case t.ACME != nil && t.Cert+t.Key != "":
		return InvalidNext(field, "has both files and acme", "keep one")
	case t.ACME != nil:
		return t.ACME.check(field + ".acme")
	case t.Cert == "" && t.Key == "":
		return InvalidNext(field, "says neither where a certificate is nor where to get one", "say cert and key, or acme")
	case t.Cert == "":
		return InvalidNext(field+".cert", "is missing beside key", "say the PEM file of the certificate")
	case t.Key == "":
		return InvalidNext(field+".key", "is missing beside cert", "say the PEM file of the certificate's key")
	}
	return nil
}

func (a ACME) check(field string) error {
	if len(a.Domains) == 0 {
		return InvalidNext(field+".domains", "names no domain", "name the hosts that callers ask for")
	}
	for i, d := range a.Domains {
		at := fmt.Sprintf("%s.domains[%d]", field, i)
		switch {
		case strings.HasPrefix(d, "*."):
			return InvalidNext(at, "is a wildcard, which the authority only proves by DNS", "name each host, or use a certificate file")
		case !domain.MatchString(d) || len(d) > 253:
			return InvalidNext(at, fmt.Sprintf("%q is not a lower-case domain name", d), "say it without scheme, port or path: shop.example.org")
		}
	}
	if a.Email != "" && !strings.Contains(strings.Trim(a.Email, "@"), "@") {
		return InvalidNext(field+".email", fmt.Sprintf("%q is not an address", a.Email), "say NAME@DOMAIN, or remove it")
	}
	if a.Directory == "" {
		return nil
	}
	return address(field+".directory", a.Directory, "https")
}

var domain = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)

// Check refuses what a data plane could not be, as Traffic.Check does.
func (d DataPlane) Check(field string) error {
	var err error
	switch d.AccessLog {
	case "", LogOff, LogSampled, LogErrors, LogAll:
	default:
		err = unknown(field+".access_log", string(d.AccessLog), LogOff, LogSampled, LogErrors, LogAll)
	}
	if err == nil && d.OTLP != "" {
		err = address(field+".otlp", d.OTLP, "http", "https")
	}
	if err != nil {
		return err
	}
	for i, r := range d.Trusted {
		at := fmt.Sprintf("%s.trusted[%d]", field, i)
		p, err := netip.ParsePrefix(r)
		if a, lone := netip.ParseAddr(r); lone == nil {
			return InvalidNext(at, r+" is an address, not a range", fmt.Sprintf("say %s/%d", a, a.BitLen()))
		}
		if err != nil {
			return InvalidNext(at, fmt.Sprintf("%q is not an address range", r), "say 10.0.0.0/8")
		}
		if p.Masked() != p {
			return InvalidNext(at, r+" has bits set beyond its length", "say "+p.Masked().String())
		}
	}
	return cmp.Or(
		d.LogShare.check(field+".log_share", 0),
		d.OTLPShare.check(field+".otlp_share", 0),
		d.Limits.check(field+".limits"),
	)
}

func (l PlaneLimits) check(field string) error {
	err := cmp.Or(
		amount(field+".connections", l.Connections, 0, maxCount),
		amount(field+".in_flight", l.InFlight, 0, maxCount),
		within(field+".head_time", l.HeadTime, time.Millisecond, time.Hour),
		within(field+".idle", l.Idle, time.Millisecond, day),
		within(field+".streams", l.Streams, time.Millisecond, day),
	)
	if err == nil && l.HeadBytes != 0 && (l.HeadBytes < minHead || l.HeadBytes > maxHead) {
		err = InvalidNext(field+".head_bytes", fmt.Sprintf("must be from %d to %d bytes, is %d", minHead, maxHead, l.HeadBytes), "say 64KiB; at most 1MiB")
	}
	return err
}

// within refuses a duration that is set and lies outside low and high.
func within(field string, d, low, high time.Duration) error {
	if d != 0 && (d < low || d > high) {
		return InvalidNext(field, fmt.Sprintf("must be from %s to %s, is %s", low, high, d), "say "+min(max(d, low), high).String())
	}
	return nil
}

func amount(field string, n, low, high int) error {
	if n < low || n > high {
		return InvalidNext(field, fmt.Sprintf("must be from %d to %d, is %d", low, high, n), fmt.Sprintf("say %d", min(max(n, low), high)))
	}
	return nil
}

func (w Weight) check(field string, low Weight) error {
	if w < low || w > Full {
		return InvalidNext(field, fmt.Sprintf("must be from %s to %s, is %s", low, Full, w), "say "+min(max(w, low), Full).String())
	}
	return nil
}

// unknown says which words there are.
func unknown[T ~string](field, word string, known ...T) error {
	names := make([]string, len(known))
	for i, k := range known {
		names[i] = string(k)
	}
	if word == "" {
		return InvalidNext(field, "is missing", "say one of "+strings.Join(names, ", "))
	}
	return InvalidNext(field, fmt.Sprintf("%q is not known", word), "say one of "+strings.Join(names, ", "))
}

func unnamed(field, name, what string) error {
	if name == "" {
		return nil
	}
	return InvalidNext(field+".name", fmt.Sprintf("is %q, but %s takes no name", name, what), "remove it")
}

// token accepts the names of headers, cookies and members (RFC 9110, 5.6.2).
func token(field, name string) error {
	if name == "" {
		return InvalidNext(field, "is missing", "say a name")
	}
	bad := func(c rune) bool {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		return !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", c)
	}
	if i := strings.IndexFunc(name, bad); i >= 0 || len(name) > 256 {
		return InvalidNext(field, fmt.Sprintf("%.64q is not a name of letters, digits, - and _", name), "say the name alone, as in X-Tester")
	}
	return nil
}

// address accepts an absolute URL of one of the schemes.
func address(field, raw string, schemes ...string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || !slices.Contains(schemes, u.Scheme) {
		return InvalidNext(field, fmt.Sprintf("%q is not a URL that begins with %s://", raw, strings.Join(schemes, ":// or ")), "say "+schemes[0]+"://HOST:PORT")
	}
	return nil
}
