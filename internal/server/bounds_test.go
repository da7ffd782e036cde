package server

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// A body in a form that a browser may send without asking, or that is not what
// the route reads, is refused before anyone looks into it.
func TestMediaTypes(t *testing.T) {
	h := build(t).shop()
	const good = `{"service":"cart","version":"v1","dry_run":true}`
	for _, ct := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/yaml", "application/json; charset=latin1", "application/json; charset", "application/json/x", "text/json"} {
		p := h.call(ask{method: "POST", path: "/changes", contentType: ct, body: good}).problem(http.StatusUnsupportedMediaType, codeMediaType)
		if !strings.Contains(p.Hint, "application/json") {
			t.Errorf("%q: hint = %q, want the right type", ct, p.Hint)
		}
	}
	for _, ct := range []string{"application/json", "application/json; charset=utf-8", "application/json; charset=UTF-8", "Application/JSON"} {
		h.call(ask{method: "POST", path: "/changes", contentType: ct, body: good}).problem(http.StatusNotFound, delivery.CodeUnknownVersion)
	}
	h.call(ask{method: "POST", path: "/changes", contentType: "application/json", body: good, header: map[string]string{"Content-Encoding": "gzip"}}).problem(http.StatusUnsupportedMediaType, codeMediaType)
	h.call(ask{method: "PUT", path: "/project?dir=/srv", contentType: "application/json", body: shopYAML}).problem(http.StatusUnsupportedMediaType, codeMediaType)
	h.call(ask{method: "PUT", path: "/project?dir=/srv", contentType: "text/yaml", body: shopYAML}).want(http.StatusOK)
	h.call(ask{method: "POST", path: "/bundles", contentType: "multipart/form-data; boundary=x", body: "x"}).problem(http.StatusUnsupportedMediaType, codeMediaType)
	h.call(ask{method: "POST", path: "/services/cart/abort"}).problem(http.StatusConflict, delivery.CodeNotInFlight) // nothing is said, so nothing has a form
}

// Bodies that cannot be read say so; none of them is a fault of the server.
func TestBrokenBodies(t *testing.T) {
	h := build(t).shop()
	for _, body := range []string{"{", "[]", `"x"`, "null", `{"service":}`, "{}x", strings.Repeat("[", 100_000), "\xff\xfe", `{"service":"cart"}{"service":"cart"}`} {
		r := h.call(ask{method: "POST", path: "/changes", contentType: "application/json", body: body})
		if r.Status != http.StatusBadRequest && r.Status != http.StatusUnprocessableEntity {
			t.Errorf("%.20q = %d %s, want 400 or 422", body, r.Status, r.Body)
		}
	}
	h.call(ask{method: "POST", path: "/changes", contentType: "application/json", body: `{"service":"` + strings.Repeat("x", maxText) + `"}`}).problem(http.StatusRequestEntityTooLarge, codeTooLarge)
	h.call(ask{method: "PUT", path: "/project?dir=/srv", contentType: "application/yaml", body: strings.Repeat("# x\n", maxText/3)}).problem(http.StatusRequestEntityTooLarge, codeTooLarge)
	fits := `{"service":"cart","version":"v9","reason":"` + strings.Repeat(" ", maxText-1000) + `"}`
	h.call(ask{method: "POST", path: "/changes", contentType: "application/json", body: fits}).problem(http.StatusUnprocessableEntity, codeInvalid)
	if p := unread(os.ErrDeadlineExceeded); p.Status != http.StatusRequestTimeout {
		t.Errorf("unread(timeout) = %+v, want 408", p)
	}
	if p := unread(io.ErrUnexpectedEOF); p.Status != http.StatusBadRequest {
		t.Errorf("unread(torn) = %+v, want 400", p)
	}
}

