package otlp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// taken is what is in the queue, as OpenTelemetry's own code reads it.
func taken(t interface{ Fatal(...any) }, e *Records) []*logs.LogRecord {
	var all []*Record
	for len(e.queue) > 0 {
		all = append(all, <-e.queue)
	}
	var doc logs.LogsData // on the wire the same as an ExportLogsServiceRequest
	if err := (proto.UnmarshalOptions{}).Unmarshal(request(nil, e.from, all), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.ProtoReflect().GetUnknown()) > 0 || len(doc.ResourceLogs) != 1 || len(doc.ResourceLogs[0].ScopeLogs) != 1 {
		t.Fatal("not one resource with one scope:", doc.String())
	}
	in := doc.ResourceLogs[0]
	if in.Resource.Attributes[0].Value.GetStringValue() != e.from.Service || in.ScopeLogs[0].Scope.Name != e.from.Scope || in.SchemaUrl != schema {
		t.Fatal("of somebody else:", in.String())
	}
	return in.ScopeLogs[0].LogRecords
}

// attrsOf are the attributes of a record, numbers with a # before them.
func attrsOf(t interface{ Errorf(string, ...any) }, r *logs.LogRecord) map[string]string {
	out := map[string]string{}
	for _, a := range r.Attributes {
		if _, twice := out[a.Key]; twice {
			t.Errorf("attribute %s comes twice", a.Key)
		}
		out[a.Key] = a.Value.GetStringValue()
		if out[a.Key] == "" {
			out[a.Key] = fmt.Sprint("#", a.Value.GetIntValue())
		}
	}
	return out
}

func newTee(t interface{ Helper() }) (*slog.Logger, *Records) {
	t.Helper()
	e := NewRecords(plane, quiet)
	e.To("http://127.0.0.1:1")
	return slog.New(Tee(slog.NewJSONHandler(io.Discard, nil), e)), e //nolint:sloglint // DiscardHandler is enabled for nothing
}

func TestLinesAreWhatOpenTelemetryReads(t *testing.T) {
	log, e := newTee(t)
	began := time.Now()
	log.Debug("below the level of the log")
	log.Info("rollout moved", "change", 7, "why", "", "none", 0, "wide", uint64(1<<63), "share", 0.25, "bad", true, "took", 1500*time.Millisecond,
		"error", errors.New("refused"), "at", time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC), "trace_id", "0af7651916cd43dd8448eb211c80319c",
		"nothing", nil, slog.Group("to", "env", "prod", slog.Group("at", "step", 2)), slog.Group("", "inline", "yes"), "change", 8)
	log.Warn("torn \xff", "trace_id", "not hex")
	log.With("service", "shop").WithGroup("judge").With("metric", "errors").Error("lost", "service", "cart")
	log.Log(t.Context(), slog.Level(40), strings.Repeat("é", maxText)) //nolint:sloglint // a message of somebody's

	got := taken(t, e)
	if len(got) != 4 {
		t.Fatalf("%d records, want 4", len(got))
	}
	want := map[string]string{
		"change": "#8", "none": "#0", "wide": "9223372036854775808", "share": "0.25", "bad": "true", "took": "1.5s", "error": "refused", "at": "2026-11-23T09:30:00Z",
		"to.env": "prod", "to.at.step": "#2", "inline": "yes",
	}
	first := got[0]
	if a := attrsOf(t, first); !maps.Equal(a, want) {
		t.Errorf("attributes\n%v, want\n%v", a, want)
	}
	at := time.Unix(0, int64(first.TimeUnixNano))
	if at.Before(began) || time.Since(at) < 0 || first.ObservedTimeUnixNano != first.TimeUnixNano {
		t.Errorf("written at %s and seen at %d", at, first.ObservedTimeUnixNano)
	}
	if first.Body.GetStringValue() != "rollout moved" || first.SeverityNumber != logs.SeverityNumber_SEVERITY_NUMBER_INFO || first.SeverityText != "INFO" || hex.EncodeToString(first.TraceId) != "0af7651916cd43dd8448eb211c80319c" {
		t.Errorf("first = %v", first)
	}
	if r := got[1]; r.Body.GetStringValue() != "torn \ufffd" || r.SeverityNumber != logs.SeverityNumber_SEVERITY_NUMBER_WARN || r.TraceId != nil || attrsOf(t, r)["trace_id"] != "not hex" {
		t.Errorf("second = %v", r)
	}
	if r := got[2]; r.SeverityNumber != logs.SeverityNumber_SEVERITY_NUMBER_ERROR || !maps.Equal(attrsOf(t, r), map[string]string{"service": "shop", "judge.metric": "errors", "judge.service": "cart"}) {
		t.Errorf("third = %v", r)
	}
	if r := got[3]; r.SeverityNumber != logs.SeverityNumber_SEVERITY_NUMBER_FATAL4 || !strings.HasSuffix(r.Body.GetStringValue(), fmt.Sprintf("é… (%d bytes more)", maxText)) {
		t.Errorf("fourth: %v, %d bytes that end in %q", r.SeverityNumber, len(r.Body.GetStringValue()), r.Body.GetStringValue()[maxText-4:])
	}
}

