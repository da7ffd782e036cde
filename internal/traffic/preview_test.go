package traffic

import (
	"strings"
	"testing"
	"time"
)

func TestPreviewSignature(t *testing.T) {
	key, until := []byte("a key of this data plane"), time.Unix(2_000_000_000, 0)
	header := SignPreview(key, "prod/cart", "v2;odd", until)
	if want, ok := CheckPreview(key, "prod/cart", header, until); !ok || want != "v2;odd" {
		t.Errorf("CheckPreview(%q) = %q, %v, want what was signed", header, want, ok)
	}
	for name, bad := range map[string]func() (string, bool){
		"too late":    func() (string, bool) { return CheckPreview(key, "prod/cart", header, until.Add(time.Second)) },
		"other route": func() (string, bool) { return CheckPreview(key, "prod/shop", header, until) },
		"other key":   func() (string, bool) { return CheckPreview([]byte("guess"), "prod/cart", header, until) },
		"other release": func() (string, bool) {
			return CheckPreview(key, "prod/cart", strings.Replace(header, "v2", "v3", 1), until)
		},
		"longer time": func() (string, bool) {
			return CheckPreview(key, "prod/cart", strings.Replace(header, "until=2", "until=3", 1), until)
		},
		"no signature": func() (string, bool) { return CheckPreview(key, "prod/cart", "v2", until) },
		"no sum":       func() (string, bool) { return CheckPreview(key, "prod/cart", "v2;until=2000000000;sig=", until) },
	} {
		if want, ok := bad(); ok {
			t.Errorf("%s: taken as %q", name, want)
		}
	}
}
