package forward

import (
	"bufio"
	"net/http"
	"net/netip"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func trust(t testing.TB, ranges ...string) Trust {
	t.Helper()
	out, err := Compile(ranges)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestClientIsTheRightmostThatIsNotTrusted(t *testing.T) {
	ours := trust(t, "10.0.0.0/8", "fd00::/8")
	peer := netip.MustParseAddr("10.1.1.1")
	for name, c := range map[string]struct {
		said http.Header
		want string
	}{
		"nothing said":        {nil, "10.1.1.1"},
		"one hop":             {http.Header{For: {"192.0.2.7"}}, "192.0.2.7"},
		"a forged one before": {http.Header{For: {"6.6.6.6, 192.0.2.7"}}, "192.0.2.7"},
		"our proxies behind":  {http.Header{For: {"6.6.6.6, 192.0.2.7, 10.2.2.2,fd00::1"}}, "192.0.2.7"},
		"several lines":       {http.Header{For: {"6.6.6.6", "192.0.2.7", "10.2.2.2"}}, "192.0.2.7"},
		"all ours":            {http.Header{For: {"10.3.3.3, 10.2.2.2"}}, "10.3.3.3"},
		"with a port":         {http.Header{For: {"192.0.2.7:8080, [fd00::1]:443"}}, "192.0.2.7"},
		"IPv6":                {http.Header{For: {"2001:db8::1, fd00::2"}}, "2001:db8::1"},
		"IPv4 in IPv6":        {http.Header{For: {"192.0.2.7, ::ffff:10.0.0.9"}}, "192.0.2.7"},
		"unknown":             {http.Header{For: {"192.0.2.7, unknown"}}, "10.1.1.1"},
		"no address":          {http.Header{For: {"192.0.2.7, 10.2.2.2, 1.2.3.4.5, 10.4.4.4"}}, "10.4.4.4"},
		"a zone":              {http.Header{For: {"fe80::1%eth0"}}, "10.1.1.1"},
		"empty":               {http.Header{For: {""}}, "10.1.1.1"},
		"an open bracket":     {http.Header{For: {"[2001:db8::1"}}, "10.1.1.1"},
		"Forwarded":           {http.Header{Forwarded: {`for=6.6.6.6;proto=http, For="[2001:db8::1]:4711";host="a,b";by=x, for=10.2.2.2`}}, "2001:db8::1"},
		"Forwarded, hidden":   {http.Header{Forwarded: {`for=192.0.2.7, for=_secret`}}, "10.1.1.1"},
		"both":                {http.Header{For: {"192.0.2.7"}, Forwarded: {"for=6.6.6.6"}}, "192.0.2.7"},
		"hiding by a quote":   {http.Header{For: {`"6.6.6.6, 192.0.2.7`}}, "192.0.2.7"},
		"the same, Forwarded": {http.Header{Forwarded: {`for="6.6.6.6, for=192.0.2.7`}}, "192.0.2.7"},
		"with an escape":      {http.Header{Forwarded: {`for="\, for="[2001:db8::1]"`}}, "2001:db8::1"},
		"a quoted comma":      {http.Header{Forwarded: {`for=192.0.2.7;by="a,\",b"`}}, "192.0.2.7"},
		"too many":            {http.Header{For: {"6.6.6.6, " + strings.Repeat("10.2.2.2, ", 500) + "10.4.4.4"}}, "10.2.2.2"},
	} {
		if got := ours.Client(peer, header(c.said)); got.String() != c.want {
			t.Errorf("%s: Client() = %s, want %s", name, got, c.want)
		}
	}
}

func TestCompile(t *testing.T) {
	if _, err := Compile([]string{"10.0.0.0/8", "here"}); err == nil || !strings.Contains(err.Error(), "range 2") {
		t.Errorf("Compile() = %v, want the second range named", err)
	}
	if none, err := Compile(nil); err != nil || none.Has(netip.MustParseAddr("10.0.0.1")) {
		t.Errorf("no ranges trust somebody, or %v", err)
	}
	if !trust(t, "10.0.0.0/8").Has(netip.MustParseAddr("::ffff:10.0.0.1")) {
		t.Error("an IPv4 address within IPv6 is not recognised")
	}
}

func TestWhatTheInstanceGets(t *testing.T) {
	forged := http.Header{
		For: {"6.6.6.6", "7.7.7.7"}, Host: {"evil"}, Proto: {"https"}, Port: {"1"}, RealIP: {"6.6.6.6"},
		Forwarded: {"for=6.6.6.6"}, "X-Own": {"1"},
	}
	for name, c := range map[string]struct {
		way  Way
		want http.Header
	}{
		"a stranger": {
			Way{Peer: netip.MustParseAddr("192.0.2.7"), Host: "shop.example"},
			http.Header{For: {"192.0.2.7"}, Host: {"shop.example"}, Proto: {"http"}, Forwarded: {"for=192.0.2.7;host=shop.example;proto=http"}, "X-Own": {"1"}},
		},
		"a stranger by IPv6 and TLS": {
			Way{Peer: netip.MustParseAddr("2001:db8::1"), Host: "shop.example:8443", Secure: true},
			http.Header{For: {"2001:db8::1"}, Host: {"shop.example:8443"}, Proto: {"https"}, Forwarded: {`for="[2001:db8::1]";host="shop.example:8443";proto=https`}, "X-Own": {"1"}},
		},
		"a friend": {
			Way{Peer: netip.MustParseAddr("10.0.0.1"), Host: "inner", Believed: true},
			http.Header{
				For: {"6.6.6.6, 7.7.7.7, 10.0.0.1"}, Host: {"evil"}, Proto: {"https"}, Port: {"1"}, RealIP: {"6.6.6.6"},
				Forwarded: {"for=6.6.6.6, for=10.0.0.1;host=inner;proto=http"}, "X-Own": {"1"},
			},
		},
		"nobody knows": {
			Way{},
			http.Header{For: {"unknown"}, Host: {""}, Proto: {"http"}, Forwarded: {"for=unknown;proto=http"}, "X-Own": {"1"}},
		},
	} {
		got := forged.Clone()
		c.way.Set(got)
		for _, h := range []string{For, Host, Proto, Port, RealIP, Forwarded, "X-Own"} {
			if !slices.Equal(got[h], c.want[h]) {
				t.Errorf("%s: %s = %q, want %q", name, h, got[h], c.want[h])
			}
		}
	}
}

// Both forms write the same, and what an instance reads in it is the peer, last.
func TestBothFormsAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[ -~]{0,20}`)
		said := http.Header{}
		for _, name := range []string{For, Host, Proto, Forwarded} {
			for range rapid.IntRange(0, 2).Draw(t, name) {
				said[name] = append(said[name], strings.TrimSpace(word.Draw(t, "line")))
			}
		}
		w := Way{
			Host: rapid.StringMatching(`[a-z0-9.:"\\-]{1,20}`).Draw(t, "host"), Secure: rapid.Bool().Draw(t, "secure"), Believed: rapid.Bool().Draw(t, "believed"),
			Peer: netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "peer"))),
		}
		lines := w.Append(nil, header(said))
		read, err := textproto.NewReader(bufio.NewReader(strings.NewReader(string(lines) + "\r\n"))).ReadMIMEHeader()
		if err != nil {
			t.Fatalf("%q: %v", lines, err)
		}
		set := said.Clone()
		w.Set(set)
		for _, name := range []string{For, Host, Proto, Forwarded} {
			if strings.TrimSpace(set.Get(name)) != read.Get(name) || len(set[name]) != 1 || len(read[name]) != 1 {
				t.Fatalf("%s is %q in one form and %q in the other", name, set[name], read[name])
			}
		}
		if w.Believed {
			return
		}
		for _, name := range []string{For, Forwarded} {
			one := http.Header{name: set[name]}
			if got := (Trust{}).Client(netip.Addr{}, header(one)); got != w.Peer.Unmap() {
				t.Fatalf("%s: %q is read as %s, want the peer %s", name, one[name], got, w.Peer)
			}
		}
	})
}

