package otlp

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// maxDepth is how deep messages may stand in each other. Values may hold values.
const maxDepth = 32

// decode reads a body into a message. What it would unfold to is bounded before:
// two bytes may stand for a message of a hundred.
func decode(f form, body []byte, into proto.Message) error {
	if f == formJSON {
		if n := bytes.Count(body, []byte{'{'}); n > maxFields {
			return fmt.Errorf("there are more than %d objects in the request; send smaller batches", maxFields)
		}
		o := protojson.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: maxDepth}
		if err := o.Unmarshal(body, into); err != nil {
			return fmt.Errorf("the JSON cannot be read: %w", err)
		}
		return nil
	}
	if n := fields(body, 0); n > maxFields {
		return fmt.Errorf("there are more than %d fields in the request; send smaller batches", maxFields)
	}
	if err := (proto.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: maxDepth}).Unmarshal(body, into); err != nil {
		return errors.New("the protobuf cannot be read")
	}
	return nil
}

// fields counts the fields of a message and of whatever in it could be a message,
// which is at least as many as there are. It stops where there are too many.
func fields(b []byte, depth int) int {
	n := 0
	for len(b) > 0 && n <= maxFields {
		_, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return n
		}
		b = b[size:]
		size = protowire.ConsumeFieldValue(1, kind, b)
		if size < 0 {
			return n
		}
		n++
		if kind == protowire.BytesType && depth < 8 {
			inner, _ := protowire.ConsumeBytes(b)
			n += fields(inner, depth+1)
		}
		b = b[size:]
	}
	return n
}

// identifier returns a trace's or span's ID in hex. JSON has them in hex where the
// rules of protobuf would have base64, so what was read as that is put back first.
func identifier(b []byte, f form, size int) (string, bool) {
	if f == formJSON && len(b) > 0 {
		raw, err := hex.DecodeString(base64.StdEncoding.EncodeToString(b))
		if err != nil {
			return "", false
		}
		b = raw
	}
	if len(b) != size || len(bytes.Trim(b, "\x00")) == 0 {
		return "", false
	}
	return hex.EncodeToString(b), true
}
