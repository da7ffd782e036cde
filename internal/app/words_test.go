package app

import (
	"os"
	"path/filepath"
	"testing"
)

// What a process said last is told from its reason on, without what is for machines.
func TestLastWords(t *testing.T) {
	const log = `{"level":"INFO","msg":"control plane runs"}` + "\n"
	for name, c := range map[string]struct{ old, fresh, want string }{
		"reason and next": {"✖ old\n", log + "  a word before\n✖ listen: in use\n  next  slipway doctor\n" + log, "✖ listen: in use; next slipway doctor"},
		"plain":           {"", "app: store: open\n" + log, "app: store: open"},
		"panic":           {"", "panic: at sea\n\ngoroutine 1:\nmain.a()\n\tmain.go:1\nmain.b()\n", "panic: at sea; goroutine 1:; main.a(); main.go:1"},
		"machines only":   {"", log + `{"msg":"last"}` + "\n", `{"msg":"last"}`},
		"nothing new":     {"x\ny\n", "", "y"},
	} {
		path := filepath.Join(t.TempDir(), "server.log")
		if err := os.WriteFile(path, []byte(c.old+c.fresh), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := lastWords(path, int64(len(c.old))); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
