package web

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"regexp"
	"strings"
	"testing"
)

// What others wrote is as they published it, and each file of it has its line.
func TestVendoredIsAsPublished(t *testing.T) {
	readme, err := assetFiles.ReadFile("vendored/README.md")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, line := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|.*`([0-9a-f]{64})` \\|$").FindAllStringSubmatch(string(readme), -1) {
		want[line[1]] = line[2]
	}
	files, err := assetFiles.ReadDir("vendored")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Name() == "README.md" {
			continue
		}
		content, err := assetFiles.ReadFile(path.Join("vendored", f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(content)
		if got := hex.EncodeToString(sum[:]); got != want[f.Name()] {
			t.Errorf("%s has the hash %s, vendored/README.md says %q", f.Name(), got, want[f.Name()])
		}
		delete(want, f.Name())
	}
	for name := range want {
		t.Errorf("vendored/README.md tells of %s, which is not there", name)
	}
}

// Every icon that a page can ask for is drawn, and every drawing has one name.
func TestIcons(t *testing.T) {
	drawn := map[string]bool{}
	for _, m := range regexp.MustCompile(`<symbol id="([^"]+)"`).FindAllStringSubmatch(string(assets()["icons.svg"]), -1) {
		if drawn[m[1]] {
			t.Errorf("two icons are called %s", m[1])
		}
		drawn[m[1]] = true
	}
	wanted := map[string]string{}
	for _, tab := range tabs() {
		wanted[tab.Name] = "the navigation"
	}
	templates, err := templateFiles.ReadDir("templates")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range templates {
		text, err := templateFiles.ReadFile(path.Join("templates", f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`template "icon" "([^"]+)"`).FindAllStringSubmatch(string(text), -1) {
			wanted[m[1]] = f.Name()
		}
		if strings.Contains(string(text), " style=") || strings.Contains(string(text), " onclick=") {
			t.Errorf("%s has style or script in an attribute, which the policy forbids", f.Name())
		}
	}
	for _, s := range []sign{signWaiting, signRunning, signGood, signFailed, signBack, signPaused, signBlocked, signUnknown, signSuperseded} {
		wanted[s.Icon] = "words.go"
	}
	for name, by := range wanted {
		if !drawn[name] {
			t.Errorf("%s asks for the icon %q, which is not drawn", by, name)
		}
	}
}
