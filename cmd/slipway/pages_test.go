package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/web/browsertest"
)

// stage is the demo, run by the real binary, with a browser before it.
type stage struct {
	t        *testing.T
	bin      string
	state    string
	origin   string
	chromium browsertest.Browser
}

// raise builds the binary, begins the demo and waits until every service runs. In
// the end nothing of it does.
func raise(t *testing.T) *stage {
	t.Helper()
	s := &stage{t: t, bin: filepath.Join(t.TempDir(), "slipway")}
	if out, err := exec.Command("go", "build", "-o", s.bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	dir, err := os.MkdirTemp("", "pages") // short, for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s.state = filepath.Join(dir, ".slipway")
	cmd := exec.CommandContext(t.Context(), s.bin, "demo", "--fast", "--dir", dir, "--port", strconv.Itoa(freeBase(t)))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	var talk lines
	cmd.Stderr = &talk
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Wait(); err != nil && t.Context().Err() == nil {
			t.Errorf("the demo ended: %v\n%s", err, talk.String())
		}
	})
	t.Cleanup(s.chromium.Close)
	at := make(chan string, 1)
	go func() {
		page := regexp.MustCompile(`Page +(http://\S+)`)
		for said := bufio.NewScanner(out); said.Scan(); {
			talk.Write([]byte(said.Text() + "\n"))
			if m := page.FindStringSubmatch(said.Text()); m != nil {
				at <- m[1]
			}
		}
	}()
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case s.origin = <-at:
	case <-late.C:
		t.Fatalf("the demo did not begin:\n%s", talk.String())
	}
	return s
}

