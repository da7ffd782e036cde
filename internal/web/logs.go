package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/access"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/logs"
	"github.com/slipway-cd/slipway/internal/workload"
)

// Bounds of the lines of a page.
const (
	maxLogLines = 200     // on the page; static/logs.js keeps 500 while it follows
	maxLogText  = 2 << 10 // bytes of a line that are shown at once
	maxLogWhole = 8 << 10 // bytes of a line that are sent at all
)

// logsView is the log lines of a service.
type logsView struct {
	Name   string
	Here   string
	Ask    logsAsk
	Envs   []string
	Levels []string
	Lines  []logLine
	Cut    bool   // there were more than are shown
	Follow string // address of the lines that come from now on
}

// logsAsk is which lines are asked for. It is the address of the page.
type logsAsk struct {
	Env, Level, Text, Version, Change, Trace string
	Since, Until                             string // as they were typed
	since, until                             time.Time
	releases                                 []delivery.ReleaseID
}

// Any says whether it asks for less than everything, and Narrow whether it does so
// with what few ask for.
func (a logsAsk) Any() bool    { return len(a.values()) > 0 }
func (a logsAsk) Narrow() bool { return a.Version+a.Change+a.Trace+a.Since+a.Until != "" }

// values is the question as it stands in an address.
func (a logsAsk) values() url.Values {
	v := url.Values{}
	for name, value := range map[string]string{
		"env": a.Env, "level": a.Level, "text": a.Text, "version": a.Version, "change": a.Change, "trace": a.Trace, "since": a.Since, "until": a.Until,
	} {
		if value != "" {
			v.Set(name, value)
		}
	}
	return v
}

// logLine is one line as it is shown.
type logLine struct {
	At       time.Time
	Instance string
	From     string // the instance as people know it
	Stream   string
	Level    string
	Text     string
	Rest     string // of a long line, shown on demand
	Dropped  int    // bytes that are not shown at all
	Trace    string
}

// shownLine makes a line fit to be shown: nothing in it acts, and it is not endless.
func shownLine(l workload.LogLine, from string) logLine {
	read := logs.Parse(l.Text)
	out := logLine{At: l.At, Instance: string(l.ID), From: from, Stream: l.Stream, Level: read.Level.String(), Trace: read.Trace}
	text := l.Text
	if len(text) > maxLogWhole {
		out.Dropped = len(text) - len(cutText(text, maxLogWhole))
		text = cutText(text, maxLogWhole)
	}
	first := cutText(text, maxLogText)
	out.Text, out.Rest = visible(first), visible(text[len(first):])
	return out
}

// Tone is the class of a line by its level.
func (l logLine) Tone() string {
	switch l.Level {
	case "warn":
		return "is-warn"
	case "error", "fatal":
		return "is-bad"
	case "debug":
		return "is-quiet"
	}
	return ""
}

// Stamp is the time of a line to the millisecond, in the zone of the server.
func (l logLine) Stamp() string { return l.At.Local().Format("15:04:05.000") }

// Whole is the size of the rest of a line, for people.
func (l logLine) Whole() string { return bytesOf(uint64(len(l.Text) + len(l.Rest) + l.Dropped)) }

func (w *Web) serviceLogs(ctx context.Context, q request) (page, error) {
	name := q.PathValue("service")
	ask, envs, err := w.askLogs(ctx, q.Request, name)
	if err != nil {
		return page{}, err
	}
	v := logsView{Name: name, Here: "logs", Ask: ask, Envs: envs, Levels: logLevels()}
	var lines []workload.LogLine
	query := ask.query(name)
	query.Tail = maxLogLines
	err = w.d.Workload.Logs(ctx, query, func(l workload.LogLine) bool {
		if ask.picks(l) {
			lines = append(lines, l)
		}
		return len(lines) < 100*maxLogLines
	})
	if err != nil {
		return page{}, fmt.Errorf("web: logs of %s: %w", name, err)
	}
	slices.SortStableFunc(lines, func(a, b workload.LogLine) int { return a.At.Compare(b.At) })
	if v.Cut = len(lines) > maxLogLines; v.Cut {
		lines = lines[len(lines)-maxLogLines:]
	}
	follow := ask.values()
	from := speakers{releases: w.d.Store}
	for _, l := range lines {
		v.Lines = append(v.Lines, shownLine(l, from.name(ctx, l.ID)))
	}
	if len(lines) > 0 {
		follow.Set("after", strconv.FormatInt(lines[len(lines)-1].At.UnixNano(), 10))
	}
	if ask.until.IsZero() {
		v.Follow = "/services/" + url.PathEscape(name) + "/logs?" + follow.Encode()
	}
	return page{Tab: "services", Title: "Logs of " + name, Name: "logs", View: v}, nil
}

