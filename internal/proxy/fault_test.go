package proxy_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
	driver "github.com/slipway-cd/slipway/internal/traffic/proxy"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

// renewSocket makes the test binary a process that renews a fault of the data
// plane on that socket until it dies.
const renewSocket = "SLIPWAY_TEST_RENEWS_FAULT"

// renew is what such a process does.
func renew(ctx context.Context, socket string) error {
	d := driver.New(socket)
	for {
		f := shopFault("lab")
		f.Abort, f.Lease = 503, 2*time.Second
		if err := d.Disturb(ctx, f); err != nil {
			return err
		}
		if !pause(ctx, 50*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// shopFault is one that touches half of the keys of requests that ask for trouble.
func shopFault(id string) traffic.Fault {
	return traffic.Fault{
		ID: id, Route: "prod/shop", Share: traffic.MaxFaultShare, Lease: traffic.MaxFaultLease,
		When: []delivery.Condition{{On: delivery.OnHeader, Name: "Trouble"}},
	}
}

// lab is a data plane with one service, one fault and a caller that it touches.
type lab struct {
	*traffictest.World
	d     *driver.Driver
	key   string
	asked atomic.Int64 // requests that reached the instance
}

// answer is what the lab's instance says; pieces have no length announced.
var answer = strings.Repeat("0123456789", 200)

// newLab finds a key that faults called "lab" touch.
func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{World: world(t)}
	l.d = l.Driver.(*driver.Driver)
	one(l.World, backend(t, "a", func(w http.ResponseWriter, r *http.Request) {
		l.asked.Add(1)
		if r.URL.Path == "/pieces" {
			_ = http.NewResponseController(w).Flush()
		}
		_, _ = io.WriteString(w, answer)
	}))
	f := shopFault("lab")
	f.Abort = http.StatusTeapot
	l.disturb(t, f)
	l.quiet(t, 40)
	await(t, "a caller that the fault touches", func() bool {
		l.disturb(t, f) // its lease may have ended on a busy machine, and who was quiet be forgotten
		l.quiet(t, 1)
		l.key += "k"
		res := do(t, l.trouble(t, "/"))
		return res.StatusCode == http.StatusTeapot
	})
	return l
}

func (l *lab) disturb(t *testing.T, f traffic.Fault) {
	t.Helper()
	if err := l.d.Disturb(t.Context(), f); err != nil {
		t.Fatalf("Disturb(%+v) = %v", f, err)
	}
}

// quiet sends requests that no fault means: what is touched may be half of all.
func (l *lab) quiet(t *testing.T, n int) {
	t.Helper()
	for range n {
		if code, body := l.Ask("shop", ""); code != http.StatusOK || body != answer {
			t.Fatalf("a request that no fault means = %d %q", code, body)
		}
	}
}

func (l *lab) trouble(t *testing.T, path string) *http.Request {
	r := request(t, http.MethodGet, "http://"+l.Addr+path, nil)
	r.Header.Set("Slipway-Key", l.key)
	r.Header.Set("Trouble", "please")
	return r
}

func TestFaultKinds(t *testing.T) {
	t.Parallel()
	const wait = 300 * time.Millisecond
	type got struct {
		res  *http.Response
		body string
		err  error // of the head or of the body
		took time.Duration
		seen int64 // requests that reached the instance
	}
	whole := func(g got) bool { return g.err == nil && g.res.StatusCode == 200 && g.body == answer && g.seen == 1 }
	for _, tc := range []struct {
		name string
		path string
		edit func(*traffic.Fault)
		want func(got) bool
		ends func(traffic.Block) uint64 // how it is counted
	}{
		{"delay", "/", func(f *traffic.Fault) { f.Delay = wait }, func(g got) bool { return whole(g) && g.took >= wait }, func(b traffic.Block) uint64 { return b.OK }},
		{"abort", "/", func(f *traffic.Fault) { f.Abort = 503 }, func(g got) bool { return g.err == nil && g.res.StatusCode == 503 && g.seen == 0 }, func(b traffic.Block) uint64 { return b.Server }},
		{
			"delay and abort", "/", func(f *traffic.Fault) { f.Delay, f.Abort = wait, 429 },
			func(g got) bool { return g.err == nil && g.res.StatusCode == 429 && g.seen == 0 && g.took >= wait }, func(b traffic.Block) uint64 { return b.Client },
		},
		{"reset", "/", func(f *traffic.Fault) { f.Reset = true }, func(g got) bool { return g.err != nil && g.res == nil && g.seen == 0 }, func(b traffic.Block) uint64 { return b.Broken }},
		{"slow", "/", func(f *traffic.Fault) { f.Slow = 5000 }, func(g got) bool { return whole(g) && g.took >= wait }, func(b traffic.Block) uint64 { return b.OK }},
		{"slow pieces", "/pieces", func(f *traffic.Fault) { f.Slow = 5000 }, func(g got) bool { return whole(g) && g.took >= wait }, func(b traffic.Block) uint64 { return b.OK }},
		{"cut", "/", func(f *traffic.Fault) { f.Cut = 100 }, func(g got) bool { return g.err != nil && g.res != nil && g.body == answer[:100] }, func(b traffic.Block) uint64 { return b.Broken }},
		{"cut pieces", "/pieces", func(f *traffic.Fault) { f.Cut = 100 }, func(g got) bool { return g.err != nil && g.res != nil && g.body == answer[:100] }, func(b traffic.Block) uint64 { return b.Broken }},
		{"cut after the head", "/", func(f *traffic.Fault) { f.Cut = -1 }, func(g got) bool { return g.err != nil && g.res != nil && g.body == "" }, func(b traffic.Block) uint64 { return b.Broken }},
		{"cut beyond the end", "/", func(f *traffic.Fault) { f.Cut = int64(len(answer)) }, whole, func(b traffic.Block) uint64 { return b.OK }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			before := count(l.World, "(fault lab)", tc.ends)
			for name, client := range map[string]http.RoundTripper{"HTTP/1.1": &http.Transport{}, "HTTP/2.0": overH2C(t)} {
				f := shopFault("lab")
				tc.edit(&f)
				l.disturb(t, f)
				l.quiet(t, 5)
				var g got
				seen, began := l.asked.Load(), time.Now()
				if g.res, g.err = client.RoundTrip(l.trouble(t, tc.path)); g.err == nil {
					var b []byte
					b, g.err = io.ReadAll(g.res.Body)
					g.body = string(b)
					_ = g.res.Body.Close()
					if g.res.Proto != name || g.res.Header.Get("Slipway-Fault") != "lab" {
						t.Errorf("%s: answer in %s with Slipway-Fault %q", name, g.res.Proto, g.res.Header.Get("Slipway-Fault"))
					}
				}
				g.took, g.seen = time.Since(began), l.asked.Load()-seen
				if !tc.want(g) {
					t.Errorf("%s: answer %v with %d bytes of body, %v, after %s; %d reached the instance", name, g.res, len(g.body), g.err, g.took, g.seen)
				}
			}
			await(t, "both on the fault's account, ended as their caller saw them", func() bool { return count(l.World, "(fault lab)", tc.ends)-before == 2 })
		})
	}
}

// count sums a field of all blocks of a caller.
func count(w *traffictest.World, caller string, field func(traffic.Block) uint64) (n uint64) {
	w.AwaitBlocks("a frame", func(all map[traffictest.BlockKey]traffic.Block) bool {
		n = 0
		for k, b := range all {
			if k.Caller == caller {
				n += field(b)
			}
		}
		return true
	})
	return n
}

// A reset is one on the wire: the peer's kernel says so, and a caller whose
// protocol ends bodies with the connection is not told a cut one is whole.
func TestFaultResetsTheConnection(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for name, tc := range map[string]struct {
		edit  func(*traffic.Fault)
		proto string
	}{
		"reset":           {func(f *traffic.Fault) { f.Reset = true }, "HTTP/1.1"},
		"cut in HTTP/1.0": {func(f *traffic.Fault) { f.Cut = 100 }, "HTTP/1.0"},
	} {
		f := shopFault("lab")
		tc.edit(&f)
		l.disturb(t, f)
		l.quiet(t, 5)
		var d net.Dialer
		conn, err := d.DialContext(t.Context(), "tcp", l.Addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		if _, err := fmt.Fprintf(conn, "GET /pieces %s\r\nHost: shop\r\nSlipway-Key: %s\r\nTrouble: 1\r\n\r\n", tc.proto, l.key); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, bufio.NewReader(conn)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: the connection ended with %v, want a reset", name, err)
		}
		_ = conn.Close()
	}
}

// On HTTP/2 only the stream is reset: what shares the connection goes on.
func TestFaultResetsTheStreamAlone(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	f := shopFault("lab")
	f.Reset = true
	l.disturb(t, f)
	var dials atomic.Int64
	client := overH2C(t)
	client.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials.Add(1)
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}
	for range 5 {
		res, err := client.RoundTrip(request(t, http.MethodGet, "http://"+l.Addr+"/", nil))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res, err := client.RoundTrip(l.trouble(t, "/")); err == nil {
			_ = res.Body.Close()
			t.Errorf("the stream was answered %s", res.Status)
		}
	}
	if dials.Load() != 1 {
		t.Errorf("%d connections were needed, want 1", dials.Load())
	}
}

