package otlp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Bounds of what waits and of how long.
const (
	maxQueued = 4096                   // items; more are dropped
	maxBatch  = 512                    // items in one call
	linger    = time.Second            // an item waits at most this long for others
	callTime  = 10 * time.Second       // for one call
	giveUp    = 30 * time.Second       // after it a batch is dropped
	firstWait = 250 * time.Millisecond // before the second call, doubling
	maxWait   = 5 * time.Second        // between two calls, unless Retry-After says more
	lastCalls = 2 * time.Second        // for what is left at the end
	complain  = time.Minute            // between two complaints
	absent    = time.Hour              // between two that the collector takes nothing of the kind
	maxAnswer = 64 << 10               // bytes read of an answer
	protobuf  = "application/x-protobuf"
)

// item is what a collector is sent: a span or a log record.
type item interface {
	append(dst []byte, field int) []byte
}

// Exporter sends items of one kind. Until To names a collector it does nothing.
type Exporter[T item] struct {
	from    From
	path    string // of the kind, below the collector's base
	noun    string // what it is called when some are lost
	log     *slog.Logger
	client  *http.Client
	to      atomic.Pointer[string]
	queue   chan T
	sent    atomic.Uint64
	dropped atomic.Uint64
	ending  atomic.Bool // Run is told to end

	complained time.Time // of Run
}

// Spans sends spans.
type Spans = Exporter[*Span]

// Records sends log records.
type Records = Exporter[*Record]

// From says who sends.
type From struct {
	Service string // service.name of the resource
	Scope   string // what makes the items, by its package
	Version string // of both
}

// NewSpans returns an exporter of somebody's spans.
func NewSpans(from From, log *slog.Logger) *Spans {
	return exporter[*Span](from, log, "/v1/traces", "spans")
}

// NewRecords returns an exporter of somebody's log. What it says itself goes to
// log, which must not lead back to it.
func NewRecords(from From, log *slog.Logger) *Records {
	return exporter[*Record](from, log, "/v1/logs", "log records")
}