// An upload that promises more than a bundle may hold is cut off, one that
// leads outside is refused, and one that is torn leaves nothing.
func TestBundles(t *testing.T) {
	h := build(t)
	d := h.bundle("hello")
	if again := h.bundle("hello"); again != d {
		t.Errorf("the same content is %s, then %s", d, again)
	}
	h.call(ask{method: "HEAD", path: "/bundles/" + string(d)}).want(http.StatusNoContent)
	h.get("/bundles/" + string(d)).want(http.StatusNoContent)
	h.call(ask{method: "HEAD", path: "/bundles/" + string(delivery.DigestOf([]byte("x")))}).want(http.StatusNotFound)
	path, ok := h.bundles.Path(d)
	if got, err := os.ReadFile(path + "/main"); !ok || err != nil || string(got) != "hello" {
		t.Errorf("the bundle holds %q, %v", got, err)
	}
	for name, entry := range map[string]tar.Header{
		"outside":  {Name: "../x", Typeflag: tar.TypeReg, Mode: 0o644, Size: 1},
		"absolute": {Name: "/x", Typeflag: tar.TypeReg, Mode: 0o644, Size: 1},
		"a link":   {Name: "x", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
		"huge":     {Name: "x", Typeflag: tar.TypeReg, Mode: 0o644, Size: maxBundle + 1},
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := w.WriteHeader(&entry); err != nil {
			t.Fatal(err)
		}
		b.WriteString(strings.Repeat("\x00", 2048))
		h.call(ask{method: "POST", path: "/bundles", contentType: "application/x-tar", body: b.String()}).problem(http.StatusUnprocessableEntity, codeInvalid)
		t.Log(name)
	}
	h.call(ask{method: "POST", path: "/bundles", contentType: "application/x-tar", body: "not a tar"}).problem(http.StatusUnprocessableEntity, codeInvalid)
	h.call(ask{method: "POST", path: "/bundles"}).problem(http.StatusUnprocessableEntity, codeInvalid)
	all, err := h.bundles.List(t.Context())
	if err != nil || len(all) != 1 {
		t.Errorf("bundles = %v, %v; want only the good one", all, err)
	}
}

// A declared length beyond the bound is refused while the body is still coming.
func TestOversizedUpload(t *testing.T) {
	h := build(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	head := "POST " + Base + "/bundles HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + testToken + "\r\nContent-Type: application/x-tar\r\nContent-Length: " + fmt.Sprint(maxBundle+1) + "\r\n\r\n"
	if _, err := io.WriteString(conn, head); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("status = %d, want 413 before the body", resp.StatusCode)
	}
}

// The name of a person goes into the ledger, and nothing else that is sent as one.
func TestWhoAsked(t *testing.T) {
	h := build(t).shop()
	for sent, want := range map[string]string{"ann": "ann", "Zoë Ångström": "Zoë Ångström", "": "api", strings.Repeat("x", 65): "api", "a\tb": "api", "\x80": "api"} {
		a := ask{method: "POST", path: "/holds", contentType: "application/json", body: `{"service":"cart","env":"prod","why":"test"}`}
		if sent != "" {
			a.header = map[string]string{"Slipway-User": sent}
		}
		var hold delivery.Hold
		h.call(a).want(http.StatusCreated).into(&hold)
		if hold.By != want {
			t.Errorf("by = %q for %q, want %q", hold.By, sent, want)
		}
		h.post("/holds/lift", control.Lift{Service: "cart", Env: "prod"}).want(http.StatusOK)
	}
}

// An address that others can reach needs TLS or an explicit word.
func TestListen(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0", "example.com:80"} {
		l, err := Listen(addr, ListenOptions{})
		if f, ok := errors.AsType[*delivery.FieldError](err); !ok || f.Field != "listen" || !strings.Contains(f.Next, "127.0.0.1") {
			t.Errorf("Listen(%q) = %v, %v; want a refusal with the cure", addr, l, err)
		}
	}
	for _, addr := range []string{"nonsense", "127.0.0.1", ""} {
		if _, err := Listen(addr, ListenOptions{}); !errors.Is(err, delivery.ErrInvalid) {
			t.Errorf("Listen(%q) = %v, want invalid", addr, err)
		}
	}
	for addr, o := range map[string]ListenOptions{"127.0.0.1:0": {}, "localhost:0": {}, "0.0.0.0:0": {AllowRemote: true}} {
		l, err := Listen(addr, o)
		if err != nil {
			t.Fatalf("Listen(%q) = %v", addr, err)
		}
		if _, err := Listen(l.Addr().String(), o); !errors.Is(err, delivery.ErrInvalid) || !strings.Contains(err.Error(), "in use") {
			t.Errorf("Listen on a port in use = %v, want it said", err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := Listen("127.0.0.1:0", ListenOptions{CertFile: "x"}); !errors.Is(err, delivery.ErrInvalid) {
		t.Errorf("a certificate without a key = %v, want invalid", err)
	}
	if _, err := Listen("127.0.0.1:0", ListenOptions{CertFile: "/nowhere", KeyFile: "/nowhere"}); !errors.Is(err, delivery.ErrInvalid) {
		t.Errorf("a certificate that is not there = %v, want invalid", err)
	}
}
