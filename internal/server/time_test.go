package server

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-cd/slipway/internal/access"
	"github.com/slipway-cd/slipway/internal/artifact"
	"github.com/slipway-cd/slipway/internal/control/controltest"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

// pipes is a listener whose connections are in memory, so that time can be
// played with: nothing is buffered between the two ends.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7500} }

// bubble is a server on pipes, within a synctest bubble.
type bubble struct {
	t      *testing.T
	pipes  *pipes
	server *Server
	store  *store.Store
}

// inBubble runs test with a server whose clock is the bubble's.
func inBubble(t *testing.T, test func(*bubble)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		st, err := store.Open(t.Context(), filepath.Join(dir, "store.db"))
		if err != nil {
			t.Fatal(err)
		}
		bundles, err := artifact.Open(filepath.Join(dir, "bundles"))
		if err != nil {
			t.Fatal(err)
		}
		log := slog.New(slog.DiscardHandler)
		b := &bubble{t: t, pipes: newPipes(), store: st, server: New(Deps{Store: st, Artifacts: bundles, Workload: controltest.New(), Log: log, Guard: access.New(access.Deps{Root: testToken, Addr: "127.0.0.1:7500", Store: st})})}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- Serve(ctx, b.pipes, b.server, log) }()
		test(b)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve = %v", err)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
}

// dial sends text as the beginning of a request.
func (b *bubble) dial(text string) net.Conn {
	b.t.Helper()
	here, there := net.Pipe()
	b.pipes.conns <- there
	if _, err := io.WriteString(here, strings.ReplaceAll(text, "\n", "\r\n")); err != nil {
		b.t.Fatal(err)
	}
	return here
}

// status reads one answer.
func (b *bubble) status(conn net.Conn) int {
	b.t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

const asking = " HTTP/1.1\nHost: localhost\nAuthorization: Bearer " + testToken + "\n"

// A stream on which nothing happens shows every ten seconds that it lives.
func TestHeartbeat(t *testing.T) {
	inBubble(t, func(b *bubble) {
		conn := b.dial("GET " + Base + "/events" + asking + "\n")
		defer conn.Close()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil) //nolint:bodyclose // Close would read the stream to its end, which never comes
		if err != nil {
			b.t.Fatal(err)
		}
		r := bufio.NewReader(resp.Body)
		begin := time.Now()
		for beats := 0; beats < 30; {
			line, err := r.ReadString('\n')
			if err != nil {
				b.t.Fatal(err)
			}
			if strings.HasPrefix(line, ": ") {
				beats++
			}
		}
		if took := time.Since(begin); took != 30*beatTime {
			b.t.Errorf("30 signs of life in %v, want one every %v", took, beatTime)
		}
	})
}

// A client that does not read is dropped, and nothing is piled up for it.
func TestSlowReaderIsDropped(t *testing.T) {
	inBubble(t, func(b *bubble) {
		err := b.store.Write(b.t.Context(), func(tx *store.Tx) error {
			for range 200 {
				if _, err := tx.Append(delivery.Event{At: time.Now(), Kind: delivery.EventServer, Text: strings.Repeat("x", 100)}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.t.Fatal(err)
		}
		conn := b.dial("GET " + Base + "/events" + asking + "\n")
		defer conn.Close()
		synctest.Wait()
		if n := len(b.server.streams.seats); n != 1 {
			b.t.Fatalf("streams = %d, want 1", n)
		}
		time.Sleep(2 * takeTime)
		synctest.Wait()
		if n := len(b.server.streams.seats); n != 0 {
			b.t.Errorf("streams = %d after %v without a read, want 0", n, 2*takeTime)
		}
	})
}

// Who sends a head or a body drop by drop does not keep the connection.
func TestSlowSenderIsDropped(t *testing.T) {
	inBubble(t, func(b *bubble) {
		head := b.dial("GET " + Base + "/status HTTP/1.1\nHost: loc")
		defer head.Close()
		body := b.dial("POST " + Base + "/changes" + asking + "Content-Type: application/json\nContent-Length: 100\n\n{")
		defer body.Close()
		begin := time.Now()
		if got, err := io.ReadAll(head); err != nil || len(got) > 0 && !strings.Contains(string(got), "408") {
			b.t.Errorf("a head that never ends = %q, %v; want the end", got, err)
		}
		if took := time.Since(begin); took > 2*headTime {
			b.t.Errorf("a head that never ends was waited for %v, want %v", took, headTime)
		}
		if got := b.status(body); got != http.StatusRequestTimeout {
			b.t.Errorf("a body that never ends = %d, want 408", got)
		}
		if took := time.Since(begin); took > 2*textTime {
			b.t.Errorf("a body that never ends was waited for %v, want %v", took, textTime)
		}
	})
}

// An upload may take as long as it keeps coming; one that stalls ends.
func TestUploadTime(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "main"), bytes.Repeat([]byte("x"), 10_000), 0o600); err != nil {
		t.Fatal(err)
	}
	var tar bytes.Buffer
	if err := artifact.Pack(t.Context(), folder, &tar); err != nil {
		t.Fatal(err)
	}
	inBubble(t, func(b *bubble) {
		head := fmt.Sprintf("POST %s/bundles%sContent-Type: application/x-tar\nContent-Length: %d\n\n", Base, asking, tar.Len())
		stalled := b.dial(head)
		defer stalled.Close()
		begin := time.Now()
		if got := b.status(stalled); got != http.StatusRequestTimeout {
			b.t.Errorf("a stalled upload = %d, want 408", got)
		}
		if took := time.Since(begin); took > 2*stallTime {
			b.t.Errorf("a stalled upload was waited for %v, want %v", took, stallTime)
		}
		steady := b.dial(head)
		defer steady.Close()
		for piece := range slices.Chunk(tar.Bytes(), 1000) {
			if _, err := steady.Write(piece); err != nil {
				b.t.Fatal(err)
			}
			time.Sleep(stallTime - time.Second)
		}
		if got := b.status(steady); got != http.StatusOK {
			b.t.Errorf("a steady upload of %v = %d, want 200", time.Since(begin), got)
		}
	})
}