// lines is what a program said, written and read by different goroutines.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// slipway runs a command against the stage and returns what it printed.
func (s *stage) slipway(args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, s.bin, append(args, "--state", s.state)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("slipway %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// signIn opens a tab by the link that slipway open prints.
func (s *stage) signIn(o browsertest.Options) *browsertest.Tab {
	s.t.Helper()
	o.Origin = s.origin
	tab := s.chromium.Open(s.t, o)
	said := strings.TrimSpace(s.slipway("open"))
	_, path, ours := strings.Cut(said, s.origin)
	if !ours {
		s.t.Fatalf("slipway open printed %q, want a link to %s", said, s.origin)
	}
	tab.Go(path)
	return tab
}

// hands do what a person does with a page, one way or the other.
type hands interface {
	press(text string)              // a link or a button, by what people read on it
	write(selector, text string)    // into a field
	choose(selector, option string) // of a list
	tick(selector string)           // a box
}

// mouse is somebody who clicks.
type mouse struct{ *browsertest.Tab }

func (m mouse) press(text string) { m.Press(text) }

func (m mouse) write(selector, text string) {
	m.Click(selector)
	m.Type(text)
}

func (m mouse) choose(selector, option string) { m.Choose(selector, option) }

func (m mouse) tick(selector string) { m.Click(selector) }

// keyboard is somebody who never touches a mouse.
type keyboard struct{ *browsertest.Tab }

func (k keyboard) press(text string) {
	k.TabToText(text)
	k.Type(browsertest.Enter)
}

func (k keyboard) write(selector, text string) {
	k.TabTo(selector)
	k.Type(text)
}

func (k keyboard) choose(selector, option string) {
	k.TabTo(selector)
	k.Pick(option)
}

func (k keyboard) tick(selector string) {
	k.TabTo(selector)
	k.Type(" ")
}

// patience is how long a rollout of the demo may take on a busy machine.
const patience = 4 * time.Minute

// player plays the story of the demo at a tab.
type player struct {
	*browsertest.Tab
	hands
}

// service goes to the page of a service.
func (p player) service(name string) {
	p.press("Services")
	p.AwaitText("h1", "Services")
	p.press(name)
	p.AwaitText("h1", name)
}

// deploy deploys a version and is then on the page of the change.
func (p player) deploy(service, version string, also ...func()) {
	p.service(service)
	p.press("Deploy…")
	p.Await("versions can be chosen", `document.querySelector("#act-version")`)
	p.choose("#act-version", version)
	for _, more := range also {
		more()
	}
	p.press("Show what it would do")
	p.AwaitText("main", "prod")
	p.press("Deploy")
	p.Await("the change is shown", `location.pathname.startsWith("/changes/")`)
	p.AwaitText("h1", service)
}

// ends waits until the page of the change says how it ended.
func (p player) ends(sign, said string) {
	p.AwaitFor(patience, "the change ends: "+said, `document.querySelector("#verdict.`+sign+` h2")?.innerText.includes("`+said+`")`)
}

// play is the story: a good version goes out, a bad one is caught and held, the
// hold is lifted, the good one is taken back, and a switch is made.
func (p player) play(t *testing.T) {
	t.Log("payment v2 goes out")
	p.deploy("payment", "v2")
	p.ends("is-good", "v2 went into prod")

	t.Log("payment v3-bad is caught")
	p.deploy("payment", "v3-bad")
	p.ends("is-bad", "Rolled back automatically")
	p.AwaitText("#verdict", "on hold")
	p.AwaitText("#why", "worse")
	p.Await("the curve is drawn", `document.querySelector("slipway-chart canvas")`)
	p.AwaitText("#failure", "POST /charge → 502")

	t.Log("the hold is lifted")
	p.press("Release hold on v3-bad…")
	p.AwaitText("dialog[open]", "payment v3-bad")
	p.press("Release")
	p.Await("the service is shown, and v3-bad is held no more", `location.pathname === "/services/payment" && document.readyState === "complete" && !document.body.innerText.includes("Release hold on v3-bad")`)

	t.Log("payment goes back")
	p.service("payment")
	p.press("Roll back prod…")
	p.AwaitText("dialog[open]", "v1")
	p.write("#act-type", "payment")
	p.press("Roll back")
	p.Await("the change is shown", `location.pathname.startsWith("/changes/")`)
	p.ends("is-good", "went back to v1")

	t.Log("shop v2 is up beside v1, and all requests are switched to it")
	p.deploy("shop", "v2", func() { p.choose("#act-strategy", "blue-green") }, func() { p.tick("[name=approve]") })
	p.AwaitTextFor(patience, "#verdict", "in prod and answers on its preview route alone")
	p.press("Switch to v2…")
	p.AwaitText("dialog[open]", "in prod")
	p.press("Switch")
	p.ends("is-good", "v2 went into prod")
}

// The story of the demo, on the real binary with real services and shoppers, by
// clicks. What it leaves is looked at once more: page by page, by axe and by people.
func TestStoryByClicks(t *testing.T) {
	s := raise(t)
	tab := s.signIn(browsertest.Options{Width: 1440})
	p := player{tab, mouse{tab}}
	p.press("Sign in")
	tab.AwaitText("h1", "can be deployed")
	p.play(t)
	s.portray(tab)
}

// The same without a mouse, in the dark and on a smaller window.
func TestStoryByKeyboard(t *testing.T) {
	s := raise(t)
	tab := s.signIn(browsertest.Options{Dark: true})
	p := player{tab, keyboard{tab}}
	p.press("Sign in")
	tab.AwaitText("h1", "can be deployed")
	p.play(t)
}

// portraits are the pages that pictures are taken of, by the names of the files.
func portraits() map[string]string {
	return map[string]string{
		"board": "/", "changes": "/changes", "change-bad": "/changes/7", "change-good": "/changes/6", "change-back": "/changes/8", "change-switch": "/changes/9",
		"services": "/services", "service": "/services/payment", "logs": "/services/payment/logs", "service-settings": "/services/payment/settings",
		"environments": "/environments", "graph": "/graph", "numbers": "/numbers", "settings": "/settings", "keys": "/keys", "commands": "/commands",
		"deploy": "/act/deploy?service=cart", "deploy-planned": "/act/deploy?service=cart&version=v2&planned=1", "rollback": "/act/rollback?service=shop&env=prod", "nothing": "/nowhere",
	}
}

// portray takes a picture of every page, light and dark, wide and narrow, into a
// folder that stays, and lets axe look at what real numbers made of it.
func (s *stage) portray(tab *browsertest.Tab) {
	s.t.Helper()
	tab.Forgive(func(fault string) bool { return strings.Contains(fault, "status of 4") }) // of the page that is not there
	dir := os.Getenv("SLIPWAY_SCREENSHOTS")
	if dir == "" {
		dir = filepath.Join(os.TempDir(), "slipway-screenshots")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	all := portraits()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		tab.Size(1440, 900)
		tab.Theme(false)
		tab.Go(all[name])
		for _, dark := range []bool{false, true} {
			tab.Theme(dark)
			for _, width := range []int{1440, 360} {
				tab.Size(width, 900)
				tab.Drawn()
				shade := map[bool]string{false: "light", true: "dark"}[dark]
				tab.Shot(filepath.Join(dir, fmt.Sprintf("%s-%s-%d.png", name, shade, width)))
			}
			for _, v := range tab.Axe() {
				s.t.Errorf("%s, dark %t: %s", all[name], dark, v)
			}
		}
	}
	s.t.Logf("pictures of %d pages, light and dark, wide and narrow, are in %s", len(all), dir)
}
