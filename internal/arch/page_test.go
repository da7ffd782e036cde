package arch

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What the data plane says and understands is on its page: every code, metric
// and endpoint, and no metric that is not.
func TestDataPlanePage(t *testing.T) {
	b, err := os.ReadFile("../../docs/data-plane.md")
	if err != nil {
		t.Fatal(err)
	}
	page, all := string(b), ""
	files, err := filepath.Glob("../proxy/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(files, "../traffic/operate.go") {
		if b, err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, "_test.go") {
			all += string(b)
		}
	}
	inside := map[string]bool{
		"not_plain":    true, // is never answered
		"POST /v1/end": true, // is between two processes at an upgrade
	}
	for kind, words := range map[string]*regexp.Regexp{
		"code":     regexp.MustCompile(`(?:Code: |\.Code = |\.Code, [^=\n]*= |const Code[A-Za-z]+ = )"([a-z_]+)"`),
		"metric":   regexp.MustCompile(`"(slipway_[a-z_]+)", Kind: `),
		"endpoint": regexp.MustCompile(`HandleFunc\("((?:GET|PUT|POST|DELETE) [^"]+)"`),
		"header":   regexp.MustCompile(`= "(Slipway-[A-Za-z]+)"`),
	} {
		found := words.FindAllStringSubmatch(all, -1)
		if len(found) < 3 {
			t.Errorf("only %d of kind %s found; is the code written in another way now?", len(found), kind)
		}
		for _, m := range found {
			word := strings.NewReplacer("{id}", "ID", "{target}", "TARGET").Replace(m[1])
			if !inside[word] && !strings.Contains(page, "`"+word+"`") && !strings.Contains(page, "`"+word+"?") {
				t.Errorf("the %s %s is not in docs/data-plane.md", kind, word)
			}
		}
	}
	for _, m := range regexp.MustCompile("`(slipway_[a-z_]+)`").FindAllStringSubmatch(page, -1) {
		if !strings.Contains(all, `"`+m[1]+`"`) {
			t.Errorf("docs/data-plane.md names %s, which is not there", m[1])
		}
	}
}