// Whatever is logged, the log itself gets it as if no collector were there, and the
// collector the same message.
func TestTeeChangesNoLine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		untimed := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}
		var plain, teed bytes.Buffer
		e := NewRecords(plane, quiet)
		e.To("http://127.0.0.1:1")
		one, two := slog.New(slog.NewJSONHandler(&plain, untimed)), slog.New(Tee(slog.NewJSONHandler(&teed, untimed), e))
		var said []string
		for range rapid.IntRange(1, 10).Draw(t, "lines") {
			key, value := rapid.StringMatching(`[a-z]{0,3}`).Draw(t, "key"), rapid.OneOf(rapid.String().AsAny(), rapid.Int().AsAny(), rapid.Float64Range(-1e9, 1e9).AsAny()).Draw(t, "value")
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				one, two = one.With(key, value), two.With(key, value)
			case 1:
				one, two = one.WithGroup(key), two.WithGroup(key)
			}
			text := rapid.String().Draw(t, "text")
			said = append(said, text)
			one.Info(text, key, value) //nolint:sloglint // a message of somebody's
			two.Info(text, key, value) //nolint:sloglint // the same
		}
		if plain.String() != teed.String() {
			t.Fatalf("the log says\n%s, and without a collector\n%s", teed.String(), plain.String())
		}
		for i, r := range taken(t, e) {
			if r.Body.GetStringValue() != strings.ToValidUTF8(said[i], "\ufffd") {
				t.Fatalf("record %d says %q, want %q", i, r.Body.GetStringValue(), said[i])
			}
			attrsOf(t, r)
		}
	})
}

// Logs that come of one are used side by side.
func TestBranchesOfALog(t *testing.T) {
	root, e := newTee(t)
	root = root.With("house", "a", "part", "root")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			log := root.With("part", i)
			for range 20 {
				log.Info("works", "part", fmt.Sprint("inner ", i), "who", i)
			}
		})
	}
	all.Wait()
	for _, r := range taken(t, e) {
		a := attrsOf(t, r)
		if a["house"] != "a" || a["part"] != "inner "+strings.TrimPrefix(a["who"], "#") {
			t.Errorf("a line of another branch: %v", a)
		}
	}
}

// A collector that takes spans only is complained about once an hour.
func TestNoPlaceForLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		e := NewRecords(plane, slog.New(slog.NewTextHandler(&said, nil)))
		asked := 0
		e.client.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			if asked++; r.URL.Path != "/v1/logs" {
				t.Errorf("asked for %s", r.URL.Path)
			}
			return &http.Response{StatusCode: http.StatusNotFound, Status: "404 Not Found", Body: http.NoBody}, nil
		})
		e.To("http://collector/")
		end := run(t, e)
		for range 90 {
			e.Add(&Record{At: time.Now(), Text: "works"})
			time.Sleep(time.Minute)
		}
		end()
		if n := strings.Count(said.String(), "what=\"log records\""); n != 2 || asked != 90 || e.Dropped() != 90 {
			t.Errorf("%d complaints in 90 minutes, %d calls, %d dropped:\n%s", n, asked, e.Dropped(), said.String())
		}
	})
}

func BenchmarkTee(b *testing.B) {
	log, e := newTee(b)
	log = log.With("service", "shop", "env", "prod")
	b.ReportAllocs()
	for b.Loop() {
		log.Info("rollout moved", "change", 7, "state", "judging")
		<-e.queue
	}
}
