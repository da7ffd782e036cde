package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"
)

//go:embed conf
var confs embed.FS

// Sizes of the two answers, in bytes.
const (
	small = 200
	large = 100_000
)

// base is the peer that all others are compared with.
const base = "haproxy"

// peer is one proxy under test, or the upstream itself.
type peer struct {
	name    string
	addr    string // host:port for HTTP/1.1
	h2      string // host:port for HTTP/2 without TLS; empty when it is not measured
	reverse bool   // its core is httputil.ReverseProxy, or a copy of it
	proc    *process
}

// peerNames are all peers, in the order of the table.
var peerNames = [...]string{"slipway-raw", "slipway-full", base, "nginx", "reverse-tuned", "reverse-naive", "caddy"}

// fields fill the configurations.
type fields struct {
	Dir        string
	Most, Rest string // upstreams of 90 % and of 10 %
	Addr, H2   string
	Small      string
	FullOnly   bool
}

// bench is everything that runs, and where the programs are.
type bench struct {
	lab     *lab
	slipway string // path of the slipway binary
	bin     string // folder of the peers built beside this program
	script  string // path of wrk's script
	direct  *peer  // the upstream
	rest    string // its second address
	peers   []*peer
}

// config fills a configuration and puts it into the lab.
func (b *bench) config(from, to string, f fields) (string, error) {
	text, err := confs.ReadFile("conf/" + from)
	if err != nil {
		return "", fmt.Errorf("bench: %w", err)
	}
	t, err := template.New(from).Option("missingkey=error").Parse(string(text))
	if err != nil {
		return "", fmt.Errorf("bench: %w", err)
	}
	f.Dir, f.Rest, f.Small = b.lab.dir, b.rest, strings.Repeat("x", small)
	if b.direct != nil {
		f.Most = b.direct.addr
	}
	var out bytes.Buffer
	if err := t.Execute(&out, f); err != nil {
		return "", fmt.Errorf("bench: %w", err)
	}
	return b.lab.write(to, out.String())
}

// upstream starts the nginx that answers on two ports.
func (b *bench) upstream(ctx context.Context) error {
	most, err := b.lab.free(ctx)
	if err != nil {
		return err
	}
	if b.rest, err = b.lab.free(ctx); err != nil {
		return err
	}
	b.direct = &peer{name: "direct", addr: most}
	if _, err := b.lab.write("big", strings.Repeat("x", large)); err != nil {
		return err
	}
	conf, err := b.config("upstream.nginx", "upstream.conf", fields{})
	if err != nil {
		return err
	}
	script, err := confs.ReadFile("conf/load.lua")
	if err != nil {
		return err
	}
	if b.script, err = b.lab.write("load.lua", string(script)); err != nil {
		return err
	}
	b.direct.proc, err = b.lab.start(ctx, b.lab.loadCore, "upstream", nginxPath, "-p", b.lab.dir, "-c", conf)
	if err != nil {
		return err
	}
	return b.direct.proc.await(ctx, func(ctx context.Context) error { return answers(ctx, b.direct.addr) })
}

// Debian keeps them where a user's PATH does not lead.
const (
	nginxPath   = "/usr/sbin/nginx"
	haproxyPath = "/usr/sbin/haproxy"
)

// join starts a peer and sees that it splits as it should.
func (b *bench) join(ctx context.Context, name string) error {
	p := &peer{name: name}
	var err error
	if p.addr, err = b.lab.free(ctx); err != nil {
		return err
	}
	if p.h2, err = b.lab.free(ctx); err != nil {
		return err
	}
	switch name {
	case base:
		err = b.configured(ctx, p, "haproxy", haproxyPath, "-db", "-f")
	case "nginx":
		err = b.configured(ctx, p, "nginx", nginxPath, "-p", b.lab.dir, "-c")
	case "caddy":
		p.reverse, p.h2 = true, p.addr
		err = b.configured(ctx, p, "caddy.json", filepath.Join(b.bin, "caddy"))
	case "reverse-naive", "reverse-tuned":
		p.reverse, p.h2 = true, p.addr
		args := []string{"-listen", p.addr, "-most", b.direct.addr, "-rest", b.rest}
		if name == "reverse-tuned" {
			args = append(args, "-tuned")
		}
		p.proc, err = b.lab.start(ctx, b.lab.proxyCore, name, filepath.Join(b.bin, "reverse"), args...)
	case "slipway-raw":
		p.h2 = "" // it hands HTTP/2 to the full path, which is measured as slipway-full
		err = b.slipwayPlane(ctx, p, false)
	case "slipway-full":
		p.h2 = p.addr
		err = b.slipwayPlane(ctx, p, true)
	default:
		return fmt.Errorf("bench: there is no peer %q; the peers are %s", name, strings.Join(peerNames[:], ", "))
	}
	if err != nil {
		return err
	}
	if err := p.proc.await(ctx, func(ctx context.Context) error { return answers(ctx, p.addr) }); err != nil {
		return err
	}
	if err := splits(ctx, p.addr, b.rest); err != nil {
		return fmt.Errorf("bench: %s: %w", name, err)
	}
	if p.h2 != "" && speaksH2(ctx, p.h2) != nil {
		p.h2 = ""
	}
	b.peers = append(b.peers, p)
	return nil
}

