package browsertest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// Browser is one Chromium for all tests of a package: a process that starts when
// the first tab is opened. The zero value is ready; Close ends it.
type Browser struct {
	mu     sync.Mutex
	ctx    context.Context // chromedp keeps a browser in one
	cancel context.CancelFunc
}

// Options says how a tab is. The zero value is a wide window in light colours.
type Options struct {
	Origin   string // "http://127.0.0.1:7500"; what asks anywhere else fails the test
	Width    int    // 0 is 1280
	Dark     bool
	NoScript bool
}

// names are what Chromium is called.
func names() []string { return []string{"chromium", "chromium-browser", "google-chrome"} }

// find returns the program.
func find() (string, error) {
	for _, name := range names() {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("browsertest: there is no Chromium; tools/setup installs it")
}

// start makes the browser run, once. Its caller holds mu.
func (b *Browser) start(ctx context.Context) error {
	if b.ctx != nil {
		return nil
	}
	path, err := find()
	if err != nil {
		return err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("lang", "en"), chromedp.Flag("hide-scrollbars", true), chromedp.Env("TZ="+os.Getenv("TZ")))
	allocator, free := chromedp.NewExecAllocator(context.WithoutCancel(ctx), options...)
	browser, end := chromedp.NewContext(allocator)
	late := time.AfterFunc(limit, end) // a context with a deadline would end the browser with it
	defer late.Stop()
	if err := chromedp.Do(browser); err != nil {
		end()
		free()
		return fmt.Errorf("browsertest: start %s: %w", path, err)
	}
	b.ctx, b.cancel = browser, func() { end(); free() }
	return nil
}

// Close ends the process, if one was started.
func (b *Browser) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cancel != nil {
		b.cancel()
	}
	b.ctx, b.cancel = nil, nil
}

// limit bounds every single thing that a tab is asked to do or to wait for.
const limit = 2 * time.Minute

// Open opens a tab with cookies and a storage of its own. At the end of the test
// it is closed, and whatever went wrong in it unseen fails the test.
func (b *Browser) Open(t testing.TB, o Options) *Tab {
	t.Helper()
	b.mu.Lock()
	err := b.start(t.Context())
	parent := b.ctx
	b.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	tab := &Tab{t: t, origin: o.Origin, listens: !o.NoScript}
	ctx, cancel := chromedp.NewContext(parent, chromedp.WithNewBrowserContext(), chromedp.WithListener(tab.hear))
	tab.ctx = ctx
	late := time.AfterFunc(limit, cancel) // a context with a deadline would end the tab with it
	defer late.Stop()
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	t.Cleanup(func() {
		t.Helper()
		cancel()
		for _, fault := range tab.Faults() {
			t.Error(fault)
		}
	})
	call(tab, network.Enable, network.EnableParams{})
	call(tab, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}) // also when another tab came later
	if o.Width == 0 {
		o.Width = 1280
	}
	tab.Size(o.Width, 900)
	tab.Theme(o.Dark)
	if o.NoScript {
		call(tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	}
	return tab
}
