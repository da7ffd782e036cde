package probe

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/porttest"
)

const patience = 30 * time.Second

func listen(t *testing.T) net.Listener {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

func ask(t *testing.T, addr string, at Target) error {
	t.Helper()
	at.Addr = addr
	if at.Timeout == 0 {
		at.Timeout = patience
	}
	return Ask(t.Context(), at)
}

// says fails the test unless err tells of what is wanted; "" wants nil.
func says(t *testing.T, what string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: Ask() = %v, want nil", what, err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("%s: Ask() = %v, want …%s…", what, err, want)
	}
}

func TestTCP(t *testing.T) {
	t.Parallel()
	says(t, "open port", ask(t, listen(t).Addr().String(), Target{}), "")
	says(t, "closed port", ask(t, porttest.Free(t), Target{}), "refused")
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.RequestURI() {
		case "/ok?deep=1":
			if r.UserAgent() != agent {
				w.WriteHeader(http.StatusTeapot)
			}
			w.WriteHeader(http.StatusNoContent)
		case "/moved":
			http.Redirect(w, r, "/ok?deep=1", http.StatusFound)
		case "/slow":
			<-r.Context().Done()
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	h2 := httptest.NewUnstartedServer(h)
	h2.Config.Protocols = new(http.Protocols)
	h2.Config.Protocols.SetUnencryptedHTTP2(true)
	h2.Start()
	t.Cleanup(h2.Close)
	for _, at := range []Target{{Addr: s.Listener.Addr().String()}, {Addr: h2.Listener.Addr().String(), Protocol: delivery.H2C}} {
		for path, want := range map[string]string{"/ok?deep=1": "", "/moved": "/moved answered 302", "/sick": "/sick answered 503"} {
			at.HTTP, at.Timeout = path, patience
			says(t, string(at.Protocol)+path, Ask(t.Context(), at), want)
		}
		at.HTTP, at.Timeout = "/slow", 50*time.Millisecond
		if err := Ask(t.Context(), at); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Ask() of one that does not answer = %v, want its deadline", err)
		}
	}
	at := Target{Addr: s.Listener.Addr().String(), Protocol: delivery.H2C, HTTP: "/ok?deep=1", Timeout: patience}
	if err := Ask(t.Context(), at); err == nil {
		t.Error("an instance that does not speak its protocol passed")
	}
}

func TestGRPC(t *testing.T) {
	t.Parallel()
	srv, states := grpc.NewServer(), health.NewServer()
	healthpb.RegisterHealthServer(srv, states)
	ln := listen(t)
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(srv.Stop)
	long := strings.Repeat("long.", 60) + "Service"
	states.SetServingStatus("shop.Cart", healthpb.HealthCheckResponse_SERVING)
	states.SetServingStatus(long, healthpb.HealthCheckResponse_SERVING)
	states.SetServingStatus("shop.Sick", healthpb.HealthCheckResponse_NOT_SERVING)
	states.SetServingStatus("shop.New", healthpb.HealthCheckResponse_UNKNOWN)
	for service, want := range map[string]string{
		"": "", "shop.Cart": "", long: "",
		"shop.Sick": "says NOT_SERVING of shop.Sick",
		"shop.New":  "says UNKNOWN of shop.New",
		"shop.None": "does not know of shop.None",
	} {
		says(t, "service "+service, ask(t, ln.Addr().String(), Target{GRPC: &service}), want)
	}
	states.Shutdown()
	says(t, "going down", ask(t, ln.Addr().String(), Target{GRPC: new("")}), "says NOT_SERVING")
}

func TestGRPCWithoutHealthService(t *testing.T) {
	t.Parallel()
	srv := grpc.NewServer()
	ln := listen(t)
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(srv.Stop)
	says(t, "bare server", ask(t, ln.Addr().String(), Target{GRPC: new("")}), "has no grpc.health.v1.Health service")
}

