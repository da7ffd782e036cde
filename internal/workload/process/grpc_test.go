package process

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/workload"
	"github.com/slipway-cd/slipway/internal/workload/workloadtest"
)

// The words that make a test binary an application that speaks HTTP/2 without TLS.
const grpcWord, h2cWord = "grpc-app", "h2c-app"

// grpcApp serves grpc.health.v1 until SIGTERM. Its service shop.v1.Cart serves
// while the file that is its argument exists.
func grpcApp(ctx context.Context, args []string) int {
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM)
	defer stop()
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s, h := grpc.NewServer(), grpchealth.NewServer()
	healthpb.RegisterHealthServer(s, h)
	context.AfterFunc(ctx, s.Stop)
	go func() {
		for tick := time.NewTicker(10 * time.Millisecond); ctx.Err() == nil; <-tick.C {
			status := healthpb.HealthCheckResponse_NOT_SERVING
			if _, err := os.Stat(args[0]); err == nil {
				status = healthpb.HealthCheckResponse_SERVING
			}
			h.SetServingStatus("shop.v1.Cart", status)
		}
	}()
	if err := s.Serve(l); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// h2cApp answers 204 to everything, and speaks HTTP/2 without TLS only.
func h2cApp(ctx context.Context, _ []string) int {
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM)
	defer stop()
	s := &http.Server{
		Addr: "127.0.0.1:" + os.Getenv("PORT"), Protocols: new(http.Protocols), ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }),
	}
	s.Protocols.SetUnencryptedHTTP2(true)
	context.AfterFunc(ctx, func() { _ = s.Close() })
	_ = s.ListenAndServe() // until Close
	return 0
}

// specOf makes an instance of this binary as one of the applications above.
func specOf(t *testing.T, k *workloadtest.Kit, h delivery.Health, word ...string) workload.Spec {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	spec := k.Spec(t, "prod.shop.r1.0", workloadtest.Healthy, "")
	spec.Run.Command = append([]string{exe}, word...)
	spec.Run.Protocol = delivery.H2C
	h.Interval, h.Timeout, h.Rise, h.Fall = 50*time.Millisecond, 20*time.Second, 1, 1
	spec.Run.Health = h
	return spec
}

func TestHealthByGRPC(t *testing.T) {
	t.Parallel()
	k := newKit(t, asIs)
	lamp := t.TempDir() + "/lamp"
	spec := specOf(t, k, delivery.Health{GRPC: new("shop.v1.Cart")}, grpcWord, lamp)
	k.Ensure(t, spec)
	k.Await(t, spec.ID, "told", func(s workload.Status) bool {
		return s.Phase == workload.Starting && strings.Contains(s.Probe, "grpc.health.v1 says NOT_SERVING of shop.v1.Cart")
	})
	if err := os.WriteFile(lamp, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	k.AwaitPhase(t, spec.ID, workload.Ready)
	if err := os.Remove(lamp); err != nil {
		t.Fatal(err)
	}
	k.AwaitPhase(t, spec.ID, workload.Unready)
}

func TestHealthByGRPCOfTheWholeServer(t *testing.T) {
	t.Parallel()
	k := newKit(t, asIs)
	spec := specOf(t, k, delivery.Health{GRPC: new("")}, grpcWord, "none")
	k.Ensure(t, spec)
	k.AwaitPhase(t, spec.ID, workload.Ready)
}

// A server that is none of gRPC says so.
func TestHealthByGRPCOfAnother(t *testing.T) {
	t.Parallel()
	k := newKit(t, asIs)
	spec := specOf(t, k, delivery.Health{GRPC: new("")}, h2cWord)
	k.Ensure(t, spec)
	k.Await(t, spec.ID, "told", func(s workload.Status) bool {
		return s.Phase == workload.Starting && strings.Contains(s.Probe, "which is not gRPC")
	})
}

// A path is asked for in the protocol that the instance speaks.
func TestHealthByPathOverHTTP2(t *testing.T) {
	t.Parallel()
	k := newKit(t, asIs)
	spec := specOf(t, k, delivery.Health{HTTP: "/healthz"}, h2cWord)
	k.Ensure(t, spec)
	k.AwaitPhase(t, spec.ID, workload.Ready)
}
