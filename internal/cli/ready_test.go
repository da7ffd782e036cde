package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/porttest"
)

// A port of somebody else is refused before anything is started; one that the
// data plane of this state has is its own.
func TestUpRefusesAPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	dir, state := t.TempDir(), t.TempDir()
	src := fmt.Sprintf("project: till\nenvironments:\n  - {name: dev, listen: %q}\n  - {name: prod, listen: %q}\nservices:\n  payment: {run: ./payment}\n", porttest.Free(t), taken)
	if err := os.WriteFile(filepath.Join(dir, manifestName), []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, own := range []bool{false, true} {
		started := false
		roof := Roof{
			Version: "test",
			Up: func(context.Context, UpOptions) (UpReport, error) {
				started = true
				return UpReport{}, errors.New("far enough")
			},
			Listening: func(_ context.Context, folder string) ([]string, error) {
				if own && folder == state {
					return []string{taken}, nil
				}
				return nil, nil
			},
		}
		r := under(t.Context(), t, roof, dir, state, "up")
		if started != own {
			t.Errorf("own port %v: started %v\n%s", own, started, r.stderr)
		}
		if !own {
			expect(t, r, exitUsage)
			for _, want := range []string{"environments[1].listen: " + taken + " is in use by another process", "next  end what uses it, or change listen: in slipway.yaml"} {
				if !strings.Contains(r.stderr, want) {
					t.Errorf("stderr lacks %q:\n%s", want, r.stderr)
				}
			}
		}
	}
}

// Up is over when what is stable is whole again, or says what is not.
func TestUpWaitsForHealth(t *testing.T) {
	for name, c := range map[string]struct {
		wholeAt int64 // look that finds every instance healthy
		want    int
		flight  *delivery.Flight
		code    exit
		says    []string
	}{
		"at once":             {1, 2, nil, exitDone, nil},
		"later":               {3, 2, nil, exitDone, []string{"payment v1 in prod: 1 of 2 healthy", "✔ every service is healthy"}},
		"nothing started yet": {3, 0, nil, exitDone, []string{"payment v1 in prod: 0 of 1 healthy", "✔ every service is healthy"}},
		"never":               {1 << 40, 2, nil, exitFailed, []string{"✖ payment v1 in prod: 1 of 2 healthy after ", "next  slipway doctor"}},
		"replaced meanwhile":  {1 << 40, 2, &delivery.Flight{Weight: delivery.Full}, exitDone, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var looks atomic.Int64
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				cell := delivery.Cell{Env: "prod", Version: "v1", Want: c.want, Healthy: c.want / 2, Flight: c.flight}
				if looks.Add(1) >= c.wholeAt {
					cell.Want, cell.Healthy = 2, 2
				}
				answer(w, http.StatusOK, delivery.Board{Services: []delivery.Row{{Service: "payment", Cells: []delivery.Cell{{Env: "dev"}, cell}}}})
			}))
			defer srv.Close()
			limit := 30 * time.Second
			if c.code == exitFailed {
				limit = 300 * time.Millisecond
			}
			var errs strings.Builder
			s := &session{Env: Env{Stderr: &errs}}
			code, err := s.healthy(t.Context(), client.New(srv.URL, "sesame", "ann"), limit, exitDone)
			if err != nil || code != c.code {
				t.Errorf("code %d, %v; want %d", code, err, c.code)
			}
			for _, want := range c.says {
				if !strings.Contains(errs.String(), want) {
					t.Errorf("stderr lacks %q:\n%s", want, errs.String())
				}
			}
			if len(c.says) == 0 && errs.Len() > 0 {
				t.Errorf("stderr %q, want nothing", errs.String())
			}
		})
	}
}
