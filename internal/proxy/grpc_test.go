package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/porttest"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

// grpcService answers as its request says.
type grpcService struct {
	testgrpc.UnimplementedTestServiceServer
	name string
	held chan struct{} // gets a value when a call hangs
}

func (s *grpcService) UnaryCall(ctx context.Context, in *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	if in.GetFillUsername() { // hang until the caller's deadline
		s.held <- struct{}{}
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		_ = grpc.SetTrailer(ctx, metadata.Pairs("echo-bin", strings.Join(md["ask-bin"], "|"), "authority", strings.Join(md[":authority"], "|")))
	}
	if want := in.GetResponseStatus(); want.GetCode() != 0 {
		return nil, status.Error(codes.Code(want.GetCode()), want.GetMessage())
	}
	return &testgrpc.SimpleResponse{Username: s.name, Payload: in.GetPayload()}, nil
}

func (s *grpcService) StreamingInputCall(in grpc.ClientStreamingServer[testgrpc.StreamingInputCallRequest, testgrpc.StreamingInputCallResponse]) error {
	var n int32
	for {
		m, err := in.Recv()
		if errors.Is(err, io.EOF) {
			return in.SendAndClose(&testgrpc.StreamingInputCallResponse{AggregatedPayloadSize: n})
		}
		if err != nil {
			return err
		}
		n += int32(len(m.GetPayload().GetBody()))
	}
}

func (s *grpcService) FullDuplexCall(both grpc.BidiStreamingServer[testgrpc.StreamingOutputCallRequest, testgrpc.StreamingOutputCallResponse]) error {
	for {
		m, err := both.Recv()
		if errors.Is(err, io.EOF) {
			return status.Error(codes.OutOfRange, "said all")
		}
		if err != nil {
			return err
		}
		if err := both.Send(&testgrpc.StreamingOutputCallResponse{Payload: m.GetPayload()}); err != nil {
			return err
		}
	}
}

// grpcPool is a pool of one real gRPC server without TLS.
func grpcPool(t *testing.T, release delivery.ReleaseID) (traffic.Pool, *grpcService) {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	service := &grpcService{name: string(release), held: make(chan struct{}, 8)}
	srv := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(srv, service)
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(srv.Stop)
	p := traffictest.Share(&traffictest.Instance{ID: string(release) + ".0", Addr: ln.Addr().String(), Release: release, Version: string(release)}, delivery.Full)
	p.Check, p.Protocol = traffic.Check{}, delivery.H2C
	return p, service
}

// grpcHealth is a real gRPC server whose service shop.Cart is as healthy as told.
func grpcHealth(t *testing.T) (*health.Server, string) {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv, states := grpc.NewServer(), health.NewServer()
	healthpb.RegisterHealthServer(srv, states)
	states.SetServingStatus("shop.Cart", healthpb.HealthCheckResponse_SERVING)
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(srv.Stop)
	return states, ln.Addr().String()
}

// grpcClient speaks gRPC without TLS to addr, and does not repeat calls.
func grpcClient(t *testing.T, addr string) testgrpc.TestServiceClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return testgrpc.NewTestServiceClient(conn)
}

// patient bounds a call that must not hang.
func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(stop)
	return ctx
}