// Servers that answer the health call in ways that a good one does not.
func TestGRPCFromStrangers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"a web server":     {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }, "not gRPC"},
		"no status":        {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "application/grpc") }, "without a gRPC status"},
		"permission":       {status("7", "not%20you"), `status 7: "not you"`},
		"serving, by name": {message(1), ""},
		"status 9":         {message(9), "says status 9"},
		"an empty message": {raw([]byte{0, 0, 0, 0, 0}), "says UNKNOWN"},
		"no message":       {raw(nil), "not a HealthCheckResponse"},
		"half a message":   {raw([]byte{0, 0, 0, 0, 2, 8}), "not a HealthCheckResponse"},
		"compressed":       {raw([]byte{1, 0, 0, 0, 2, 8, 1}), "not a HealthCheckResponse"},
		"two messages":     {raw([]byte{0, 0, 0, 0, 2, 8, 1, 0, 0, 0, 0, 2, 8, 1}), "not a HealthCheckResponse"},
		"without end":      {endless, "not a HealthCheckResponse"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewUnstartedServer(c.answer)
			s.Config.Protocols = new(http.Protocols)
			s.Config.Protocols.SetUnencryptedHTTP2(true)
			s.Start()
			t.Cleanup(s.Close)
			says(t, name, ask(t, s.Listener.Addr().String(), Target{GRPC: new("")}), c.want)
		})
	}
}

func status(code, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Grpc-Status", code)
		w.Header().Set("Grpc-Message", message)
	}
}

func message(n byte) http.HandlerFunc { return raw([]byte{0, 0, 0, 0, 2, 8, n}) }

func raw(body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc+proto")
		w.Header().Set("Trailer", "Grpc-Status")
		_, _ = w.Write(body)
		w.Header().Set("Grpc-Status", "0")
	}
}

func endless(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	for r.Context().Err() == nil {
		if _, err := w.Write(make([]byte, 4<<10)); err != nil {
			return
		}
	}
}

// What is written by hand against the library that everybody else uses.
func TestMessages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		service := rapid.String().Draw(t, "service")
		want, err := proto.Marshal(&healthpb.HealthCheckRequest{Service: service})
		if err != nil {
			t.Skip(err)
		}
		if got := checkRequest(service); string(got[5:]) != string(want) || int(got[4])|int(got[3])<<8 != len(want) {
			t.Fatalf("checkRequest(%q) = %x, want %x", service, got, want)
		}
		status := rapid.Int32Min(0).Draw(t, "status")
		body, err := proto.Marshal(&healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_ServingStatus(status)})
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range rapid.SliceOf(rapid.IntRange(2, 1000)).Draw(t, "unknown fields") {
			switch n % 4 {
			case 0:
				body = protowire.AppendVarint(protowire.AppendTag(body, protowire.Number(n), protowire.VarintType), uint64(n))
			case 1:
				body = protowire.AppendFixed64(protowire.AppendTag(body, protowire.Number(n), protowire.Fixed64Type), uint64(n))
			case 2:
				body = protowire.AppendBytes(protowire.AppendTag(body, protowire.Number(n), protowire.BytesType), make([]byte, n))
			case 3:
				body = protowire.AppendFixed32(protowire.AppendTag(body, protowire.Number(n), protowire.Fixed32Type), uint32(n))
			}
		}
		framed := append([]byte{0, 0, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
		if got, err := checkResponse(framed); err != nil || got != uint64(status) {
			t.Fatalf("checkResponse() = %d, %v, want %d", got, err, status)
		}
	})
}

func FuzzCheckResponse(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 2, 8, 1})
	f.Add([]byte{0, 0, 0, 0, 3, 0x12, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, body []byte) {
		status, err := checkResponse(body)
		if err != nil {
			return
		}
		var m healthpb.HealthCheckResponse
		if theirs := proto.Unmarshal(body[5:], &m); theirs == nil && uint64(uint32(m.GetStatus())) != status&0xffffffff {
			t.Errorf("checkResponse(%x) = %d, the library says %d", body, status, m.GetStatus())
		}
	})
}
