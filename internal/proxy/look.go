package proxy

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/slipway-cd/slipway/internal/proxy/field"
	"github.com/slipway-cd/slipway/internal/proxy/upstream"
	"github.com/slipway-cd/slipway/internal/proxy/wire"
)

// failedByField is what an answer counts as whose body says that it failed: as one
// with this status, however it is passed on.
const failedByField = http.StatusInternalServerError

// lookInto returns a scanner for the answer's body, if its route names a field and
// it may have one. A body that is encoded is passed on unread, and counts by its
// status.
func (r *route) lookInto(status int, contentType string, encoded bool) *field.Scanner {
	if r.field == nil || status < 200 || status > 299 || encoded || !field.JSON(contentType) {
		return nil
	}
	return field.New(r.field)
}

// encodes says whether a body is not as its content type says, by a line of
// Content-Encoding.
func encodes(line string) bool { return line != "" && !strings.EqualFold(line, "identity") }

// lookIntoHeader is lookInto for a head of net/http.
func (r *route) lookIntoHeader(status int, h http.Header) *field.Scanner {
	return r.lookInto(status, h.Get("Content-Type"), slices.ContainsFunc(h["Content-Encoding"], encodes))
}

// lookIntoFields is lookInto for a head that wire has read.
func (r *route) lookIntoFields(res *wire.Response) *field.Scanner {
	if r.field == nil {
		return nil
	}
	encoded := slices.ContainsFunc(res.Fields, func(f wire.Field) bool {
		return len(f.Name) == len("content-encoding") && wire.Is(f.Name, "content-encoding") && encodes(text(f.Value))
	})
	return r.lookInto(res.Status, text(res.First(wire.KindContentType)), encoded)
}

// fieldError is why a request failed whose answer says so.
func (r *route) fieldError() error {
	return errors.New("the answer's field " + r.spec.ErrorField + " tells of a failure")
}

// passLooking passes a body on as far as it is looked at. The rest goes its usual way.
func (x *exchange) passLooking(body *upstream.Body) (total int64, err error) {
	if x.look.Stopped() {
		return 0, nil
	}
	buf := x.e.buffers.pool.Get().(*[]byte)
	defer x.e.buffers.pool.Put(buf)
	for !x.look.Stopped() && !body.Done() {
		n, err := x.passPiece(body, *buf)
		total += n
		if err != nil {
			return total, err
		}
	}
	return total, nil
}
