package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/slipway-cd/slipway/internal/artifact"
)

// Bounds of what is read.
const (
	maxText   = 1 << 20           // bytes of a JSON or YAML body
	maxBundle = artifact.MaxBytes // of an uploaded bundle
	textTime  = 15 * time.Second  // for a JSON or YAML body to arrive whole
	stallTime = 30 * time.Second  // for the next bytes of an upload
)

// bodyKind says what a route reads.
type bodyKind string

const (
	noBody   bodyKind = ""
	jsonBody bodyKind = "application/json"
	yamlBody bodyKind = "application/yaml"
	tarBody  bodyKind = "application/x-tar"
)

// takes reports whether a body of this media type may be read as k. A browser's
// form, which needs no permission to be sent across sites, has none of these types.
func (k bodyKind) takes(contentType string, empty bool) bool {
	if contentType == "" {
		return empty || k != jsonBody
	}
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || params["charset"] != "" && !strings.EqualFold(params["charset"], "utf-8") {
		return false
	}
	switch k {
	case jsonBody:
		return media == string(jsonBody)
	case yamlBody:
		return media == string(yamlBody) || media == "text/yaml" || media == "application/x-yaml" || media == "text/x-yaml"
	case tarBody:
		return media == string(tarBody) || media == "application/octet-stream"
	case noBody:
	}
	return true
}

// takeBody checks the form of a body. A text is read whole, within its bound
// and its time, and returned; the handler can read it again. A bundle is left
// to be read as it comes.
func takeBody(w http.ResponseWriter, r *http.Request, k bodyKind) ([]byte, *problem) {
	if k == noBody {
		return nil, nil
	}
	if ct := r.Header.Get("Content-Type"); !k.takes(ct, r.ContentLength == 0) {
		p := newProblem(codeMediaType, fmt.Sprintf("this route reads %s, not %q", k, ct))
		p.Hint = "set Content-Type: " + string(k)
		return nil, p
	}
	if enc := r.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return nil, newProblem(codeMediaType, "a body that is encoded as "+enc+" is not read here")
	}
	bound := int64(maxText)
	if k == tarBody {
		bound = maxBundle
	}
	if r.ContentLength > bound {
		w.Header().Set("Connection", "close") // what it still sends is not worth reading
		return nil, unread(&http.MaxBytesError{Limit: bound})
	}
	rc := http.NewResponseController(w)
	if k == tarBody {
		_ = rc.SetWriteDeadline(time.Time{}) // the answer comes after the upload, however long that takes
		r.Body = &upload{body: http.MaxBytesReader(w, r.Body, bound), conn: rc}
		return nil, nil
	}
	_ = rc.SetReadDeadline(time.Now().Add(textTime)) // a recorder in a test has none
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bound))
	if err != nil {
		w.Header().Set("Connection", "close") // the deadline stays: nobody waits for the rest either
		return nil, unread(err)
	}
	_ = rc.SetReadDeadline(time.Time{})
	if !utf8.Valid(text) {
		return nil, newProblem(codeMalformed, "the body is not UTF-8 text")
	}
	r.Body = io.NopCloser(bytes.NewReader(text))
	r.Header.Set("Content-Type", string(k)) // in the one spelling that huma knows
	return text, nil
}

// unread says why a body could not be read.
func unread(err error) *problem {
	if big, ok := errors.AsType[*http.MaxBytesError](err); ok {
		p := newProblem(codeTooLarge, fmt.Sprintf("the body is larger than %d bytes", big.Limit))
		if big.Limit == maxBundle {
			p.Hint = "leave out what the service does not need at run time"
		}
		return p
	}
	if slow, ok := errors.AsType[net.Error](err); ok && slow.Timeout() {
		return newProblem(codeSlow, "the body did not come in time")
	}
	return newProblem(codeMalformed, "the body breaks off: "+err.Error())
}

// upload reads a bundle for as long as it keeps coming, and remembers why it ended.
type upload struct {
	body io.ReadCloser
	conn *http.ResponseController
	err  error
}

func (u *upload) Read(p []byte) (int, error) {
	_ = u.conn.SetReadDeadline(time.Now().Add(stallTime))
	n, err := u.body.Read(p)
	switch {
	case errors.Is(err, io.EOF):
		_ = u.conn.SetReadDeadline(time.Time{}) // keeping it may take long, and is no fault of the sender
	case err != nil:
		u.err = err
	}
	return n, err
}

func (u *upload) Close() error { return u.body.Close() }
