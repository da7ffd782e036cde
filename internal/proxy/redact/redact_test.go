package redact

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func pairs(lines ...string) func(func(string, string) bool) {
	return func(yield func(string, string) bool) {
		for _, l := range lines {
			name, value, _ := strings.Cut(l, ": ")
			if !yield(name, value) {
				return
			}
		}
	}
}

func TestHead(t *testing.T) {
	got := Head(pairs(
		"Host: shop.example", "Accept: */*", "Authorization: Bearer s3cret", "Cookie: id=s3cret",
		"X-Api-Key: s3cret", "User-Agent: probe (http://me:s3cret@example/?token=s3cret)", "Content-Type: text/x\x00y",
	))
	want := "Host: shop.example\nAccept: */*\nAuthorization: (13 bytes)\nCookie: (9 bytes)\nX-Api-Key: (6 bytes)\n" +
		"User-Agent: probe (http://(user)@example/?…\nContent-Type: text/x?y"
	if got != want {
		t.Errorf("Head = %q, want %q", got, want)
	}
}

func TestHeadIsBounded(t *testing.T) {
	h := http.Header{}
	for i := range 1000 {
		h.Set(fmt.Sprintf("X-%d", i), "v")
	}
	got := Head(func(yield func(string, string) bool) {
		for name, v := range maps.All(h) {
			if !yield(name, v[0]) {
				return
			}
		}
	})
	if len(got) > MaxHead || !strings.HasSuffix(got, "\n…") {
		t.Errorf("%d bytes that end in %q", len(got), got[len(got)-5:])
	}
	if got := Head(pairs("Accept: " + strings.Repeat("x", 600))); got != "Accept: (600 bytes)" {
		t.Errorf("a long value is shown as %q", got)
	}
}

func TestQuery(t *testing.T) {
	for raw, want := range map[string]string{
		"":                                "",
		"token=s3cret&x=":                 "token&x",
		"s3cret":                          "(6 bytes)",
		"a=1&s3cret&b=2":                  "a&(6 bytes)&b",
		"&&a=1":                           "a",
		"a=s3;b=s3cret":                   "a",
		strings.Repeat("n", 65) + "=v":    "(67 bytes)",
		"a\x01b=1":                        "a?b",
		strings.Repeat("name=v&", 80):     strings.TrimSuffix(strings.Repeat("name&", 51), "&") + "&…",
		"redirect=https://u:s3cret@x/&k=": "redirect&k",
	} {
		if got := string(Query([]byte("?"), raw)); got != "?"+want {
			t.Errorf("Query(%q) = %q, want %q", raw, got, "?"+want)
		}
	}
}

func TestHostAndText(t *testing.T) {
	for in, want := range map[string]string{
		"shop.example:80":     "shop.example:80",
		"me:s3cret@shop:80":   "shop:80",
		"me@x:s3cret@shop:80": "shop:80",
	} {
		if got := Host(in); got != want {
			t.Errorf("Host(%q) = %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"/a/b":                                    "/a/b",
		"/proxy/http://me:s3cret@h/x?y":           "/proxy/http://(user)@h/x?…",
		"get https://me@h?t=s3cret: no route":     "get https://(user)@h?… no route",
		"http://a:s3,c(r);et@b http://c:s3cret@d": "http://(user)@b http://(user)@d",
		"a line\nbreak\x7f\xff":                   "a line?break??",
	} {
		if got := Text(in); got != want {
			t.Errorf("Text(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestError(t *testing.T) {
	for in, want := range map[string]string{
		"dial tcp 127.0.0.1:9401: connect: connection refused": "dial tcp 127.0.0.1:9401: connect: connection refused",
		`malformed MIME header line: "Set-Cookie s3cret"`:      `malformed MIME header line: "…"`,
		`Get "http://me:s3cret@h/?q=s3cret": EOF`:              `Get "…": EOF`,
		`bad "a \" s3cret" and "b"`:                            `bad "…" and "…"`,
		`torn "s3cret`:                                         `torn "…"`,
		"raw `s3cret` here":                                    `raw "…" here`,
	} {
		if got := Error(errors.New(in)); got != want {
			t.Errorf("Error(%q) = %q, want %q", in, got, want)
		}
	}
	if got := Error(nil); got != "" {
		t.Errorf("Error(nil) = %q", got)
	}
}

// Whatever comes in, what goes out is bounded text of one line per header.
func TestOutputIsCleanText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOfN(rapid.Byte(), 0, 700).Draw(t, "s"))
		for what, out := range map[string]string{
			"host": Host(s), "text": Text(s), "error": Error(errors.New(s)), "query": string(Query(nil, s)), "line": Head(pairs("Accept: " + s)),
		} {
			if !utf8.ValidString(out) || len(out) > 4*MaxText {
				t.Fatalf("%s of %q is %q", what, s, out)
			}
			for i := range len(out) {
				if out[i] < 0x20 || out[i] == 0x7f {
					t.Fatalf("%s of %q holds byte %#x", what, s, out[i])
				}
			}
		}
	})
}