// logLevels are the levels that lines can be narrowed to, from the least on.
func logLevels() []string {
	var out []string
	for l := logs.Debug; l <= logs.Fatal; l++ {
		out = append(out, l.String())
	}
	return out
}

// askLogs reads which lines are asked for, and refuses what cannot be.
func (w *Web) askLogs(ctx context.Context, r *http.Request, service string) (logsAsk, []string, error) {
	s, err := w.d.Loop.Service(ctx, service)
	if err != nil {
		return logsAsk{}, nil, err
	}
	var envs []string
	for _, c := range s.Now.Cells {
		envs = append(envs, c.Env)
	}
	q := r.URL.Query()
	a := logsAsk{
		Env: q.Get("env"), Level: q.Get("level"), Text: strings.TrimSpace(q.Get("text")), Version: strings.TrimSpace(q.Get("version")),
		Change: strings.TrimPrefix(strings.TrimSpace(q.Get("change")), "#"), Trace: strings.ToLower(strings.TrimSpace(q.Get("trace"))), Since: q.Get("since"), Until: q.Get("until"),
	}
	if a.Env != "" && !slices.Contains(envs, a.Env) {
		return a, nil, delivery.Unknown(delivery.CodeUnknownEnvironment, "environment", a.Env, envs, "slipway status")
	}
	if a.Level != "" && !slices.Contains(logLevels(), a.Level) {
		return a, nil, delivery.InvalidNext("level", "there is no such level", "say one of "+strings.Join(logLevels(), ", "))
	}
	if a.since, err = typedTime("since", a.Since); err != nil {
		return a, nil, err
	}
	if a.until, err = typedTime("until", a.Until); err != nil {
		return a, nil, err
	}
	a.releases, err = w.releasesAsked(ctx, service, a)
	return a, envs, err
}

// releasesAsked are the releases whose lines are asked for; none means all.
func (w *Web) releasesAsked(ctx context.Context, service string, a logsAsk) ([]delivery.ReleaseID, error) {
	var out []delivery.ReleaseID
	if a.Version != "" {
		rel, err := w.d.Store.ReleaseNamed(ctx, service, a.Version)
		if errors.Is(err, delivery.ErrNotFound) {
			return nil, delivery.Unknown(delivery.CodeUnknownVersion, "version of "+service, a.Version, nil, "slipway history "+service)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, rel.ID)
	}
	if a.Change == "" {
		return out, nil
	}
	id, err := strconv.ParseInt(a.Change, 10, 64)
	if err != nil || id < 1 {
		return nil, delivery.InvalidNext("change", "is not the number of a change", "say its number, as in 7")
	}
	c, err := w.d.Store.Change(ctx, delivery.ChangeID(id))
	if err != nil {
		return nil, err
	}
	for _, m := range c.Members {
		if m.Service == service && (len(out) == 0 || out[0] == m.To) {
			return []delivery.ReleaseID{m.To}, nil
		}
	}
	return nil, delivery.InvalidNext("change", fmt.Sprintf("change #%d brought nothing of %s %s", id, service, a.Version), "slipway history "+service)
}

// typedTime reads a time as a browser's field or a person writes it. One without a
// zone is of the server's.
func typedTime(field, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04", time.DateTime, "2006-01-02 15:04"} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, delivery.InvalidNext(field, "is no time", "write it as 2026-11-23 14:30")
}

