// Command reverse is the proxy of the standard library, httputil.ReverseProxy,
// over two upstreams that it draws 90 to 10. "naive" is how it is usually set
// up; "tuned" keeps its connections and its buffers. It serves until it is killed.
package main

import (
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"time"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "host:port to serve on, HTTP/1.1 and h2c")
	most := flag.String("most", "", "host:port of the upstream that gets 90 %")
	rest := flag.String("rest", "", "host:port of the upstream that gets 10 %")
	tuned := flag.Bool("tuned", false, "keep 1,024 idle connections an upstream, pool buffers, never compress")
	flag.Parse()
	if *most == "" || *rest == "" {
		fmt.Fprintln(os.Stderr, "reverse: name both upstreams with -most and -rest")
		os.Exit(2)
	}
	proxy := &httputil.ReverseProxy{Rewrite: split(*most, *rest)}
	if *tuned {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConns, t.MaxIdleConnsPerHost, t.DisableCompression = 0, 1024, true
		proxy.Transport, proxy.BufferPool = t, &buffers{}
	}
	var both http.Protocols
	both.SetHTTP1(true)
	both.SetUnencryptedHTTP2(true)
	server := &http.Server{Addr: *listen, Handler: proxy, Protocols: &both, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

func split(most, rest string) func(*httputil.ProxyRequest) {
	a, b := &url.URL{Scheme: "http", Host: most}, &url.URL{Scheme: "http", Host: rest}
	return func(r *httputil.ProxyRequest) {
		to := a
		if rand.IntN(10) == 0 {
			to = b
		}
		r.SetURL(to)
		r.SetXForwarded()
	}
}

// buffers is an httputil.BufferPool of the size ReverseProxy takes by itself.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if v, ok := b.pool.Get().(*[]byte); ok {
		return *v
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(buf []byte) { b.pool.Put(&buf) }
