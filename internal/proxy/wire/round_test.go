package wire

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// What is written is read as it was meant.
func TestRoundTrip(t *testing.T) {
	name := rapid.StringMatching("[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}").Filter(func(s string) bool {
		k := KindOf([]byte(s))
		return k != KindHost && k != KindContentLength && k != KindTransferEncoding && k != KindConnection
	})
	value := rapid.StringMatching("([!-~\u0080-\u00ff]([\t -~\u0080-\u00ff]{0,100}[!-~\u0080-\u00ff])?)?")
	space := rapid.StringMatching("[ \t]{0,3}")
	rapid.Check(t, func(t *rapid.T) {
		method := rapid.SampledFrom([]string{"GET", "POST", "PUT", "M-SEARCH", "get"}).Draw(t, "method")
		path := rapid.StringMatching("/([!$&-;=@-~]|%[0-9a-fA-F]{2}){0,60}").Draw(t, "path")
		query := rapid.StringMatching("(\\?[!$-~]{0,60})?").Draw(t, "query")
		host := rapid.StringMatching("[a-z0-9._-]{1,20}(:[0-9]{1,5})?").Draw(t, "host")
		length := rapid.Int64Range(Chunked, 1<<62).Draw(t, "length")
		var fields []string
		b := fmt.Appendf(nil, "%s %s%s HTTP/1.1\r\nHost: %s\r\n", method, path, query, host)
		for range rapid.IntRange(0, 20).Draw(t, "fields") {
			n, v := name.Draw(t, "name"), value.Draw(t, "value")
			fields = append(fields, n+"="+v)
			b = append(b, n+":"+space.Draw(t, "before")+v+space.Draw(t, "behind")+"\r\n"...)
		}
		switch {
		case length == Chunked:
			b = append(b, "Transfer-Encoding: chunked\r\n"...)
		case length > 0:
			b = fmt.Appendf(b, "Content-Length: %d\r\n", length)
		}
		b = append(b, "\r\n"...)
		var r Request
		n, err := r.Parse(b, Limits{})
		if err != nil || n != len(b) {
			t.Fatalf("Parse(%q) = %d, %v", b, n, err)
		}
		var got []string
		for _, f := range r.Fields[1 : 1+len(fields)] {
			got = append(got, string(f.Name)+"="+string(f.Value))
		}
		if string(r.Method) != method || string(r.Target) != path+query || string(r.Path) != path || string(r.Query) != strings.TrimPrefix(query, "?") ||
			string(r.Host) != host || r.Length != length || strings.Join(got, "\n") != strings.Join(fields, "\n") {
			t.Errorf("Parse(%q) read %+v", b, r)
		}
	})
}

func TestChunkRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b, want []byte
		for _, piece := range rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 300), 0, 8).Draw(t, "pieces") {
			b = AppendChunk(b, piece)
			want = append(want, piece...)
		}
		b = AppendLast(b, nil)
		behind := rapid.SliceOfN(rapid.Byte(), 0, 10).Draw(t, "behind")
		b = append(b, behind...)
		var c Chunks
		data, rest, err := decode(&c, b, rapid.IntRange(1, 400).Draw(t, "by"))
		if err != nil || !c.Done() || !bytes.Equal(data, want) || rest != len(behind) {
			t.Fatalf("decode(%q) = %q, rest %d, %v", b, data, rest, err)
		}
	})
}
