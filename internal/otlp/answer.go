package otlp

import (
	"encoding/json"
	"net/http"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// answer says that a request was taken, and what of it was not. Its messages are
// ExportMetricsServiceResponse and ExportTraceServiceResponse, which differ in the
// name of one field only.
func answer(w http.ResponseWriter, f form, path string, t taken) {
	if f == formJSON {
		doc := map[string]any{}
		if t.refused > 0 {
			name := "rejectedDataPoints"
			if path == "/v1/traces" {
				name = "rejectedSpans"
			}
			doc["partialSuccess"] = map[string]string{name: strconv.FormatInt(t.refused, 10), "errorMessage": t.why}
		}
		write(w, f, http.StatusOK, asJSON(doc))
		return
	}
	var body []byte
	if t.refused > 0 {
		var part []byte
		part = protowire.AppendTag(part, 1, protowire.VarintType)
		part = protowire.AppendVarint(part, uint64(t.refused))
		part = protowire.AppendTag(part, 2, protowire.BytesType)
		part = protowire.AppendString(part, t.why)
		body = protowire.AppendTag(body, 1, protowire.BytesType)
		body = protowire.AppendBytes(body, part)
	}
	write(w, f, http.StatusOK, body)
}

// answerError says why a request was not taken, as a google.rpc.Status of which
// only the message is set, or as text to whom the request's form is not known.
func answerError(w http.ResponseWriter, f form, status int, why string) {
	switch f {
	case formJSON:
		write(w, f, status, asJSON(map[string]string{"message": why}))
	case formProto:
		body := protowire.AppendTag(nil, 2, protowire.BytesType)
		write(w, f, status, protowire.AppendString(body, why))
	case formNone:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(why + "\n")) // who is gone reads nothing
	}
}

func write(w http.ResponseWriter, f form, status int, body []byte) {
	kind := "application/x-protobuf"
	if f == formJSON {
		kind = "application/json"
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_, _ = w.Write(body) // who is gone reads nothing
}

func asJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return []byte("{}") // texts and maps of texts always can be written
	}
	return b
}
