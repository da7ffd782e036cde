package browsertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Tab is one window of a browser. What cannot be done ends the test, and says
// what the page showed then. It is for one goroutine.
type Tab struct {
	t       testing.TB
	ctx     context.Context // chromedp keeps a tab in one
	origin  string
	listens bool // its pages run scripts

	mu      sync.Mutex
	faults  []string
	opened  []string
	forgive func(fault string) bool
}

// hear takes note of what went wrong where no test looks: a request to another
// origin, an error in the console, a policy that a page broke. It is called by
// the goroutine that reads from the browser.
func (tab *Tab) hear(ev any) {
	switch ev := ev.(type) {
	case *network.EventRequestWillBeSent:
		url := ev.Request.URL
		if ev.Type == network.ResourceTypeDocument {
			tab.mu.Lock()
			tab.opened = append(tab.opened, ev.Request.Method+" "+url)
			tab.mu.Unlock()
		}
		if !strings.HasPrefix(url, tab.origin+"/") && !strings.HasPrefix(url, "data:") {
			tab.fault("asked another origin: " + url)
		}
	case *runtime.EventExceptionThrown:
		text := ev.ExceptionDetails.Text
		if e := ev.ExceptionDetails.Exception; e != nil {
			text += " " + e.Description
		}
		tab.fault("exception: " + text)
	case *runtime.EventConsoleAPICalled:
		if ev.Type != "error" && ev.Type != "warning" && ev.Type != "assert" {
			return
		}
		var parts []string
		for _, arg := range ev.Args {
			parts = append(parts, string(arg.Value)+arg.Description)
		}
		tab.fault("console " + string(ev.Type) + ": " + strings.Join(parts, " "))
	case *log.EventEntryAdded:
		if ev.Entry.Level == log.EntryLevelError || ev.Entry.Level == log.EntryLevelWarning {
			tab.fault(fmt.Sprintf("%s %s: %s %s", ev.Entry.Source, ev.Entry.Level, ev.Entry.Text, ev.Entry.URL))
		}
	}
}

func (tab *Tab) fault(text string) {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	tab.faults = append(tab.faults, text)
}

// Faults are what went wrong since it was asked last and is not forgiven.
func (tab *Tab) Faults() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	out := tab.faults
	tab.faults = nil
	if tab.forgive != nil {
		out = slices.DeleteFunc(out, tab.forgive)
	}
	return slices.Compact(out)
}

// Forgive says which faults a test brings about itself: a connection that it
// cuts, a page that it knows is not there.
func (tab *Tab) Forgive(ok func(fault string) bool) {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	tab.forgive = ok
}

// Opened lists the pages that were asked for so far, without what they load and
// what their scripts ask: "GET http://127.0.0.1:7500/".
func (tab *Tab) Opened() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	return slices.Clone(tab.opened)
}

// do carries out actions of chromedp.
func (tab *Tab) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, limit)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		tab.t.Fatalf("%s: %v\n%s", what, err, tab.shown())
	}
}

// call sends one command of the protocol.
func call[P, R any](tab *Tab, cmd cdp.Command[P, R], params P) R {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, limit)
	defer cancel()
	r, err := chromedp.Call(ctx, cmd, params)
	if err != nil {
		tab.t.Fatalf("%s: %v\n%s", cmd.Method, err, tab.shown())
	}
	return r
}

// Go opens a page by its path, and returns when it is there with all it loads.
func (tab *Tab) Go(path string) {
	tab.t.Helper()
	for began := time.Now(); ; {
		err := tab.navigate(tab.origin + path)
		if err == nil {
			return
		}
		if e, ok := errors.AsType[*chromedp.LoadError](err); !ok || e.ErrorText != aborted || time.Since(began) > limit {
			tab.t.Fatalf("open %s: %v\n%s", path, err, tab.shown())
		}
	}
}

// aborted is what becomes of a page that another takes the place of, such as one
// that a key led to and nobody waited for.
const aborted = "net::ERR_ABORTED"

func (tab *Tab) navigate(url string) error {
	ctx, cancel := context.WithTimeout(tab.ctx, limit)
	defer cancel()
	return chromedp.Do(ctx, chromedp.Navigate(url))
}

// Size makes the window so wide and so high.
func (tab *Tab) Size(width, height int) {
	tab.t.Helper()
	call(tab, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: int64(width), Height: int64(height), DeviceScaleFactor: 1})
	tab.Await(fmt.Sprintf("the window is %d wide and %d high", width, height), fmt.Sprintf("innerWidth === %d && innerHeight === %d", width, height))
}

// Theme sets the colours that the person at the window prefers. Nothing moves by itself.
func (tab *Tab) Theme(dark bool) {
	tab.t.Helper()
	colours := "light"
	if dark {
		colours = "dark"
	}
	call(tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: colours}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
	tab.Await("the colours are "+colours, fmt.Sprintf(`matchMedia("(prefers-color-scheme: %s) and (prefers-reduced-motion: reduce)").matches`, colours))
}

