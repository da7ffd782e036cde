package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for something that must happen.
const patience = 2 * time.Minute

// With HARBOR_SERVE set this binary is one of harbor's Go services, as the
// slipway binary is under "slipway demo serve".
func TestMain(m *testing.M) {
	if name := os.Getenv("HARBOR_SERVE"); name != "" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		if err := Serve(ctx, name, os.Getenv, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// quiet is a version that never fails and takes no time.
func quiet(version string) Behaviour { return Behaviour{Version: version} }

// instance is one running service.
type instance struct {
	url  string
	log  *lines
	end  func()        // tells it to end
	done chan struct{} // closed when it has ended
	err  error         // how; to be read after done
}

// stop tells the instance to end, waits, and says how it ended.
func (i *instance) stop() error {
	i.end()
	return i.wait()
}

// wait says how the instance ended by itself.
func (i *instance) wait() error {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case <-i.done:
		return i.err
	case <-limit.C:
		return fmt.Errorf("still runs after %s", patience)
	}
}

// lines is what an instance wrote, and a way to wait for it.
type lines struct {
	mu   sync.Mutex
	all  []map[string]any
	bell chan struct{}
	part bytes.Buffer
}

func newLines() *lines { return &lines{bell: make(chan struct{}, 1)} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.part.Write(p)
	for {
		text := l.part.Bytes()
		i := bytes.IndexByte(text, '\n')
		if i < 0 {
			break
		}
		line := map[string]any{}
		if err := json.Unmarshal(text[:i], &line); err != nil {
			line["not_json"] = string(text[:i])
		}
		l.part.Next(i + 1)
		l.all = append(l.all, line)
	}
	select {
	case l.bell <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (l *lines) with(msg string) []map[string]any {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []map[string]any
	for _, line := range l.all {
		if line["msg"] == msg {
			found = append(found, line)
		}
	}
	return found
}

// eventually polls until ok, and fails the test when patience ends.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("did not happen in %s: %s", patience, what)
		}
	}
}

// way is one way to run a service.
type way string

const (
	inside  way = "go"         // Serve in this process
	outside way = "go process" // Serve in a process of its own
	node    way = "node"
	python  way = "python"
)

// waysOf lists how a service can be run. Each must behave like every other.
func waysOf(service string) []way {
	switch service {
	case "catalog":
		return []way{inside, outside, node}
	case "pricing":
		return []way{inside, outside, python}
	}
	return []way{inside, outside}
}

// bundle writes one version of a service and returns its folder.
func bundle(t *testing.T, service string, w way, how Behaviour) string {
	t.Helper()
	m := member{Name: service, Language: "go"}
	if w == node || w == python {
		m.Language = string(w)
	}
	dir := filepath.Join(t.TempDir(), service, how.Version)
	if err := writeBundle(dir, m, how); err != nil {
		t.Fatal(err)
	}
	return dir
}

// start runs a service and returns when it listens. vars are pairs "KEY=value";
// without a PORT among them it takes any.
func start(t *testing.T, service string, w way, how Behaviour, vars ...string) *instance {
	t.Helper()
	i := launch(t, service, w, bundle(t, service, w, how), append([]string{"PORT=0"}, vars...))
	var listening []map[string]any
	eventually(t, service+" listens", func() bool {
		listening = i.log.with("listening")
		return len(listening) > 0
	})
	i.url = fmt.Sprintf("http://127.0.0.1:%v", listening[0]["port"])
	return i
}

// launch runs a service, which may fail to start.
func launch(t *testing.T, service string, w way, dir string, vars []string) *instance {
	t.Helper()
	i := &instance{log: newLines(), done: make(chan struct{})}
	if w == inside {
		ctx, cancel := context.WithCancel(t.Context())
		env := func(key string) string {
			if key == "HARBOR_BUNDLE" {
				return dir
			}
			for _, v := range slices.Backward(vars) {
				if value, ok := strings.CutPrefix(v, key+"="); ok {
					return value
				}
			}
			return ""
		}
		i.end = cancel
		go func() {
			i.err = Serve(ctx, service, env, i.log)
			close(i.done)
		}()
	} else {
		cmd := command(t, service, w)
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, i.log, i.log
		cmd.Env = append(append(os.Environ(), "HARBOR_SERVE="+service, "GORACE=atexit_sleep_ms=0"), vars...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		i.end = func() { _ = cmd.Process.Signal(syscall.SIGTERM) }
		go func() {
			i.err = cmd.Wait()
			close(i.done)
		}()
		t.Cleanup(func() { _ = cmd.Process.Kill() })
	}
	t.Cleanup(func() { _ = i.stop() })
	return i
}

func command(t *testing.T, service string, w way) *exec.Cmd {
	t.Helper()
	if w == outside {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		return exec.Command(self)
	}
	have := Look(t.Context())
	if have.Language(service) != string(w) {
		t.Fatalf("%s is needed for this test: %+v", w, have)
	}
	return exec.Command(Options{Have: have}.command(service)[0], Options{Have: have}.command(service)[1:]...)
}

// got is one answer.
type got struct {
	status int
	header http.Header
	body   map[string]any
}

// do sends one request and reads the answer.
func do(t *testing.T, client *http.Client, method, url, body string, header ...string) got {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	g := got{status: resp.StatusCode, header: resp.Header, body: map[string]any{}}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(text, &g.body); err != nil {
			t.Fatalf("%s %s answered %q: %v", method, url, text, err)
		}
	} else {
		g.body["text"] = string(text)
	}
	return g
}

// newClient returns a client with connections of its own, closed at the end of the test.
func newClient(t *testing.T) *http.Client {
	t.Helper()
	wire := &http.Transport{MaxIdleConnsPerHost: 32}
	t.Cleanup(wire.CloseIdleConnections)
	return &http.Client{Transport: wire, Timeout: patience}
}

// system is the five services, wired to each other.
type system struct {
	shop, cart, catalog, pricing, payment *instance
}

// startSystem runs harbor with pay as the payment version, in the given ways.
func startSystem(t *testing.T, inCatalog, inPricing way, pay Behaviour, payVars ...string) system {
	t.Helper()
	var s system
	s.pricing = start(t, "pricing", inPricing, quiet("v1"))
	s.catalog = start(t, "catalog", inCatalog, quiet("v2"), "PRICING_URL="+s.pricing.url)
	s.cart = start(t, "cart", inside, quiet("v1"), "PRICING_URL="+s.pricing.url)
	s.payment = start(t, "payment", inside, pay, payVars...)
	s.shop = start(t, "shop", inside, quiet("v1"),
		"CATALOG_URL="+s.catalog.url, "CART_URL="+s.cart.url+"/", "PAYMENT_URL="+s.payment.url)
	return s
}