// Whatever is said, the caller is the peer, or an address that was said, and it is
// trusted only if every hop behind it is.
func FuzzClient(f *testing.F) {
	f.Add("6.6.6.6, 192.0.2.7, 10.0.0.1", "for=1.2.3.4")
	f.Add("", `for="[2001:db8::1]:80";by="a\"b,c", for=_x`)
	f.Add("[::1]:80,[,],:,::,1.2.3.4:5:6", "")
	f.Add(",,,,", ",;=,\"")
	ours := trust(f, "10.0.0.0/8")
	peer := netip.MustParseAddr("10.9.9.9")
	f.Fuzz(func(t *testing.T, xff, forwarded string) {
		said := http.Header{For: {xff}, Forwarded: {forwarded}}
		if xff == "" {
			delete(said, For)
		}
		got := ours.Client(peer, header(said))
		if !got.IsValid() || got.Zone() != "" || got.Is4In6() {
			t.Fatalf("Client() = %v", got)
		}
		if again := ours.Client(peer, header(said)); again != got {
			t.Fatalf("Client() = %v, then %v", got, again)
		}
		if got == peer || xff == "" {
			return
		}
		found := false
		for e := range strings.SplitSeq(xff, ",") {
			a, ok := parseFor(e)
			found = found || ok && a == got
		}
		if !found {
			t.Fatalf("Client() = %v, which nobody said in %q", got, xff)
		}
	})
}
