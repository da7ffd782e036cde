package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// stricter are the rules by which a request is refused that http.ReadRequest
// takes, each on purpose. A reason that is not here must be net/http's too.
var stricter = []string{
	whyBareLF, whyFold, whySpaceColon, // net/http takes them, as old servers do
	whyBareCR, whyControl, // http.Server looks at values after the parser
	whyLengthTwice, whyLengthNumber, // equal lengths, and lengths in quotes or lists, are one to net/http
	whyCodingOld, whyBothLengths, // net/http ignores one of the two
	whyHostMissing, whyHostTwice, whyHost, // http.Server looks after the parser
	whyForm, whyFragment, whyAsterisk, whyAuthority, // a path or a URI of ours, nothing else
	whyVersion,                    // HTTP/1.2 to 9.9
	whyManyFields, whyManyOptions, // net/http counts bytes only
	whyTarget, // net/http takes some that are no URI's
}

// theirs says whether net/http refuses a request that is no danger to anybody: a
// Trailer that names what no trailer may be, which we drop.
func theirs(err error) bool { return strings.Contains(err.Error(), "bad trailer key") }

func FuzzRequest(f *testing.F) {
	f.Add([]byte(typical))
	for _, c := range telling() {
		f.Add([]byte(c.head + "\r\n"))
	}
	for head := range broken() {
		f.Add([]byte(head + "\r\n"))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Request
		n, err := r.Parse(b, Limits{})
		steady(t, b, n, err, func(p []byte) (int, error) {
			var r Request
			return r.Parse(p, Limits{})
		})
		switch {
		case n > 0:
			sameRequest(t, &r, b[r.Lead:n])
		case err != nil:
			refusedRequest(t, b, err)
		}
	})
}

// steady checks that the verdict on b, and no other, comes with enough of b.
func steady(t *testing.T, b []byte, n int, err error, parse func([]byte) (int, error)) {
	t.Helper()
	known := false
	step := max(1, len(b)/300)
	for i := 0; i <= len(b); i += step {
		n2, err2 := parse(b[:i:i])
		if n2 == 0 && err2 == nil {
			if known {
				t.Fatalf("%q is unknown again at %d", b, i)
			}
			continue
		}
		known = true
		if n2 != n || fmt.Sprint(err2) != fmt.Sprint(err) {
			t.Fatalf("%q: %d, %v at %d, but %d, %v in the end", b, n2, err2, i, n, err)
		}
	}
}

func sameRequest(t *testing.T, r *Request, head []byte) {
	t.Helper()
	q, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		if theirs(err) {
			return
		}
		t.Fatalf("taken, but net/http says %v: %q", err, head)
	}
	length := q.ContentLength
	if slices.Equal(q.TransferEncoding, []string{"chunked"}) {
		length = Chunked
	}
	if q.Method != string(r.Method) || q.RequestURI != string(r.Target) || q.Host != string(r.Host) ||
		q.ProtoMinor != r.Minor || length != r.Length || q.Close != r.Close {
		t.Fatalf("net/http reads %s %q of %q, 1.%d, length %d, close %v; we %s %q of %q, 1.%d, length %d, close %v: %q",
			q.Method, q.RequestURI, q.Host, q.ProtoMinor, length, q.Close,
			r.Method, r.Target, r.Host, r.Minor, r.Length, r.Close, head)
	}
	if r.Unusual&AuthorityForm == 0 {
		if got := string(r.AppendPath(nil)); got != q.URL.Path && (got != "/" || q.URL.Path != "") || string(r.Query) != q.URL.RawQuery {
			t.Fatalf("net/http reads path %q query %q, we %q %q: %q", q.URL.Path, q.URL.RawQuery, got, r.Query, head)
		}
	}
	sameFields(t, r.Fields, q.Header, head, "Host", "Transfer-Encoding", "Trailer")
}

// sameFields compares fields but for those that net/http keeps elsewhere, and for
// what it adds.
func sameFields(t *testing.T, ours []Field, theirs http.Header, head []byte, but ...string) {
	t.Helper()
	got := http.Header{}
	for _, f := range ours {
		name := textproto.CanonicalMIMEHeaderKey(string(f.Name))
		got[name] = append(got[name], string(f.Value))
	}
	want := maps.Clone(theirs)
	if slices.Equal(got["Pragma"], want["Pragma"]) && len(got["Pragma"]) > 0 && got["Cache-Control"] == nil {
		delete(want, "Cache-Control")
	}
	for _, name := range but {
		delete(got, name)
		delete(want, name)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("net/http reads %q, we %q: %q", want, got, head)
	}
}

func refusedRequest(t *testing.T, b []byte, err error) {
	t.Helper()
	var bad *Error
	if !errors.As(err, &bad) || bad.Status < 400 || bad.Status > 505 || bad.Reason == "" {
		t.Fatalf("refused with %#v: %q", err, b)
	}
	if slices.Contains(stricter, bad.Reason) {
		return
	}
	if q, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b))); err == nil {
		t.Fatalf("net/http takes %s %q, we refuse: %s: %q", q.Method, q.RequestURI, bad.Reason, b)
	}
}