// configured starts a program whose last argument is its configuration.
func (b *bench) configured(ctx context.Context, p *peer, conf, program string, args ...string) error {
	path, err := b.config(conf, p.name+".conf", fields{Addr: p.addr, H2: p.h2})
	if err != nil {
		return err
	}
	p.proc, err = b.lab.start(ctx, b.lab.proxyCore, p.name, program, append(args, path)...)
	return err
}

// slipwayPlane starts a data plane and gives it its table over its socket.
func (b *bench) slipwayPlane(ctx context.Context, p *peer, fullOnly bool) error {
	state := filepath.Join(b.lab.dir, p.name)
	path, err := b.config("slipway.json", p.name+".json", fields{Addr: p.addr, FullOnly: fullOnly})
	if err != nil {
		return err
	}
	if p.proc, err = b.lab.start(ctx, b.lab.proxyCore, p.name, b.slipway, "proxy", "--state", state); err != nil {
		return err
	}
	return p.proc.await(ctx, func(ctx context.Context) error {
		return putTable(ctx, filepath.Join(state, "proxy", "proxy.sock"), path)
	})
}

// newClient asks one connection at a time, dialling as dial says.
func newClient(dial func(context.Context, string, string) (net.Conn, error), protocols *http.Protocols) *http.Client {
	return &http.Client{
		Transport: &http.Transport{DialContext: dial, Protocols: protocols, MaxIdleConnsPerHost: 1},
		Timeout:   patience,
	}
}

// answer is what came back: which port of the upstream answered, and how much.
type answer struct {
	port string
	size int
}

// ask sends one request and reads its answer, which has to be a good one.
func ask(ctx context.Context, c *http.Client, method, url, cookie string, body []byte) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if cookie != "" {
		req.Header.Set("Cookie", "slipway_id="+cookie)
	}
	res, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	text, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return answer{}, err
	}
	if res.StatusCode/100 != 2 {
		return answer{}, fmt.Errorf("%s %s answered %s: %s", method, url, res.Status, bytes.TrimSpace(text))
	}
	return answer{res.Header.Get("X-Port"), len(text)}, nil
}

// putTable sends the table in the file path to the data plane on socket.
func putTable(ctx context.Context, socket, path string) error {
	c := newClient(func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}, nil)
	defer c.CloseIdleConnections()
	table, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	_, err = ask(ctx, c, http.MethodPut, "http://data-plane/v1/table", "", table)
	return err
}

// answers says whether both answers come whole.
func answers(ctx context.Context, addr string) error {
	c := newClient(nil, nil)
	defer c.CloseIdleConnections()
	for path, size := range map[string]int{"/": small, "/big": large} {
		got, err := ask(ctx, c, http.MethodGet, "http://"+addr+path, "", nil)
		if err != nil {
			return err
		}
		if got.size != size {
			return fmt.Errorf("%s of %s is %d bytes, not %d", path, addr, got.size, size)
		}
	}
	return nil
}

// asked is how many requests tell whether a split is 90 to 10. Drawn by chance,
// 40 of 400 go to the rest with a deviation of 6: beyond 4 to 76 lies less than
// one in 10^8.
const asked, least, most = 400, 4, 76

// splits says whether about a tenth of the callers get to the rest.
func splits(ctx context.Context, addr, rest string) error {
	_, port, err := net.SplitHostPort(rest)
	if err != nil {
		return err
	}
	c := newClient(nil, nil)
	defer c.CloseIdleConnections()
	n := 0
	for i := range asked {
		got, err := ask(ctx, c, http.MethodGet, "http://"+addr+"/", fmt.Sprintf("%032x", i), nil)
		if err != nil {
			return err
		}
		if got.port == port {
			n++
		}
	}
	if n < least || n > most {
		return fmt.Errorf("%d of %d requests went to the upstream of 10 %%", n, asked)
	}
	return nil
}

// speaksH2 says whether HTTP/2 without TLS is answered.
func speaksH2(ctx context.Context, addr string) error {
	var only http.Protocols
	only.SetUnencryptedHTTP2(true)
	c := newClient(nil, &only)
	c.Timeout = 2 * time.Second
	defer c.CloseIdleConnections()
	_, err := ask(ctx, c, http.MethodGet, "http://"+addr+"/", "", nil)
	return err
}
