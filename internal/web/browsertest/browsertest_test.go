package browsertest

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var chromium Browser

func TestMain(m *testing.M) {
	code := m.Run()
	chromium.Close()
	os.Exit(code)
}

// axe is what its authors published, as axe/README.md says.
func TestAxeIsAsPublished(t *testing.T) {
	t.Parallel()
	sum := sha256.Sum256([]byte(axe))
	readme, err := os.ReadFile("axe/README.md")
	if err != nil {
		t.Fatal(err)
	}
	const want = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
	if got := hex.EncodeToString(sum[:]); got != want || !strings.Contains(string(readme), want) {
		t.Errorf("axe has the hash %s, want %s, and axe/README.md to say so", got, want)
	}
}

// site answers with pages, under a policy that lets scripts of its own run.
func site(t *testing.T, pages map[string]string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := pages[r.URL.Path]
		switch {
		case r.URL.Path == "/icon.svg":
			w.Header().Set("Content-Type", "image/svg+xml")
			body = `<svg xmlns="http://www.w3.org/2000/svg"/>`
		case !ok:
			http.NotFound(w, r)
			return
		case strings.HasSuffix(r.URL.Path, ".js"):
			w.Header().Set("Content-Type", "text/javascript")
		default:
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Content-Security-Policy", "default-src 'self'")
			body = `<!doctype html><html lang="en"><head><title>a page</title><link rel="icon" href="/icon.svg"></head><body><main><h1>A page</h1>` + body + `</main></body></html>`
		}
		w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// What a person does is done: typing, clicking what moves, going with the tab key.
func TestHands(t *testing.T) {
	t.Parallel()
	origin := site(t, map[string]string{
		"/":     `<p><label>Name <input id="name"></label> <button id="late" disabled>Greet</button></p><p id="out" role="status"></p><p><a href="/next">Go on</a></p><script src="/a.js"></script>`,
		"/a.js": `late.addEventListener("click", () => out.textContent = "hello " + document.getElementById("name").value); setTimeout(() => late.disabled = false, 200)`,
		"/next": `<p>the next page</p>`,
	})
	tab := chromium.Open(t, Options{Origin: origin})
	tab.Go("/")
	tab.Click("#name")
	tab.Type("ann")
	tab.Press("Greet")
	tab.AwaitText("#out", "hello ann")
	if got := tab.Axe(); len(got) > 0 {
		t.Errorf("axe: %v", got)
	}
	tab.TabToText("Go on")
	tab.Type(Enter)
	tab.AwaitText("main", "the next page")
	if got := tab.Path(); got != "/next" {
		t.Errorf("path = %q, want /next", got)
	}
	file := filepath.Join(t.TempDir(), "shots", "next.png")
	tab.Shot(file)
	if b, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(b), "\x89PNG") {
		t.Errorf("the picture is no PNG: %v", err)
	}
}

// What goes wrong unseen is noted, each kind of it: an instrument that finds
// nothing anywhere proves nothing.
func TestFaults(t *testing.T) {
	t.Parallel()
	origin := site(t, map[string]string{
		"/inline":    `<script>document.title = "ran"</script>`,
		"/style":     `<p style="color: red">red</p>`,
		"/foreign":   `<img alt="x" src="http://127.0.0.1:9/x.png">`,
		"/missing":   `<script src="/none.js"></script>`,
		"/throws":    `<script src="/throws.js"></script>`,
		"/throws.js": `console.error("odd"); throw new Error("broken")`,
	})
	for path, want := range map[string][]string{
		"/inline": {"Content Security Policy"}, "/style": {"Content Security Policy"}, "/foreign": {"asked another origin: http://127.0.0.1:9/x.png"},
		"/missing": {"404"}, "/throws": {"odd", "broken"},
	} {
		tab := chromium.Open(t, Options{Origin: origin})
		tab.Go(path)
		began, all := time.Now(), ""
		for _, w := range want {
			for !strings.Contains(all, w) { // the browser tells of them soon after
				if time.Since(began) > limit {
					t.Fatalf("%s: faults are %q, want one with %q", path, all, w)
				}
				all += strings.Join(tab.Faults(), "\n")
				tab.Await("the page is there", "true")
			}
		}
		tab.Forgive(func(string) bool { return true })
	}
}

// axe sees what is wrong with a page.
func TestAxeFinds(t *testing.T) {
	t.Parallel()
	origin := site(t, map[string]string{"/": `<img src="/x.svg"><input>`, "/x.svg": ``})
	tab := chromium.Open(t, Options{Origin: origin})
	tab.Go("/")
	var ids []string
	for _, v := range tab.Axe() {
		ids = append(ids, v.ID)
	}
	if all := strings.Join(ids, " "); !strings.Contains(all, "image-alt") || !strings.Contains(all, "label") {
		t.Errorf("axe found %q, want image-alt and label", ids)
	}
}

// Without scripts a page is what the server sent, and can still be asked.
func TestNoScript(t *testing.T) {
	t.Parallel()
	origin := site(t, map[string]string{"/": `<p id="out">as sent</p><script src="/a.js"></script>`, "/a.js": `out.textContent = "changed"`})
	tab := chromium.Open(t, Options{Origin: origin, NoScript: true})
	tab.Go("/")
	if got := tab.Text("#out"); got != "as sent" {
		t.Errorf("text = %q, want it as sent", got)
	}
}
