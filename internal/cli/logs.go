package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/workload"
)

// logLevels are the words of --level; none is all lines.
var logLevels = []string{"", "debug", "info", "warn", "error", "fatal"}

type logsOptions struct {
	env            string
	change         int64
	failed, follow bool
	tail           int

	version, level, text, trace string
	since, until                time.Duration
}

func (s *session) logs() *cobra.Command {
	var o logsOptions
	cmd := &cobra.Command{
		Use: "logs SERVICE", Short: "What instances wrote, or which requests failed", Args: between(1, 1),
		Example: "  slipway logs payment --env prod -f\n  slipway logs payment --change 8 --level error --grep refused\n" +
			"  slipway logs payment --version v3 --since 10m\n  slipway logs payment --change 8 --failed\n  slipway logs payment --tail 20 -o json",
		ValidArgsFunction: s.completeService,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(logLevels, o.level) {
				return usageError{err: fmt.Errorf("--level is one of debug, info, warn, error and fatal, not %q", o.level), next: "slipway logs " + args[0] + " --level error"}
			}
			if o.since < 0 || o.until < 0 {
				return usageError{err: errors.New("--since and --until say how long ago, so neither is below zero"), next: "slipway logs " + args[0] + " --since 10m"}
			}
			if o.change < 0 || o.tail < 1 || o.tail > 10000 {
				return usageError{err: fmt.Errorf("--tail is from 1 to 10000, --change the number of a change"), next: "slipway logs " + args[0] + " --tail 100"}
			}
			api, err := s.api()
			if err != nil {
				return err
			}
			if o.follow {
				return s.followLogs(cmd.Context(), api, args[0], o)
			}
			return s.readLogs(cmd.Context(), api, args[0], o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.env, "env", "", "this environment alone")
	f.Int64Var(&o.change, "change", 0, "only what this change delivered")
	f.StringVar(&o.version, "version", "", "only the newest release of this version")
	f.StringVar(&o.level, "level", "", "lines of this level and above: debug, info, warn, error or fatal")
	f.StringVar(&o.text, "grep", "", "lines that contain this, whatever its case")
	f.StringVar(&o.trace, "trace", "", "lines that name this trace id")
	f.DurationVar(&o.since, "since", 0, "not older than this: 10m")
	f.DurationVar(&o.until, "until", 0, "at least this old")
	f.BoolVar(&o.failed, "failed", false, "failed requests instead of what instances wrote")
	f.BoolVarP(&o.follow, "follow", "f", false, "go on until Ctrl-C")
	f.IntVar(&o.tail, "tail", 100, "last lines of each instance")
	cmd.MarkFlagsMutuallyExclusive("change", "version")
	s.completeFlag(cmd, "level", fixed(logLevels[1:]...))
	s.completeFlag(cmd, "env", s.environmentNames)
	return cmd
}

// followLogs prints each line when it comes.
func (s *session) followLogs(ctx context.Context, api *client.Client, service string, o logsOptions) error {
	now := time.Now()
	err := api.Lines(ctx, o.path(service), func(line json.RawMessage) error {
		text, err := s.logLine(line, o.failed, now)
		if err != nil {
			return err
		}
		return s.print(text + "\n")
	})
	if err == nil || interrupted(err) {
		return err
	}
	return fmt.Errorf("the stream of lines ended: %w", err)
}

// readLogs prints what is there, all instances together in the order of time.
func (s *session) readLogs(ctx context.Context, api *client.Client, service string, o logsOptions) error {
	type line struct {
		at  time.Time
		doc json.RawMessage
	}
	var all []line
	err := api.Lines(ctx, o.path(service), func(doc json.RawMessage) error {
		var stamp struct {
			At time.Time `json:"at"`
		}
		if err := json.Unmarshal(doc, &stamp); err != nil {
			return fmt.Errorf("cli: log line: %w", err)
		}
		all = append(all, line{stamp.At, bytes.Clone(doc)})
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(all, func(a, b line) int { return a.at.Compare(b.at) })
	now := time.Now()
	for _, l := range all {
		text, err := s.logLine(l.doc, o.failed, now)
		if err != nil {
			return err
		}
		if err := s.print(text + "\n"); err != nil {
			return err
		}
	}
	if len(all) == 0 && o.failed {
		s.talk("  no failed requests are kept for this (they are kept in memory for 15 minutes)\n")
	}
	return nil
}

func (o logsOptions) path(service string) string {
	q := url.Values{"tail": {strconv.Itoa(o.tail)}}
	for name, value := range map[string]string{"env": o.env, "version": o.version, "level": o.level, "text": o.text, "trace": strings.ToLower(o.trace)} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for name, ago := range map[string]time.Duration{"since": o.since, "until": o.until} {
		if ago > 0 {
			q.Set(name, time.Now().Add(-ago).Format(time.RFC3339Nano))
		}
	}
	if o.change > 0 {
		q.Set("change", strconv.FormatInt(o.change, 10))
	}
	if o.failed {
		q.Set("failed", "true")
	}
	if o.follow {
		q.Set("follow", "true")
	}
	return "/services/" + url.PathEscape(service) + "/logs?" + q.Encode()
}

// logLine writes one line for people, or as it came.
func (s *session) logLine(line json.RawMessage, failed bool, now time.Time) (string, error) {
	if s.format == "json" || s.format == "yaml" {
		return string(line), nil
	}
	if failed {
		var f traffic.Sample
		if err := json.Unmarshal(line, &f); err != nil {
			return "", fmt.Errorf("cli: failed request: %w", err)
		}
		return s.sample(f, now), nil
	}
	var l struct {
		workload.LogLine
		Level string `json:"level"`
	}
	if err := json.Unmarshal(line, &l); err != nil {
		return "", fmt.Errorf("cli: log line: %w", err)
	}
	text := l.Text
	if s.look.live {
		text = printable(text) // an instance does not get to steer the terminal
	}
	glyph := map[string]string{"stderr": s.look.in(toneWarn, "!"), "slipway": s.look.in(toneRun, "•")}[l.Stream]
	if glyph == "" {
		glyph = " "
	}
	switch l.Level {
	case "error", "fatal":
		text = s.look.bad(text)
	case "warn":
		text = s.look.in(toneWarn, text)
	}
	return fmt.Sprintf("%s %s %s %s", s.look.faint(clock(l.At, now)), instance(l.ID), glyph, text), nil
}

// instance shortens "prod.payment.r1f2e3d4c5b6a798.0" to what tells two apart.
func instance(id workload.ID) string {
	parts := strings.Split(string(id), ".")
	if len(parts) != 4 || len(parts[2]) < 5 {
		return string(id)
	}
	return parts[0] + "/" + parts[1] + "/" + parts[2][1:5] + "/" + parts[3]
}

func (s *session) sample(f traffic.Sample, now time.Time) string {
	env, _, _ := strings.Cut(f.Route, "/")
	text := fmt.Sprintf("%s %s %s %s → %s", s.look.faint(clock(f.At, now)), env, f.Method, printable(f.Path), s.look.bad(strconv.Itoa(f.Status)))
	if f.Error != "" {
		text += ": " + printable(f.Error)
	}
	if f.Caller != "" {
		text += "   from " + f.Caller
	}
	return text + "   " + span(f.Took)
}

// short is the part of a hash that a person compares.
func short(hash string) string { return delivery.Digest("sha256:" + hash).Short() }