func FuzzResponse(f *testing.F) {
	f.Add([]byte(typicalAnswer), false)
	for _, c := range answers() {
		f.Add([]byte(c.head+"hello"), c.method == "HEAD")
	}
	for head := range brokenAnswers() {
		f.Add([]byte(head+"\r\n"), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, head bool) {
		method := "GET"
		if head {
			method = "HEAD"
		}
		var r Response
		n, err := r.Parse(b, method, Limits{})
		steady(t, b, n, err, func(p []byte) (int, error) {
			var r Response
			return r.Parse(p, method, Limits{})
		})
		switch {
		case n > 0:
			sameResponse(t, &r, b, n, method)
		case err != nil:
			refusedResponse(t, b, method, err)
		}
	})
}

func sameResponse(t *testing.T, r *Response, b []byte, n int, method string) {
	t.Helper()
	q, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), &http.Request{Method: method})
	if err != nil {
		if theirs(err) {
			return
		}
		t.Fatalf("taken, but net/http says %v: %q", err, b[:n])
	}
	defer func() { _ = q.Body.Close() }()
	if q.StatusCode != r.Status || q.ProtoMinor != r.Minor || strings.TrimLeft(q.Status[3:], " ") != strings.TrimLeft(string(r.Reason), " ") {
		t.Fatalf("net/http reads %q, we %d %q: %q", q.Status, r.Status, r.Reason, b[:n])
	}
	sameFields(t, r.Fields, q.Header, b[:n], "Transfer-Encoding", "Trailer", "Connection")
	got, ok := bodyOf(b[n:], r.Length)
	want, err := io.ReadAll(q.Body)
	if ok && (err != nil || !bytes.Equal(got, want)) {
		t.Fatalf("net/http reads body %q, %v, we %q: %q", want, err, got, b)
	}
	if !ok && err == nil && r.Length != Chunked { // of chunks we refuse more, see FuzzChunks
		t.Fatalf("net/http reads body %q, we none: %q", want, b)
	}
}

// bodyOf reads a body of a length as Head has it, if it is whole and sound.
func bodyOf(b []byte, length int64) ([]byte, bool) {
	switch {
	case length == UntilClose:
		return b, true
	case length == Chunked:
		var c Chunks
		data, _, err := decode(&c, b, len(b))
		return data, err == nil && c.Done()
	case length > int64(len(b)):
		return nil, false
	}
	return b[:length], true
}

// stricterAnswers is to http.ReadResponse what stricter is to http.ReadRequest.
var stricterAnswers = append([]string{
	whyStatusLine, // net/http takes a status below 100, and HTTP/3.1
	whyCoding,     // net/http ignores it where there is no body
}, stricter...)

func refusedResponse(t *testing.T, b []byte, method string, err error) {
	t.Helper()
	var bad *Error
	if !errors.As(err, &bad) || bad.Status != badGateway {
		t.Fatalf("refused with %#v: %q", err, b)
	}
	if slices.Contains(stricterAnswers, bad.Reason) {
		return
	}
	q, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), &http.Request{Method: method})
	if err == nil {
		_ = q.Body.Close()
		t.Fatalf("net/http takes %q, we refuse: %s: %q", q.Status, bad.Reason, b)
	}
}

func FuzzChunks(f *testing.F) {
	f.Add([]byte("3;x=y\r\nabc\r\n0\r\nX: y\r\n\r\nGET"), uint8(1))
	for body := range brokenChunks() {
		f.Add([]byte(body), uint8(6))
	}
	f.Fuzz(func(t *testing.T, b []byte, piece uint8) {
		var whole, parts Chunks
		data, rest, err := decode(&whole, b, len(b))
		data2, rest2, err2 := decode(&parts, b, 1+int(piece))
		if !bytes.Equal(data, data2) || rest != rest2 || fmt.Sprint(err) != fmt.Sprint(err2) || whole.Done() != parts.Done() ||
			!reflect.DeepEqual(whole.Trailers(), parts.Trailers()) {
			t.Fatalf("whole: %q, rest %d, %v; by %d: %q, rest %d, %v: %q", data, rest, err, 1+int(piece), data2, rest2, err2, b)
		}
		if err != nil || !whole.Done() {
			return
		}
		src := bufio.NewReader(bytes.NewReader(b))
		want, err := io.ReadAll(httputil.NewChunkedReader(src))
		if err != nil || !bytes.Equal(data, want) {
			t.Fatalf("net/http reads %q, %v, we %q: %q", want, err, data, b)
		}
		for _, f := range whole.Trailers() {
			if ForbiddenTrailer(f.Name) {
				t.Fatalf("the trailer has %q: %q", f.Name, b)
			}
		}
		again := AppendLast(AppendChunk(nil, data), whole.Trailers())
		var c Chunks
		data2, rest, err = decode(&c, again, len(again))
		if err != nil || rest != 0 || !c.Done() || !bytes.Equal(data, data2) || len(c.Trailers()) != len(whole.Trailers()) {
			t.Fatalf("written and read again: %q, rest %d, %v, want %q", data2, rest, err, data)
		}
	})
}
