package proxy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/proxy/handover"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// handLimit is how long a successor may take from its start until it serves.
const handLimit = 20 * time.Second

// upgrade gives the place to a process of the binary at path, or, when path is
// empty, of the file that this process was started from as it is on disk now.
// Until the successor serves nothing has changed, and an error leaves it so.
// While a predecessor of our own has requests to finish, upgrade waits for its
// end: never more than two processes serve.
func (e *engine) upgrade(ctx context.Context, path string) (traffic.Upgrade, error) {
	select {
	case e.climbing <- struct{}{}:
	case <-ctx.Done():
		return traffic.Upgrade{}, ctx.Err()
	}
	defer func() { <-e.climbing }()
	if e.handed.Load() {
		return traffic.Upgrade{}, errHanded
	}
	if err := e.elder.Load().wait(ctx); err != nil {
		return traffic.Upgrade{}, err
	}
	if err := e.provable(); err != nil {
		return traffic.Upgrade{}, err
	}
	self, err := os.Executable()
	if path == "" && err != nil {
		return traffic.Upgrade{}, fmt.Errorf("own binary: %w", err)
	}
	cmd := exec.Command(cmp.Or(path, self), e.args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	// Once it has begun, whoever asked may go: a half-done hand-over helps nobody.
	ctx, stop := context.WithTimeoutCause(context.WithoutCancel(ctx), handLimit, fmt.Errorf("the new process did not serve within %s", handLimit))
	defer stop()
	heir, err := handover.Start(ctx, cmd)
	if err != nil {
		return traffic.Upgrade{}, err
	}
	hello, err := e.hand(ctx, heir)
	if err != nil {
		heir.Abort()
		e.log.Error("upgrade failed, serving on", slog.Any("why", err))
		return traffic.Upgrade{}, err
	}
	e.log.Info("a successor has the place", slog.Int("successor", heir.PID), slog.String("version", hello.Version))
	e.given <- heir
	return traffic.Upgrade{PID: heir.PID, Version: hello.Version, OldPID: os.Getpid(), OldVersion: e.version}, nil
}

// provable refuses an upgrade while a listener serves by a certificate that is no
// longer on disk: a new process, which has the files alone, could not.
func (e *engine) provable() error {
	t := e.table.Load()
	for _, s := range e.state().Listeners {
		l := t.listeners[s.Addr]
		if s.TLS == nil || s.TLS.Error == "" || s.TLS.Waiting != "" || l == nil || l.spec.TLS == nil || l.spec.TLS.Cert == "" {
			continue
		}
		return delivery.InvalidNext("listener "+s.Name+" tls", "would be lost: "+s.TLS.Error, "mend the files, then upgrade again")
	}
	return nil
}

// hand takes the steps of the hand-over. From the estate on nothing may change
// here; requests are accepted until the successor does.
func (e *engine) hand(ctx context.Context, heir *handover.Successor) (handover.Hello, error) {
	hello, err := heir.Hello(ctx)
	if err != nil {
		return hello, err
	}
	if err := e.take(ctx); err != nil {
		return hello, err
	}
	defer e.give()
	if err := e.rewrite(); err != nil {
		return hello, err
	}
	estate, listeners, err := e.estate()
	if err != nil {
		return hello, err
	}
	e.step("estate")
	if err := heir.Give(ctx, estate, e.seat.locks, listeners); err != nil {
		return hello, err
	}
	e.step("given")
	if e.ending.Load() {
		return hello, errors.New("this data plane was told to end")
	}
	if err := heir.Go(ctx); err != nil {
		heir.Abort() // before we take back what it may have taken
		return hello, errors.Join(err, e.retake(ctx))
	}
	e.step("gone")
	e.handedAt.Store(e.counts.epoch.Load())
	e.handed.Store(true)
	e.yield()
	if err := e.seat.cede(); err != nil {
		e.log.Warn("a lock could not be closed", slog.Any("error", err))
	}
	return hello, nil
}

// rewrite sees to it that the table in force is the one that a successor finds
// on disk, whatever has happened to the file.
func (e *engine) rewrite() error {
	t := e.table.Load()
	if found, err := e.disk.load(); err == nil && found.damaged == nil && found.table.Generation == t.spec.Generation {
		return nil
	}
	return e.disk.save(t.body)
}

// memory is what is not on disk and shall outlive this process.
type memory struct {
	State  traffic.State        `json:"state"`
	Faults []traffic.FaultState `json:"faults"`
	Blocks []traffic.Block      `json:"blocks"` // of the last seconds: the rest follows, unless this process dies first
}

// lastSeconds is how far the counts go back that come with the estate: whoever
// judges by them has all older ones.
const lastSeconds = 15

// estate is all that a successor gets.
func (e *engine) estate() (handover.Estate, []handover.Descriptor, error) {
	now := time.Now()
	state, err := json.Marshal(memory{State: e.state(), Faults: e.faults.List(now), Blocks: e.blocks(now.Unix() - lastSeconds)})
	if err != nil {
		return handover.Estate{}, nil, err
	}
	h := handover.Estate{Boot: e.boot, Generation: e.table.Load().spec.Generation, State: state}
	var open []handover.Descriptor
	e.mu.Lock()
	defer e.mu.Unlock()
	for addr, f := range e.fronts {
		if d := f.descriptor(); d != nil {
			h.Listeners = append(h.Listeners, addr)
			open = append(open, d)
		}
	}
	return h, open, nil
}

// retake makes the place ours again after a successor died that had been given it.
func (e *engine) retake(ctx context.Context) error {
	control, err := e.seat.open(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	e.answer(control)
	return e.seat.take()
}

// step tells a test where the hand-over is.
func (e *engine) step(name string) {
	if e.onStep != nil {
		e.onStep(name)
	}
}

// bequeath finishes what is in flight here while the successor serves, and
// answers its questions: it must know what still runs here, and no request here
// may go by an older table than it has acknowledged. The end of ctx, or the
// successor's word, leaves requests no more than grace.
func (e *engine) bequeath(ctx, working context.Context, heir *handover.Successor, grace time.Duration) {
	draining, stop := context.WithTimeout(working, e.drainLimit()+closeFirst)
	defer stop()
	hurry := func() { time.AfterFunc(grace, stop) }
	defer context.AfterFunc(ctx, hurry)()
	done := make(chan struct{})
	mux := e.common(done)
	mux.HandleFunc("PUT /v1/table", putTable(e.follow))
	mux.HandleFunc("GET /v1/state", func(w http.ResponseWriter, _ *http.Request) { reply(w, e.state()) })
	mux.HandleFunc("POST /v1/end", func(w http.ResponseWriter, _ *http.Request) {
		hurry()
		w.WriteHeader(http.StatusNoContent)
	})
	api := controlServer(mux, e.log)
	api.Protocols = h2cOnly()
	back := make(chan struct{})
	only := oneConn(heir.Conn())
	go func() {
		defer close(back)
		_ = api.Serve(only)
	}()
	if err := e.end(draining, closeFirst); err != nil {
		e.log.Warn("requests were cut at the end", slog.Any("why", err))
	}
	close(done) // the successor gets the last counts
	closeServer(working, api)
	_ = only.Close()
	<-back
	e.log.Info("data plane has ended, its successor serves")
}

// errHanded refuses what is meant for the successor.
var errHanded = errors.New("another process has taken over; ask again")

// outside is the control API as anybody with the socket gets it.
func (e *engine) outside(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if e.handed.Load() {
			w.Header().Set("Connection", "close")
			handedProblem().write(w)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// postUpgrade answers POST /v1/upgrade once the successor serves.
func (e *engine) postUpgrade(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		Binary string `json:"binary"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAsk)).Decode(&ask); err != nil {
		problem{Status: http.StatusBadRequest, Code: "not_an_upgrade", Detail: err.Error()}.write(w)
		return
	}
	done, err := e.upgrade(r.Context(), ask.Binary)
	if err != nil {
		upgradeProblem(err).write(w)
		return
	}
	reply(w, done)
}

func upgradeProblem(err error) problem {
	if errors.Is(err, errHanded) {
		return handedProblem()
	}
	p := problem{Status: http.StatusBadGateway, Code: "not_upgraded", Detail: "the data plane serves on as it was: " + err.Error(), Hint: "the log of the data plane tells what the new process said"}
	if field, ok := errors.AsType[*delivery.FieldError](err); ok {
		p.Field, p.Hint = field.Field, field.Next
	}
	return p
}

func handedProblem() problem {
	return problem{Status: http.StatusServiceUnavailable, Code: traffic.CodeHandedOver, Detail: errHanded.Error()}
}