func exporter[T item](from From, log *slog.Logger, path, noun string) *Exporter[T] {
	return &Exporter[T]{
		from: from, log: log, path: path, noun: noun, queue: make(chan T, maxQueued),
		client: &http.Client{
			Transport:     &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// To sets where items go: the base URL of a collector, "" for nowhere. Those
// that wait go to the new one, or away.
func (e *Exporter[T]) To(base string) {
	if base == "" {
		e.to.Store(nil)
		return
	}
	url := strings.TrimRight(base, "/") + e.path
	e.to.Store(&url)
}

// On says whether items go anywhere.
func (e *Exporter[T]) On() bool { return e.to.Load() != nil }

// Add hands an item over; it must not be changed any more. It never waits.
func (e *Exporter[T]) Add(s T) {
	if !e.On() {
		return
	}
	select {
	case e.queue <- s:
	default:
		e.dropped.Add(1)
	}
}

// Sent returns how many items a collector has taken.
func (e *Exporter[T]) Sent() uint64 { return e.sent.Load() }

// Dropped returns how many items were lost: the queue was full, or the collector
// did not take them in time.
func (e *Exporter[T]) Dropped() uint64 { return e.dropped.Load() }

// Run sends what is added until ctx ends, and then what is left, for two
// seconds at most. A call under way at the end is not cut off: the collector may
// have taken it, and would get it twice.
func (e *Exporter[T]) Run(ctx context.Context) {
	defer e.client.CloseIdleConnections()
	calls, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	end := time.AfterFunc(lastCalls, cut)
	defer end.Stop()
	end.Stop()
	defer context.AfterFunc(ctx, func() {
		e.ending.Store(true)
		end.Reset(lastCalls)
	})()

	batch := make([]T, 0, maxBatch)
	due := time.NewTimer(linger)
	due.Stop()
	for {
		select {
		case <-ctx.Done():
			e.ending.Store(true) // the function above may not have run yet
			e.last(calls, batch)
			return
		case s := <-e.queue:
			if len(batch) == 0 {
				due.Reset(linger)
			}
			if batch = append(batch, s); len(batch) < maxBatch {
				continue
			}
		case <-due.C:
		}
		due.Stop()
		e.send(calls, batch)
		clear(batch)
		batch = batch[:0]
	}
}

// last sends what is left.
func (e *Exporter[T]) last(calls context.Context, batch []T) {
	for {
		for len(batch) < maxBatch && len(e.queue) > 0 {
			batch = append(batch, <-e.queue)
		}
		if len(batch) == 0 {
			return
		}
		e.send(calls, batch)
		batch = batch[:0]
	}
}

// ErrRefused is that a collector will not take something however often it is asked.
var ErrRefused = errors.New("otlp: the collector refuses it")

// Send hands items over by itself, without the queue and beside no Run, and
// returns once the collector has them. After ErrRefused there is no point in
// sending them again.
func (e *Exporter[T]) Send(ctx context.Context, items []T) error {
	to := e.to.Load()
	if to == nil {
		return nil
	}
	after, err := e.call(ctx, *to, request(nil, e.from, items), len(items))
	if err != nil && after == never {
		e.dropped.Add(uint64(len(items)))
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

// send calls until the collector takes the batch, refuses it for good, or is
// given up, as it is when ctx ends. Nobody who is not there is waited for at the
// end: who ends everything ends the collector too.
func (e *Exporter[T]) send(ctx context.Context, batch []T) {
	body := request(nil, e.from, batch)
	wait, began := firstWait, time.Now()
	for {
		to := e.to.Load()
		if to == nil {
			return // turned off meanwhile
		}
		after, err := e.call(ctx, *to, body, len(batch))
		if err == nil {
			return
		}
		gone := e.ending.Load() && errors.Is(err, syscall.ECONNREFUSED)
		if after == never || time.Since(began) > giveUp || ctx.Err() != nil || gone {
			e.dropped.Add(uint64(len(batch)))
			e.complain(err)
			return
		}
		pause(ctx, max(wait, after))
		wait = min(2*wait, maxWait)
	}
}

// never is the answer to when to call again.
const never time.Duration = -1

// call hands a batch to the collector. On an error it returns how long to wait
// before the same may be tried again at least, or never.
func (e *Exporter[T]) call(ctx context.Context, to string, body []byte, items int) (time.Duration, error) {
	ctx, stop := context.WithTimeout(ctx, callTime)
	defer stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return never, fmt.Errorf("otlp: %w", err)
	}
	req.Header.Set("Content-Type", protobuf)
	req.Header.Set("User-Agent", e.from.Service+"/"+e.from.Version)
	res, err := e.client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("otlp: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return 0, fmt.Errorf("otlp: answer: %w", err)
	}
	switch res.StatusCode {
	case http.StatusOK:
		refused, why := rejected(answer)
		refused = min(refused, uint64(items))
		e.sent.Add(uint64(items) - refused)
		if refused > 0 {
			e.dropped.Add(refused)
			e.complain(fmt.Errorf("otlp: the collector took a part only: %s", why))
		}
		return 0, nil
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return retryAfter(res.Header.Get("Retry-After"), time.Now()), fmt.Errorf("otlp: %s", res.Status)
	case http.StatusNotFound:
		return never, fmt.Errorf("otlp: %w: %s", errAbsent, res.Status)
	}
	return never, fmt.Errorf("otlp: %s", res.Status)
}

// retryAfter reads a Retry-After header (RFC 9110, 10.2.3), bounded by giveUp.
func retryAfter(value string, now time.Time) time.Duration {
	if s, err := strconv.Atoi(value); err == nil {
		return time.Duration(min(max(s, 0), int(giveUp/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(at.Sub(now), 0), giveUp)
	}
	return 0
}

// errAbsent is that a collector has no place for items of the kind: many take
// spans and no logs.
var errAbsent = errors.New("the collector takes none of them")

func (e *Exporter[T]) complain(err error) {
	every := complain
	if errors.Is(err, errAbsent) {
		every = absent
	}
	if now := time.Now(); now.Sub(e.complained) > every {
		e.complained = now
		e.log.Warn("not all of it reached the collector", slog.String("what", e.noun), slog.Any("error", err), slog.Uint64("dropped", e.Dropped()))
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