func TestGRPCUnary(t *testing.T) {
	t.Parallel()
	w := world(t)
	p, _ := grpcPool(t, "r1")
	one(w, p)
	c := grpcClient(t, w.Addr)
	for _, n := range []int{0, 1, 100 << 10, 2 << 20} {
		var trailer metadata.MD
		ctx := metadata.AppendToOutgoingContext(patient(t), "ask-bin", "\x00\xffraw")
		got, err := c.UnaryCall(ctx, &testgrpc.SimpleRequest{Payload: &testgrpc.Payload{Body: make([]byte, n)}}, grpc.Trailer(&trailer))
		if err != nil || got.GetUsername() != "r1" || len(got.GetPayload().GetBody()) != n {
			t.Fatalf("UnaryCall(%d bytes) = %d bytes of %q, %v", n, len(got.GetPayload().GetBody()), got.GetUsername(), err)
		}
		if trailer.Get("echo-bin")[0] != "\x00\xffraw" || trailer.Get("authority")[0] != w.Addr {
			t.Errorf("trailer = %v, want binary metadata and the authority of the caller", trailer)
		}
	}
	_, err := c.UnaryCall(patient(t), &testgrpc.SimpleRequest{ResponseStatus: &testgrpc.EchoStatus{Code: int32(codes.DataLoss), Message: "lost: 100 % ü"}})
	if s := status.Convert(err); s.Code() != codes.DataLoss || s.Message() != "lost: 100 % ü" {
		t.Errorf("UnaryCall that fails = %v, want DataLoss with its message", err)
	}
	if _, err := c.EmptyCall(patient(t), &testgrpc.Empty{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("EmptyCall = %v, want Unimplemented of the service", err)
	}
}

func TestGRPCStreams(t *testing.T) {
	t.Parallel()
	w := world(t)
	p, _ := grpcPool(t, "r1")
	one(w, p)
	c := grpcClient(t, w.Addr)
	both, err := c.FullDuplexCall(patient(t))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 { // each answer comes before the next question
		want := strings.Repeat(fmt.Sprint(i), 1+i*50)
		if err := both.Send(&testgrpc.StreamingOutputCallRequest{Payload: &testgrpc.Payload{Body: []byte(want)}}); err != nil {
			t.Fatal(err)
		}
		if got, err := both.Recv(); err != nil || string(got.GetPayload().GetBody()) != want {
			t.Fatalf("message %d = %v, %v", i, got, err)
		}
	}
	if err := both.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := both.Recv(); status.Code(err) != codes.OutOfRange || status.Convert(err).Message() != "said all" {
		t.Errorf("the end of the stream = %v, want OutOfRange in a trailer after data", err)
	}

	in, err := c.StreamingInputCall(patient(t))
	if err != nil {
		t.Fatal(err)
	}
	piece := &testgrpc.StreamingInputCallRequest{Payload: &testgrpc.Payload{Body: make([]byte, 64<<10)}}
	for range 64 {
		if err := in.Send(piece); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := in.CloseAndRecv(); err != nil || got.GetAggregatedPayloadSize() != 4<<20 {
		t.Errorf("4 MiB in pieces = %v, %v", got, err)
	}
}

func TestGRPCDeadlineIsTheCallers(t *testing.T) {
	t.Parallel()
	w := world(t)
	p, service := grpcPool(t, "r1")
	one(w, p)
	c := grpcClient(t, w.Addr)
	for limit, arrived := 300*time.Millisecond, false; !arrived; limit *= 2 { // on a busy machine it may be over before the call is there
		ctx, stop := context.WithTimeout(t.Context(), limit)
		_, err := c.UnaryCall(ctx, &testgrpc.SimpleRequest{FillUsername: true})
		stop()
		if status.Code(err) != codes.DeadlineExceeded {
			t.Fatalf("UnaryCall = %v, want DeadlineExceeded", err)
		}
		select {
		case <-service.held:
			arrived = true
		default:
		}
	}
	await(t, "the call to have left the instance", func() bool {
		return w.State().Routes[0].Pools[0].Endpoints[0].InFlight == 0
	})
}

// Streams at one connection to a listener reach the release of their own key.
func TestGRPCStreamsAreSplitOneByOne(t *testing.T) {
	t.Parallel()
	w := world(t)
	a, _ := grpcPool(t, "r1")
	b, _ := grpcPool(t, "r2")
	a.Weight, b.Weight = delivery.Full/2, delivery.Full/2
	one(w, b, a)
	c := grpcClient(t, w.Addr)
	got := map[string]int{}
	for i := range 200 {
		ctx := metadata.AppendToOutgoingContext(patient(t), "slipway-key", fmt.Sprint("user-", i))
		in, err := c.UnaryCall(ctx, &testgrpc.SimpleRequest{})
		if err != nil {
			t.Fatal(err)
		}
		got[in.GetUsername()]++
	}
	// Binomial(200, 1/2): mean 100, deviation 7.1; six of them are 1 in 10^9.
	if min(got["r1"], got["r2"]) < 57 {
		t.Errorf("200 calls over one connection went to %v, want both releases", got)
	}
}

// A drain and a removal under load break no call, and open streams go on.
func TestGRPCChangesLoseNothing(t *testing.T) {
	t.Parallel()
	w := world(t)
	a, _ := grpcPool(t, "r1")
	b, _ := grpcPool(t, "r2")
	a.Drain, b.Drain = 20*time.Second, 20*time.Second
	one(w, a)
	c := grpcClient(t, w.Addr)
	open, err := c.FullDuplexCall(patient(t))
	if err != nil {
		t.Fatal(err)
	}
	talk := func(when string) {
		t.Helper()
		if err := open.Send(&testgrpc.StreamingOutputCallRequest{Payload: &testgrpc.Payload{Body: []byte(when)}}); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if m, err := open.Recv(); err != nil || string(m.GetPayload().GetBody()) != when {
			t.Fatalf("%s: the open stream gave %v, %v", when, m, err)
		}
	}
	talk("before")
	ctx, stop := context.WithCancel(t.Context())
	bounded := patient(t)
	errs := make(chan error, 4)
	for range 4 {
		go func() {
			for ctx.Err() == nil {
				if _, err := c.UnaryCall(bounded, &testgrpc.SimpleRequest{}); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for i := range 20 {
		one(w, slices.Clone([]traffic.Pool{a, b})[i%2])
		pause(t.Context(), 5*time.Millisecond)
	}
	talk("after its instance left and came back")
	stop()
	for range 4 {
		if err := <-errs; err != nil {
			t.Errorf("a call during changes = %v", err)
		}
	}
	if err := open.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := open.Recv(); status.Code(err) != codes.OutOfRange {
		t.Errorf("the end of the stream = %v", err)
	}
}

// What the data plane itself says to gRPC callers they understand.
func TestGRPCRefusals(t *testing.T) {
	t.Parallel()
	w := world(t)
	p, _ := grpcPool(t, "r1")
	q, _ := grpcPool(t, "r2")
	gone := p
	gone.Endpoints = []traffic.Endpoint{{ID: "gone", Addr: porttest.Free(t)}}
	hasty := w.Route("prod/hasty", []string{"hasty"}, q)
	hasty.Rates = []delivery.Rate{{Per: delivery.PerRoute, Rate: 0.001, Burst: 1}}
	impatient := w.Route("prod/impatient", []string{"impatient"}, p)
	impatient.Timeout = 3 * time.Second // longer than a busy machine stands still
	w.Routes = []traffic.Route{hasty, impatient, w.Route("prod/gone", []string{"gone"}, gone)}
	w.MustApply()
	call := func(host string, in *testgrpc.SimpleRequest) *status.Status {
		conn, err := grpc.NewClient("passthrough:///"+w.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(), grpc.WithAuthority(host))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, err = testgrpc.NewTestServiceClient(conn).UnaryCall(patient(t), in)
		return status.Convert(err)
	}
	if s := call("hasty", &testgrpc.SimpleRequest{}); s.Code() != codes.OK {
		t.Errorf("the first call = %v", s)
	}
	for host, want := range map[string]struct {
		code codes.Code
		says string
	}{
		"hasty":     {codes.ResourceExhausted, "rate_limited"},
		"impatient": {codes.DeadlineExceeded, "no_answer"},
		"gone":      {codes.Unavailable, "no_connection"},
		"nobody":    {codes.Unimplemented, "no_route"},
	} {
		if s := call(host, &testgrpc.SimpleRequest{FillUsername: true}); s.Code() != want.code || !strings.HasPrefix(s.Message(), want.says+": ") {
			t.Errorf("%s: %v, want %s %s", host, s, want.code, want.says)
		}
	}
}

// A gRPC answer is 200 in HTTP whatever happened; its own status is what counts.
func TestGRPCStatusIsWhatCounts(t *testing.T) {
	t.Parallel()
	w := world(t)
	p, _ := grpcPool(t, "r1")
	one(w, p)
	c := grpcClient(t, w.Addr)
	for code := range codes.Code(17) {
		_, err := c.UnaryCall(patient(t), &testgrpc.SimpleRequest{ResponseStatus: &testgrpc.EchoStatus{Code: int32(code), Message: "on purpose"}})
		if status.Code(err) != code {
			t.Fatalf("UnaryCall = %v, want %s", err, code)
		}
	}
	both, err := c.FullDuplexCall(patient(t)) // ends with OutOfRange in a trailer behind data
	if err != nil {
		t.Fatal(err)
	}
	if err := both.Send(&testgrpc.StreamingOutputCallRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := both.Recv(); err != nil {
		t.Fatal(err)
	}
	if err := both.CloseSend(); err != nil {
		t.Fatal(err)
	}
	_, _ = both.Recv()
	w.AwaitBlocks("18 calls, 5 of them faults of the service", func(all map[traffictest.BlockKey]traffic.Block) bool {
		var sum traffic.Block
		for _, b := range all {
			sum.OK += b.OK
			sum.Client += b.Client
			sum.Server += b.Server
		}
		return sum.OK == 1 && sum.Server == 5 && sum.Client == 12
	})
}

// A stream whose service says nothing for longer than the usual timeout is left
// alone; only a timeout in the route's own words ends the wait for its head.
func TestGRPCDeadlines(t *testing.T) {
	t.Parallel()
	w := world(t)
	p, service := grpcPool(t, "r1")
	r := w.Route("prod/shop", []string{""}, p)
	r.Timeout, r.Idle = 0, 3*time.Second // in place of ten minutes, and longer than a busy machine stands still
	w.Routes = []traffic.Route{r}
	w.MustApply()
	c := grpcClient(t, w.Addr)
	began := time.Now()
	if _, err := c.UnaryCall(patient(t), &testgrpc.SimpleRequest{FillUsername: true}); status.Code(err) != codes.DeadlineExceeded || time.Since(began) < r.Idle {
		t.Errorf("a call that stands still = %v after %s", err, time.Since(began))
	}
	<-service.held
	both, err := c.FullDuplexCall(patient(t))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 { // longer than the idle time in all
		if err := both.Send(&testgrpc.StreamingOutputCallRequest{}); err != nil {
			t.Fatal(err)
		}
		if _, err := both.Recv(); err != nil {
			t.Fatalf("a stream that moves = %v", err)
		}
		pause(t.Context(), r.Idle/15)
	}
	if _, err := both.Recv(); err == nil {
		t.Error("a stream that stands still goes on")
	}
}
