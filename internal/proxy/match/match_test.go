package match

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// request reads a *http.Request the way the data plane's full path does.
type request struct{ *http.Request }

func (r request) Method() string { return r.Request.Method }
func (r request) Value(name string, i int) (string, bool) {
	if all := r.Header[name]; i < len(all) {
		return all[i], true
	}
	return "", false
}
func (r request) Peer() netip.Addr { return netip.MustParseAddr("192.0.2.1") }
func (r request) RawQuery() string { return r.URL.RawQuery }

func TestHolds(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/x?beta=1&q=a%20b&beta=2&flag&plus=a+b", nil)
	r.Header.Set("X-Tester", "yes")
	r.Header.Add("X-Tester", "really")
	r.Header.Set("Cookie", `plan=pro-7; a="quoted"; plan=second`)
	r.Header.Set("Baggage", "tenant = acme%20inc ;ttl=1, slipway-cohort=blue")
	on := func(on delivery.ConditionOn, name string) delivery.Condition {
		return delivery.Condition{On: on, Name: name}
	}
	is := func(c delivery.Condition, v ...string) delivery.Condition { c.Is = v; return c }
	prefix := func(c delivery.Condition, v string) delivery.Condition { c.Prefix = v; return c }
	pattern := func(c delivery.Condition, v string) delivery.Condition { c.Pattern = v; return c }
	not := func(c delivery.Condition) delivery.Condition { c.Not = true; return c }
	for _, tc := range []struct {
		name string
		when []delivery.Condition
		want bool
	}{
		{"nothing is asked", nil, true},
		{"method", []delivery.Condition{is(on(delivery.OnMethod, ""), "PUT", "POST")}, true},
		{"other method", []delivery.Condition{is(on(delivery.OnMethod, ""), "GET")}, false},
		{"header there", []delivery.Condition{on(delivery.OnHeader, "x-tester")}, true},
		{"second value", []delivery.Condition{is(on(delivery.OnHeader, "X-Tester"), "really")}, true},
		{"header not there", []delivery.Condition{on(delivery.OnHeader, "X-Other")}, false},
		{"not there is what is asked", []delivery.Condition{not(on(delivery.OnHeader, "X-Other"))}, true},
		{"cookie prefix", []delivery.Condition{prefix(on(delivery.OnCookie, "plan"), "pro-")}, true},
		{"the first cookie of a name counts", []delivery.Condition{is(on(delivery.OnCookie, "plan"), "second")}, false},
		{"quoted cookie", []delivery.Condition{is(on(delivery.OnCookie, "a"), "quoted")}, true},
		{"query, second value", []delivery.Condition{is(on(delivery.OnQuery, "beta"), "2")}, true},
		{"query without value", []delivery.Condition{on(delivery.OnQuery, "flag")}, true},
		{"query, escaped", []delivery.Condition{is(on(delivery.OnQuery, "q"), "a b")}, true},
		{"query, plus", []delivery.Condition{is(on(delivery.OnQuery, "plus"), "a b")}, true},
		{"pattern is of the whole value", []delivery.Condition{pattern(on(delivery.OnCookie, "plan"), `pro`)}, false},
		{"pattern", []delivery.Condition{pattern(on(delivery.OnCookie, "plan"), `pro-\d|x`)}, true},
		{"baggage", []delivery.Condition{is(on(delivery.OnBaggage, "tenant"), "acme inc")}, true},
		{"all must hold", []delivery.Condition{on(delivery.OnHeader, "X-Tester"), on(delivery.OnQuery, "gamma")}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, err := Compile("target a", tc.when)
			if err != nil {
				t.Fatal(err)
			}
			if got := w.Holds(request{r}); got != tc.want {
				t.Errorf("Holds = %v, want %v", got, tc.want)
			}
		})
	}
}

func TestCompileRefusesPattern(t *testing.T) {
	_, err := Compile("target a", []delivery.Condition{{On: delivery.OnHeader, Name: "X", Pattern: "("}})
	field, ok := errors.AsType[*delivery.FieldError](err)
	if !ok || field.Field != "target a condition 1 pattern" {
		t.Errorf("Compile = %v, want a field error for the pattern", err)
	}
}

// What net/http reads as a cookie's value, Cookie reads alike.
func TestCookieAgreesWithNetHTTP(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		token := rapid.StringMatching(`[a-z]{1,3}`)
		value := rapid.StringMatching(`[a-z0-9=:/]{0,5}`)
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		for range rapid.IntRange(0, 5).Draw(t, "n") {
			r.AddCookie(&http.Cookie{Name: token.Draw(t, "name"), Value: value.Draw(t, "value")})
		}
		name := token.Draw(t, "asked")
		want, err := r.Cookie(name)
		got, there := Cookie(request{r}, name)
		if there != (err == nil) || there && got != want.Value {
			t.Fatalf("Cookie(%q, %q) = %q, %v; net/http says %v, %v", r.Header["Cookie"], name, got, there, want, err)
		}
	})
}
