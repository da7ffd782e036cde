package proxy

import (
	"fmt"
	"testing"
)

func TestVersionAndMethodNames(t *testing.T) {
	for proto, want := range map[string]string{"HTTP/1.0": "1.0", "HTTP/1.1": "1.1", "HTTP/2.0": "2", "HTTP/3.0": "3"} {
		if got := versionOf(proto); got != want {
			t.Errorf("versionOf(%s) = %q, want %q", proto, got, want)
		}
	}
	if m := methodOf("BREW"); m != otherMethod || nameOf(m) != "HTTP" || nameOf(methodOf("GET")) != "GET" {
		t.Errorf("an unknown method is %q, its span %q", m, nameOf(m))
	}
	for in, want := range map[string]string{"shop": "shop 0", "shop:80": "shop 80", "[::1]:8080": "::1 8080", "": " 0"} {
		host, port := hostAndPort(in)
		if got := fmt.Sprint(host, " ", port); got != want {
			t.Errorf("hostAndPort(%q) = %s, want %s", in, got, want)
		}
	}
}
