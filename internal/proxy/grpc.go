package proxy

import (
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Codes of gRPC that the data plane gives or looks for
// (https://grpc.github.io/grpc/core/md_doc_statuscodes.html).
const (
	grpcOK                = 0
	grpcUnknown           = 2
	grpcDeadlineExceeded  = 4
	grpcPermissionDenied  = 7
	grpcResourceExhausted = 8
	grpcUnimplemented     = 12
	grpcInternal          = 13
	grpcUnavailable       = 14
	grpcDataLoss          = 15
)

// Headers of gRPC over HTTP/2.
const (
	grpcStatusHeader  = "Grpc-Status"
	grpcMessageHeader = "Grpc-Message"
	grpcTimeoutHeader = "Grpc-Timeout"
)

// grpcSlack is what a call's deadline is exceeded by before the data plane ends
// the call: its caller and its service are to notice first, and to say so.
const grpcSlack = time.Second

// isGRPC says whether a head is one of gRPC, in any encoding of messages.
// gRPC-Web is not: it has its trailers in the body.
func isGRPC(h http.Header) bool {
	rest, ok := strings.CutPrefix(headerLine(h, "Content-Type"), "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

func headerLine(h http.Header, name string) string {
	if all := h[name]; len(all) > 0 {
		return all[0]
	}
	return ""
}

// grpcPatience returns how long a call may wait for the head of its answer,
// which a service sends with its first message. The deadline is the caller's; a
// timeout counts too if the route's own words set one, and default is what
// stands for no timeout of either: a stream may be silent as long as any.
func grpcPatience(h http.Header, timeout, otherwise time.Duration) time.Duration {
	limit := otherwise
	if timeout > 0 {
		limit = timeout
	}
	if d, ok := grpcTimeout(headerLine(h, grpcTimeoutHeader)); ok {
		limit = min(limit, d+grpcSlack)
	}
	return limit
}

// grpcTimeout reads at most eight digits and a unit.
func grpcTimeout(s string) (time.Duration, bool) {
	if len(s) < 2 || len(s) > 9 {
		return 0, false
	}
	var unit time.Duration
	switch s[len(s)-1] {
	case 'H':
		unit = time.Hour
	case 'M':
		unit = time.Minute
	case 'S':
		unit = time.Second
	case 'm':
		unit = time.Millisecond
	case 'u':
		unit = time.Microsecond
	case 'n':
		unit = time.Nanosecond
	default:
		return 0, false
	}
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
	if err != nil {
		return 0, false
	}
	return min(time.Duration(n), 1<<62/unit) * unit, true
}

// grpcCode returns the status of a gRPC answer that has ended, which is in its
// trailers or, if there is no message, in its head; unknown if it is in neither.
func grpcCode(head, trailer http.Header) (code int, message string) {
	from := trailer
	if headerLine(from, grpcStatusHeader) == "" {
		from = head
	}
	code, err := strconv.Atoi(headerLine(from, grpcStatusHeader))
	if err != nil || code < 0 {
		return grpcUnknown, "the answer ended without a status"
	}
	return code, headerLine(from, grpcMessageHeader)
}

// statusOfGRPC returns the HTTP status that a code counts as: a fault of the
// service (500), of the caller (400), or none. A service that does not know a
// method was asked for what it never promised.
func statusOfGRPC(code int) int {
	switch code {
	case grpcOK:
		return http.StatusOK
	case grpcUnknown, grpcInternal, grpcDataLoss:
		return http.StatusInternalServerError
	case grpcDeadlineExceeded:
		return http.StatusGatewayTimeout
	case grpcUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusBadRequest
}

// grpc returns the code that says to a gRPC caller what p says.
func (p problem) grpc() int {
	switch p.Status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return grpcUnimplemented
	case http.StatusForbidden:
		return grpcPermissionDenied
	case http.StatusTooManyRequests:
		return grpcResourceExhausted
	case http.StatusGatewayTimeout:
		return grpcDeadlineExceeded
	case http.StatusInternalServerError:
		return grpcInternal
	}
	return grpcUnavailable
}

// answer writes p as whoever asked understands it.
func (p problem) answer(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor < 2 || !isGRPC(r.Header) {
		p.write(w)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	h.Set(grpcStatusHeader, strconv.Itoa(p.grpc()))
	h.Set(grpcMessageHeader, grpcText(p.Code+": "+p.Detail))
	if after := p.retryAfter(); after != "" {
		h.Set("Retry-After", after)
	}
	w.WriteHeader(http.StatusOK)
}

// grpcText encodes a message: printable ASCII but for the percent sign stays.
func grpcText(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c >= ' ' && c < utf8.RuneSelf-1 && c != '%' {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}
