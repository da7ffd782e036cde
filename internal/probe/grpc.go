package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxMessage bounds an answer of the health service: one number and whatever a
// later version adds to it.
const maxMessage = 16 << 10

// askGRPC makes the unary call grpc.health.v1.Health/Check for service ("" is
// the whole server) over HTTP/2 without TLS. Two messages of one field each are
// written by hand here, which is less than a gRPC library to keep up with.
//
// https://github.com/grpc/grpc/blob/master/doc/health-checking.md
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
func askGRPC(ctx context.Context, once *http.Transport, addr, service string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/grpc.health.v1.Health/Check", bytes.NewReader(checkRequest(service)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	req.Header.Set("User-Agent", agent)
	if until, ok := ctx.Deadline(); ok {
		req.Header.Set("Grpc-Timeout", strconv.FormatInt(max(1, time.Until(until).Milliseconds()), 10)+"m")
	}
	res, err := once.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), "application/grpc") {
		return fmt.Errorf("answered %d %q, which is not gRPC", res.StatusCode, res.Header.Get("Content-Type"))
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxMessage+1))
	if err != nil {
		return err
	}
	if len(body) > maxMessage {
		return errMessage
	}
	status := res.Trailer
	if len(res.Header["Grpc-Status"]) > 0 {
		status = res.Header // an answer of trailers only
	}
	if code := status.Get("Grpc-Status"); code != "0" {
		return refusal(code, status.Get("Grpc-Message"), service)
	}
	serving, err := checkResponse(body)
	if err != nil {
		return err
	}
	if serving != 1 {
		return fmt.Errorf("grpc.health.v1 says %s%s", servingStatus(serving), of(service))
	}
	return nil
}

// refusal words a status other than OK.
func refusal(code, message, service string) error {
	switch code {
	case "":
		return errors.New("the answer ended without a gRPC status")
	case "5":
		return fmt.Errorf("grpc.health.v1 does not know%s", of(service))
	case "12":
		return errors.New("the instance has no grpc.health.v1.Health service")
	}
	if said, err := url.PathUnescape(message); err == nil {
		message = said
	}
	return fmt.Errorf("grpc.health.v1 failed with status %.20s: %.200q", code, message)
}

func of(service string) string {
	if service == "" {
		return ""
	}
	return " of " + service
}

func servingStatus(n uint64) string {
	switch n {
	case 0:
		return "UNKNOWN"
	case 2:
		return "NOT_SERVING"
	case 3:
		return "SERVICE_UNKNOWN"
	}
	return "status " + strconv.FormatUint(n, 10)
}

// checkRequest is a HealthCheckRequest (field 1: string service) as one
// uncompressed message: a zero byte, its length in four, and itself.
func checkRequest(service string) []byte {
	var message []byte
	if service != "" {
		message = binary.AppendUvarint([]byte{1<<3 | 2}, uint64(len(service)))
		message = append(message, service...)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

var errMessage = errors.New("grpc.health.v1 answered what is not a HealthCheckResponse")

// checkResponse reads the status of a HealthCheckResponse (field 1: enum) and
// passes over fields it does not know.
func checkResponse(body []byte) (status uint64, err error) {
	if len(body) < 5 || body[0] != 0 || uint64(binary.BigEndian.Uint32(body[1:])) != uint64(len(body)-5) {
		return 0, errMessage
	}
	for rest := body[5:]; len(rest) > 0; {
		tag, n := binary.Uvarint(rest)
		if n <= 0 {
			return 0, errMessage
		}
		rest = rest[n:]
		size := 0
		switch tag & 7 {
		case 0:
			v, n := binary.Uvarint(rest)
			if n <= 0 {
				return 0, errMessage
			}
			if tag>>3 == 1 {
				status = v
			}
			size = n
		case 1:
			size = 8
		case 2:
			length, n := binary.Uvarint(rest)
			if n <= 0 || length > uint64(len(rest)-n) {
				return 0, errMessage
			}
			size = n + int(length)
		case 5:
			size = 4
		default:
			return 0, errMessage
		}
		if size > len(rest) {
			return 0, errMessage
		}
		rest = rest[size:]
	}
	return status, nil
}