// try evaluates a JavaScript expression into v, as JSON.
func (tab *Tab) try(expression string, v any) error {
	ctx, cancel := context.WithTimeout(tab.ctx, limit)
	defer cancel()
	raw, err := chromedp.Run(ctx, chromedp.Evaluate[[]byte](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, v)
}

// Eval evaluates a JavaScript expression into v, as JSON; a promise is waited for.
// If the page goes away meanwhile, the one that comes is asked.
func (tab *Tab) Eval(expression string, v any) {
	tab.t.Helper()
	err := tab.try(expression, v)
	for began := time.Now(); err != nil && pageGone(err) && time.Since(began) < limit; {
		err = tab.try(expression, v)
	}
	if err != nil {
		tab.t.Fatalf("%s: %v\n%s", expression, err, tab.shown())
	}
}

// pageGone reports whether a page could not be asked because another took its
// place: the protocol has no code for it.
func pageGone(err error) bool {
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "context was destroyed") || strings.Contains(text, "navigated or closed") || strings.Contains(text, "cannot find context")
}

// Is reports whether a JavaScript expression is true now.
func (tab *Tab) Is(expression string) bool {
	tab.t.Helper()
	var ok bool
	tab.Eval("!!("+expression+")", &ok)
	return ok
}

// look is how often a tab is asked whether what a test waits for is there.
const look = 30 * time.Millisecond

// Await waits until a JavaScript expression is true. A page that comes and goes
// meanwhile is asked again.
func (tab *Tab) Await(what, expression string) { tab.t.Helper(); tab.AwaitFor(limit, what, expression) }

// AwaitFor is Await for what takes longer than a page should.
func (tab *Tab) AwaitFor(most time.Duration, what, expression string) {
	tab.t.Helper()
	deadline := time.NewTimer(most)
	defer deadline.Stop()
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		var ok bool
		if err := tab.try("!!("+expression+")", &ok); err == nil && ok {
			return
		}
		select {
		case <-ticker.C:
		case <-deadline.C:
			tab.t.Fatalf("never: %s (%s)\n%s", what, expression, tab.shown())
		case <-tab.ctx.Done():
			tab.t.Fatalf("%s: the tab is gone: %v", what, tab.ctx.Err())
		}
	}
}

// Text is what people read in what a selector finds first; "body" for everything.
func (tab *Tab) Text(selector string) string {
	tab.t.Helper()
	var text string
	tab.Eval(fmt.Sprintf(`(document.querySelector(%s) || {innerText: ""}).innerText`, quote(selector)), &text)
	return text
}

// AwaitText waits until people can read this in what a selector finds.
func (tab *Tab) AwaitText(selector, text string) {
	tab.t.Helper()
	tab.Await(fmt.Sprintf("%s says %q", selector, text), says(selector, text))
}

// AwaitTextFor is AwaitText for what takes longer than a page should.
func (tab *Tab) AwaitTextFor(most time.Duration, selector, text string) {
	tab.t.Helper()
	tab.AwaitFor(most, fmt.Sprintf("%s says %q", selector, text), says(selector, text))
}

func says(selector, text string) string {
	return fmt.Sprintf(`[...document.querySelectorAll(%s)].some(e => e.innerText.replace(/\s+/g, " ").includes(%s))`, quote(selector), quote(text))
}

// Path is where the tab is, with its query.
func (tab *Tab) Path() string {
	tab.t.Helper()
	var path string
	tab.Eval("location.pathname + location.search", &path)
	return path
}

// shown is what the page shows, for a test that fails.
func (tab *Tab) shown() string {
	var text string
	if err := tab.try(`location.href + " · " + document.title + "\n" + (document.body ? document.body.innerText : "")`, &text); err != nil {
		return "the page cannot be read: " + err.Error()
	}
	const most = 4000
	if len(text) > most {
		text = text[:most] + " …"
	}
	return text
}

// Shot keeps a picture of the whole page in a file.
func (tab *Tab) Shot(path string) {
	tab.t.Helper()
	var size struct{ W, H float64 }
	tab.Eval(`({W: document.documentElement.clientWidth, H: Math.max(innerHeight, document.documentElement.scrollHeight)})`, &size)
	yes := true
	r := call(tab, page.CaptureScreenshot, page.CaptureScreenshotParams{
		Format: page.CaptureScreenshotFormatPng, CaptureBeyondViewport: &yes, Clip: &page.Viewport{Width: size.W, Height: size.H, Scale: 1},
	})
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tab.t.Fatal(err)
	}
	if err := os.WriteFile(path, r.Data, 0o644); err != nil {
		tab.t.Fatal(err)
	}
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil { // a string can be written
		panic(err)
	}
	return string(b)
}
