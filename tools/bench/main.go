// Command bench measures Slipway's data plane beside HAProxy, nginx,
// httputil.ReverseProxy and Caddy, all in one run on one machine.
// docs/bench-proxy.md says how, and how to read what it prints.
package main

import (
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are what the command line says.
type options struct {
	slipway string
	rounds  int
	seconds int
	peers   string
	loads   string
	out     string
	cores   [2]int // of the load, of the proxies
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM) //nolint:forbidigo // this is main
	err := run(ctx, os.Args[1:])
	stop()
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "bench: interrupted; everything it started has ended")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == openLoopArg {
		return runOpenLoop(ctx, args[1:])
	}
	o, err := parse(args)
	if err != nil {
		return err
	}
	return measure(ctx, o, os.Stdout)
}

func parse(args []string) (options, error) {
	var o options
	var quick bool
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.slipway, "slipway", "bin/slipway", "path of the slipway binary")
	f.IntVar(&o.rounds, "rounds", 5, "how often every peer is asked in every way")
	f.IntVar(&o.seconds, "seconds", 2, "length of one run")
	f.StringVar(&o.peers, "peers", strings.Join(peerNames[:], ","), "who is measured; ratios need "+base)
	f.StringVar(&o.loads, "loads", strings.Join(loadIDs(), ","), "how they are asked")
	f.StringVar(&o.out, "out", "", "file that gets every single run as a line of JSON")
	f.IntVar(&o.cores[0], "load-core", 0, "core of the upstream and of the load generators")
	f.IntVar(&o.cores[1], "proxy-core", 1, "core of the proxies")
	f.BoolVar(&quick, "quick", false, "one round of one second: does everything work?")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if quick {
		o.rounds, o.seconds = 1, 1
	}
	if o.rounds < 1 || o.seconds < 1 {
		return o, errors.New("bench: -rounds and -seconds are at least 1")
	}
	if o.cores[0] == o.cores[1] || max(o.cores[0], o.cores[1]) >= runtime.NumCPU() {
		return o, fmt.Errorf("bench: -load-core %d and -proxy-core %d have to be two of the %d cores of this machine", o.cores[0], o.cores[1], runtime.NumCPU())
	}
	for id := range strings.SplitSeq(o.loads, ",") {
		if !slices.Contains(loadIDs(), id) {
			return o, fmt.Errorf("bench: there is no load %q; the loads are %s", id, strings.Join(loadIDs(), ", "))
		}
	}
	var err error
	if o.slipway, err = filepath.Abs(o.slipway); err != nil {
		return o, fmt.Errorf("bench: %w", err)
	}
	return o, nil
}

func loadIDs() []string {
	var ids []string
	for _, l := range loads {
		ids = append(ids, l.id)
	}
	return ids
}

// measure runs all rounds and prints the report. Whatever was started has ended
// when it returns.
func measure(ctx context.Context, o options, w io.Writer) (err error) {
	lab, err := newLab(o.cores[0], o.cores[1])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.close()) }()
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	b := &bench{lab: lab, slipway: o.slipway, bin: filepath.Dir(self)}
	if err := b.upstream(ctx); err != nil {
		return err
	}
	for name := range strings.SplitSeq(o.peers, ",") {
		if err := b.join(ctx, name); err != nil {
			return err
		}
	}
	fmt.Fprintf(w, "%s\nrounds: %d, of %d s a run, in shuffled order; load average %s at the start\n", b.versions(ctx), o.rounds, o.seconds, loadAverage())
	var all results
	for n := range o.rounds {
		r, err := b.round(ctx, o, n+1, w)
		all = append(all, r...)
		if err != nil {
			return err
		}
	}
	fmt.Fprintf(w, "load average %s at the end\n", loadAverage())
	if err := report(w, all, b.peers); err != nil {
		return err
	}
	if o.out != "" {
		if err := save(o.out, all); err != nil {
			return err
		}
	}
	return failures(w, all)
}

// round asks every peer in every way, load by load so that what is compared
// lies close together in time, the peers in a new order for each.
func (b *bench) round(ctx context.Context, o options, n int, w io.Writer) (results, error) {
	var all results
	began := time.Now()
	for _, l := range loads {
		if !slices.Contains(strings.Split(o.loads, ","), l.id) {
			continue
		}
		turn := append([]*peer{b.direct}, b.peers...)
		rand.Shuffle(len(turn), func(i, j int) { turn[i], turn[j] = turn[j], turn[i] })
		for _, p := range turn {
			if !p.fits(l) {
				continue
			}
			s, err := b.run(ctx, p, l, time.Duration(o.seconds)*time.Second)
			if err != nil {
				return all, err
			}
			s.Round = n
			all = append(all, s)
		}
	}
	fmt.Fprintf(w, "round %d of %d took %.0f s\n", n, o.rounds, time.Since(began).Seconds())
	return all, nil
}

// failures counts what did not go well in any run. Figures with failures in
// them are worth nothing, so it is an error.
func failures(w io.Writer, all results) error {
	var asked, failed int64
	var where []string
	for _, s := range all {
		asked += s.Requests
		failed += s.Failed
		if s.Failed > 0 {
			where = append(where, fmt.Sprintf("round %d, %s, %s: %d of %d", s.Round, s.Peer, titleOf(s.Load), s.Failed, s.Requests))
		}
	}
	fmt.Fprintf(w, "\n%d requests in %d runs, %d failed\n", asked, len(all), failed)
	if failed > 0 {
		return fmt.Errorf("bench: requests failed, so these figures are worth nothing:\n%s", strings.Join(where, "\n"))
	}
	return nil
}

func save(path string, all results) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	enc := json.NewEncoder(f)
	for _, s := range all {
		if err := enc.Encode(s); err != nil {
			return fmt.Errorf("bench: %w", err)
		}
	}
	return nil
}

// versions says what is measured, in the words of the programs themselves.
func (b *bench) versions(ctx context.Context) string {
	said := []string{fmt.Sprintf("%d cores", runtime.NumCPU()), "Go " + strings.TrimPrefix(runtime.Version(), "go")}
	for _, of := range [][]string{{haproxyPath, "-v"}, {nginxPath, "-v"}, {"wrk", "-v"}, {"h2load", "--version"}} {
		out, _ := exec.CommandContext(ctx, of[0], of[1:]...).CombinedOutput() // wrk -v ends with 1
		first, _, _ := strings.Cut(string(out), "\n")
		if words := strings.Fields(first); len(words) > 0 {
			said = append(said, strings.Join(words[:min(3, len(words))], " "))
		}
	}
	if info, err := buildinfo.ReadFile(filepath.Join(b.bin, "caddy")); err == nil {
		for _, d := range info.Deps {
			if d.Path == "github.com/caddyserver/caddy/v2" {
				said = append(said, "Caddy "+d.Version)
			}
		}
	}
	return strings.Join(said, " · ")
}