// query is what a driver is asked. What it cannot sort out is left to picks.
func (a logsAsk) query(service string) workload.LogQuery {
	q := workload.LogQuery{Service: service, Env: a.Env, Want: a.picks}
	if len(a.releases) > 0 {
		q.Release = a.releases[0]
	}
	return q
}

// picks says whether a line is asked for.
func (a logsAsk) picks(l workload.LogLine) bool {
	f := logs.Filter{Least: logs.ParseLevel(a.Level), Text: a.Text, Trace: a.Trace, Since: a.since, Until: a.until}
	return f.Empty() || f.Selects(l.At, l.Text)
}

// followLogs sends the lines that come, each as the element that the page shows it
// in. Its id is the time of the line: who comes back is sent what came meanwhile.
func (w *Web) followLogs(ctx context.Context, rw http.ResponseWriter, q request) {
	err := w.stillReads(ctx, q)
	service := q.PathValue("service")
	var ask logsAsk
	if err == nil {
		ask, _, err = w.askLogs(ctx, q.Request, service)
	}
	if err != nil {
		w.refuse(rw, q.Request, q.Who, err)
		return
	}
	after, _ := strconv.ParseInt(q.Header.Get("Last-Event-ID"), 10, 64) // a browser that comes back
	if after == 0 {
		after, _ = strconv.ParseInt(q.URL.Query().Get("after"), 10, 64) // none is from now on
	}
	since := time.Now()
	if after > 0 {
		since = time.Unix(0, after)
	}
	w.sendLines(ctx, rw, q, ask, since)
}

// stillReads refuses who may not see a page any more.
func (w *Web) stillReads(ctx context.Context, q request) error {
	who, err := w.d.Guard.Still(ctx, q.pass)
	if err != nil {
		return err
	}
	return access.Need(who, delivery.Reader)
}

// sendLines sends what comes after since, until the reader leaves, the server stops
// or the right to see it ends.
func (w *Web) sendLines(ctx context.Context, rw http.ResponseWriter, q request, ask logsAsk, since time.Time) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := openFeed(rw)
	lines, ended := make(chan workload.LogLine), make(chan struct{})
	query := ask.query(q.PathValue("service"))
	query.Tail, query.Follow = maxLogLines, true
	query.Want = func(l workload.LogLine) bool { return l.At.After(since) && ask.picks(l) }
	go func() {
		defer close(ended)
		err := w.d.Workload.Logs(ctx, query, func(l workload.LogLine) bool {
			select {
			case lines <- l:
				return true
			case <-ctx.Done():
				return false
			}
		})
		if err != nil && ctx.Err() == nil {
			w.d.Log.ErrorContext(ctx, "log stream ended", slog.String("service", query.Service), slog.Any("error", err))
		}
	}()
	defer func() {
		cancel()
		<-ended
	}()
	w.passLines(ctx, out, q, lines, ended)
}

// passLines writes lines as they come, and a sign of life when none does.
func (w *Web) passLines(ctx context.Context, out feed, q request, lines <-chan workload.LogLine, ended <-chan struct{}) {
	beat := time.NewTicker(lookTime)
	defer beat.Stop()
	from := speakers{releases: w.d.Store}
	text := []byte(": live\n\n") // the head goes out before the first line comes
	for {
		if out.send(text) != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-w.closed:
			return
		case <-ended:
			return
		case l := <-lines:
			text = w.lineEvent(l, from.name(ctx, l.ID))
		case <-beat.C:
			text = []byte(": live\n\n")
			if w.stillReads(ctx, q) != nil {
				return
			}
		}
	}
}

// lineEvent is one line as a message.
func (w *Web) lineEvent(l workload.LogLine, from string) []byte {
	var out bytes.Buffer
	if err := w.templates().ExecuteTemplate(&out, "log-line", shownLine(l, from)); err != nil {
		return nil
	}
	return append(fmt.Appendf(nil, "id: %d\n", l.At.UnixNano()), event("line", out.String())...)
}
