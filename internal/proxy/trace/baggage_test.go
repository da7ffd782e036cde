package trace

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/proxy/match"
)

const (
	keyMember    = "slipway-key"
	cohortMember = "slipway-cohort"
)

func lines(values ...string) headers { return headers{BaggageHeader: values} }

func TestAppendBaggage(t *testing.T) {
	for name, tc := range map[string]struct {
		in   []string
		set  []Pair
		want string
	}{
		"nothing":           {nil, nil, ""},
		"ours alone":        {nil, []Pair{{keyMember, "u1"}, {cohortMember, "blue"}}, "slipway-key=u1,slipway-cohort=blue"},
		"ours first":        {[]string{"tenant=acme;ttl=1, a=b"}, []Pair{{keyMember, "u1"}}, "slipway-key=u1,tenant=acme;ttl=1,a=b"},
		"replaced":          {[]string{"x=1,slipway-key=old", "slipway-key=older;p"}, []Pair{{keyMember, "new"}}, "slipway-key=new,x=1"},
		"removed":           {[]string{"x=1,slipway-cohort=green"}, []Pair{{cohortMember, ""}}, "x=1"},
		"removed, the last": {[]string{"slipway-cohort=green"}, []Pair{{cohortMember, ""}}, ""},
		"encoded":           {nil, []Pair{{keyMember, "a b,c;d\"e\\f%é"}}, "slipway-key=a%20b%2Cc%3Bd%22e%5Cf%25%C3%A9"},
		"malformed dropped": {[]string{"ok=1,no value,=x,b@d=1,c=sp ace,d=\"q\", ,e=2;p=\x01"}, nil, "ok=1"},
		"no such name":      {nil, []Pair{{"not a token", "x"}}, ""},
		"doubles kept":      {[]string{"a=1,a=2"}, nil, "a=1,a=2"},
	} {
		if got := string(AppendBaggage([]byte("> "), lines(tc.in...), tc.set...)); got != "> "+tc.want {
			t.Errorf("%s: AppendBaggage(%q, %q) = %q, want %q", name, tc.in, tc.set, got, "> "+tc.want)
		}
	}
}

func TestBaggageIsBounded(t *testing.T) {
	many := strings.Repeat("a=1,", 300)
	out := string(AppendBaggage(nil, lines(many), Pair{keyMember, "u1"}))
	if n := strings.Count(out, "="); n != MaxBaggageMembers || !strings.HasPrefix(out, "slipway-key=u1,") {
		t.Errorf("%d members pass, want %d with ours", n, MaxBaggageMembers)
	}
	long := "a=" + strings.Repeat("x", MaxBaggage) + ",b=2"
	if out := string(AppendBaggage(nil, lines(long), Pair{keyMember, "u1"})); out != "slipway-key=u1,b=2" {
		t.Errorf("beside a member that is too long %d bytes pass", len(out))
	}
	if out := AppendBaggage(nil, lines("b=2"), Pair{keyMember, strings.Repeat("é", MaxBaggage/2)}); string(out) != "b=2" {
		t.Errorf("a value that is too long passes: %d bytes", len(out))
	}
	exact := "a=" + strings.Repeat("x", MaxBaggage-2)
	if out := AppendBaggage(nil, lines(exact)); len(out) != MaxBaggage {
		t.Errorf("%d bytes of %d pass", len(out), MaxBaggage)
	}
}

// Whatever is set is read back, byte for byte, whatever it was set beside.
func TestBaggageReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key, cohort := drawn(t, "key"), drawn(t, "cohort")
		out := AppendBaggage(nil, lines(drawn(t, "in"), "slipway-key=old"), Pair{keyMember, key}, Pair{cohortMember, cohort})
		for name, want := range map[string]string{keyMember: key, cohortMember: cohort} {
			if got, there := match.Baggage(lines(string(out)), name); got != want || there != (want != "") {
				t.Fatalf("%s is %q, %v in %q, want %q", name, got, there, out, want)
			}
		}
	})
}

func FuzzBaggage(f *testing.F) {
	f.Add("tenant=acme;ttl=1, a=b", "x=1,slipway-key=old", "u1")
	f.Add("a=%zz,=,;,b = c ; p = q", "", "%")
	f.Fuzz(func(t *testing.T, one, two, key string) {
		in := lines(one, two)
		out := string(AppendBaggage(nil, in, Pair{keyMember, key}))
		if len(out) > MaxBaggage || strings.Count(out, ",") >= MaxBaggageMembers {
			t.Fatalf("%d bytes, %d commas", len(out), strings.Count(out, ","))
		}
		for i := range len(out) {
			if out[i] < 0x20 && out[i] != '\t' || out[i] > 0x7e {
				t.Fatalf("byte %#x in %q: a head may be split", out[i], out)
			}
		}
		if again := string(AppendBaggage(nil, lines(out), Pair{keyMember, key})); again != out {
			t.Fatalf("passing on %q gives %q", out, again)
		}
		encoded := len(encode(nil, key)) + len(keyMember) + 1
		if got, there := match.Baggage(lines(out), keyMember); key != "" && encoded <= MaxBaggage && (!there || got != key) {
			t.Fatalf("%q reads back as %q, %v", key, got, there)
		}
	})
}