// What is under way ends with its fault too, and a delayed request goes by the
// table that is in force when it is carried.
func TestFaultTakenBackLetsGo(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	f := shopFault("lab")
	f.Delay = time.Minute
	l.disturb(t, f)
	done := make(chan string, 1)
	go func() {
		res, err := (&http.Transport{}).RoundTrip(l.trouble(t, "/"))
		if err != nil {
			done <- err.Error()
			return
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		done <- string(b)
	}()
	await(t, "a delayed request", func() bool {
		all, err := l.d.Faults(t.Context())
		return err == nil && len(all) == 1 && all[0].Touched == 1
	})
	next := l.Instance("b", "r2", "v2")
	one(l.World, traffictest.Share(next, delivery.Full))
	if s := l.State(); len(s.Draining) != 0 || len(s.Faults) != 1 {
		t.Errorf("State = %+v: a delayed request holds no instance", s)
	}
	if err := l.d.Calm(t.Context(), "lab"); err != nil {
		t.Fatal(err)
	}
	if err := l.d.Calm(t.Context(), "lab"); err != nil {
		t.Errorf("Calm of what is calm = %v", err)
	}
	if got := <-done; got != "r2" {
		t.Errorf("the delayed request was answered %q, want r2 of the table in force", got)
	}
}

func TestFaultEndsWithItsLease(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	f := shopFault("lab")
	f.Abort, f.Lease = 503, 300*time.Millisecond
	l.disturb(t, f)
	await(t, "the end of the lease", func() bool { return len(l.State().Faults) == 0 })
	for range 20 {
		if res := do(t, l.trouble(t, "/")); res.StatusCode != http.StatusOK || res.Header.Get("Slipway-Fault") != "" {
			t.Fatalf("after the lease = %s", res.Status)
		}
	}
}

// Whoever renews a fault is killed, as an experiment's process may be.
func TestFaultEndsWithWhoRenewsIt(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	serve(t, dir)
	w := traffictest.NewWorld(t, driver.New(filepath.Join(dir, "s")))
	one(w, traffictest.Share(w.Instance("a", "r1", "v1"), delivery.Full))
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), renewSocket+"="+filepath.Join(dir, "s"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var first time.Time
	await(t, "the fault", func() bool {
		s := w.State()
		if len(s.Faults) == 1 {
			first = s.Faults[0].Until
		}
		return len(s.Faults) == 1
	})
	await(t, "a renewal", func() bool { // it may have ended in between, if who renews it stood still
		s := w.State()
		return len(s.Faults) == 1 && s.Faults[0].Until.After(first.Add(3*time.Second))
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	await(t, "the end of the fault", func() bool { return len(w.State().Faults) == 0 })
}

func TestFaultNeverTouchesMoreThanHalf(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	f := shopFault("lab")
	f.ID, f.Abort, f.When = "lab", 503, nil
	l.disturb(t, f)
	touched := 0
	const n = 400
	for i := range n { // one caller makes all requests
		if i%10 == 0 {
			l.disturb(t, f) // renewed
		}
		if do(t, l.trouble(t, "/")).StatusCode == 503 {
			touched++
		}
	}
	// 41 quiet requests and those of the search may count beside it.
	if touched == 0 || touched > n/2+40 {
		t.Errorf("%d of %d requests were touched", touched, n)
	}
	if all, err := l.d.Faults(t.Context()); err != nil || len(all) != 1 || all[0].Touched != uint64(touched) || all[0].Spared != uint64(n-touched) {
		t.Errorf("Faults = %+v, %v; want %d touched and the rest spared", all, err, touched)
	}
}

// While a fault chooses among callers they get the cookie that keeps the choice.
func TestFaultKeepsItsCallers(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	res := do(t, request(t, http.MethodGet, "http://"+l.Addr+"/", nil))
	if !strings.HasPrefix(res.Header.Get("Set-Cookie"), "slipway_id=") {
		t.Errorf("Set-Cookie = %q while a fault is in force", res.Header.Get("Set-Cookie"))
	}
	if err := l.d.Calm(t.Context(), "lab"); err != nil {
		t.Fatal(err)
	}
	res = do(t, request(t, http.MethodGet, "http://"+l.Addr+"/", nil))
	if res.Header.Get("Set-Cookie") != "" {
		t.Errorf("Set-Cookie = %q without split and fault", res.Header.Get("Set-Cookie"))
	}
}

func TestFaultsAreForgottenWithTheProcess(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	end := serve(t, dir)
	w := traffictest.NewWorld(t, driver.New(filepath.Join(dir, "s")))
	one(w, traffictest.Share(w.Instance("a", "r1", "v1"), delivery.Full))
	f := shopFault("lab")
	f.Reset = true
	if err := w.Driver.(*driver.Driver).Disturb(t.Context(), f); err != nil || len(w.State().Faults) != 1 {
		t.Fatalf("Disturb = %v, State %+v", err, w.State())
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	serve(t, dir)
	if s := w.State(); s.Generation != w.Generation || len(s.Faults) != 0 {
		t.Errorf("after a restart generation %d is in force with faults %+v", s.Generation, s.Faults)
	}
}

// An upgrade hands faults on with what is left of their leases, and the old
// process lets those go whom it delays: it must not cut them in the end.
func TestUpgradeHandsFaultsOnAndLetsGo(t *testing.T) {
	t.Parallel()
	_, d, w, _ := plant(t)
	f := shopFault("lab")
	f.When, f.Delay, f.Lease = nil, time.Minute, traffic.MaxFaultLease
	if err := d.Disturb(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	answers := make(chan string, 100)
	sent := 0
	await(t, "a delayed request", func() bool {
		sent++
		key := fmt.Sprint(sent)
		go func() {
			_, body := w.AskPath("shop", key, "/")
			answers <- body
		}()
		all, err := d.Faults(t.Context())
		return err == nil && len(all) == 1 && all[0].Touched > 0 || sent == cap(answers)
	})
	if _, err := d.Upgrade(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if s := w.State(); len(s.Faults) > 0 && s.Faults[0].Lease >= f.Lease {
		t.Errorf("after the upgrade faults %+v are in force, beyond their lease", s.Faults)
	}
	if err := d.Calm(t.Context(), "lab"); err != nil {
		t.Fatal(err)
	}
	for range sent {
		if got := <-answers; got != "r1" {
			t.Errorf("a request that was delayed = %q, want r1", got)
		}
	}
}

func TestFaultAPI(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	serve(t, dir)
	w := traffictest.NewWorld(t, driver.New(filepath.Join(dir, "s")))
	one(w, traffictest.Share(w.Instance("a", "r1", "v1"), delivery.Full))
	api := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(dir, "s"))
	}}
	t.Cleanup(api.CloseIdleConnections)
	for _, tc := range []struct {
		name, method, id, body string
		status                 int
		says                   []string
	}{
		{"new", "PUT", "a", `{"route":"prod/shop","share":4000,"abort":503,"lease":10000000000}`, 201, []string{`"change":"began"`, `"id":"a"`, `"until":"`}},
		{"again", "PUT", "a", `{"id":"a","route":"prod/shop","share":4000,"abort":503,"lease":10000000000}`, 200, []string{`"change":"renewed"`}},
		{"another of that id", "PUT", "a", `{"route":"prod/shop","share":3000,"abort":502,"lease":10000000000}`, 200, []string{`"change":"replaced"`}},
		{"too much", "PUT", "b", `{"route":"prod/shop","share":2001,"abort":502,"lease":10000000000}`, 422, []string{"a holds 30 %", `"field":"share"`}},
		{"other id", "PUT", "b", `{"id":"c","route":"prod/shop","share":1,"abort":502,"lease":10000000000}`, 422, []string{`"field":"id"`}},
		{"no such route", "PUT", "b", `{"route":"prod/gone","share":1,"abort":502,"lease":10000000000}`, 422, []string{`"field":"route"`, "prod/gone"}},
		{"no such release", "PUT", "b", `{"route":"prod/shop","release":"r9","share":1,"abort":502,"lease":10000000000}`, 422, []string{`"field":"release"`, "r9"}},
		{"too long a lease", "PUT", "b", `{"route":"prod/shop","share":1,"abort":502,"lease":10000000001}`, 422, []string{`"field":"lease"`}},
		{"unknown field", "PUT", "b", `{"route":"prod/shop","share":1,"abort":502,"lease":1,"unless":1}`, 400, []string{"unless"}},
		{"not JSON", "PUT", "b", `{`, 400, []string{"not whole JSON"}},
		{"wrong kind", "PUT", "b", `{"share":"all"}`, 400, []string{`"field":"share"`}},
		{"too large", "PUT", "b", `{"route":"` + strings.Repeat("x", 70<<10) + `"}`, 413, []string{"64 KiB"}},
		{"list", "GET", "", "", 200, []string{`"id":"a"`, `"abort":502`}},
		{"take back", "DELETE", "a", "", 204, nil},
		{"take back again", "DELETE", "a", "", 404, []string{`"code":"no_fault"`, `"hint":"`}},
	} {
		r := request(t, tc.method, strings.TrimSuffix("http://proxy/v1/faults/"+tc.id, "/"), strings.NewReader(tc.body))
		res, err := api.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != tc.status {
			t.Errorf("%s = %s %s, %v; want %d", tc.name, res.Status, b, err, tc.status)
		}
		if len(b) > 0 && !json.Valid(b) {
			t.Errorf("%s answers %q, which is no JSON", tc.name, b)
		}
		for _, want := range tc.says {
			if !strings.Contains(string(b), want) {
				t.Errorf("%s answers %s, want %s in it", tc.name, b, want)
			}
		}
	}
	var field *delivery.FieldError
	if err := w.Driver.(*driver.Driver).Disturb(t.Context(), traffic.Fault{ID: "a/b"}); !errors.As(err, &field) || field.Field != "id" {
		t.Errorf("Disturb of a bad id = %v, want a field error", err)
	}
}

// People who look at failed requests are told that this one was made to fail.
func TestFaultSaysSoInSamples(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	f := shopFault("lab")
	f.Abort = 503
	l.disturb(t, f)
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	samples := make(chan traffic.Sample, 100)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		_ = l.Driver.Watch(ctx, 0, func(f traffic.Frame) {
			for _, s := range f.Failed {
				select {
				case samples <- s:
				default:
				}
			}
		})
	}()
	for {
		do(t, l.trouble(t, "/"))
		select {
		case s := <-samples:
			if s.Caller != "(fault lab)" || s.Status != 503 || s.Error != "aborted by fault lab" || s.Endpoint != "" {
				t.Errorf("sample %+v, want one of the fault, of no instance", s)
			}
			stop()
			<-watched
			return
		case <-ctx.Done():
			t.Fatal("no sample of the aborted requests came")
		case <-time.After(10 * time.Millisecond):
		}
	}
}
