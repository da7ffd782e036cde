package workloadtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Mode is how the application of the suite behaves.
type Mode string

// The modes. Those that take an argument have it in the variable ARG.
const (
	Healthy    Mode = "healthy"     // 204 at /healthz; ends at SIGTERM
	Slow       Mode = "slow"        // listens once the file ARG exists
	NeverReady Mode = "never-ready" // 503 at /healthz
	Silent     Mode = "silent"      // accepts connections and never answers
	Flapping   Mode = "flapping"    // healthy or 503 as the file ARG exists or not
	Crashing   Mode = "crashing"    // healthy for ARG, a duration, then exits with status 3
	ExitAtOnce Mode = "exit"        // says "boom" and exits with status 7
	Stubborn   Mode = "stubborn"    // healthy; ignores SIGTERM
	Forking    Mode = "forking"     // healthy; starts a child, and one in a session of its own
	Greedy     Mode = "greedy"      // healthy; takes ARG MiB of memory
	WrongPort  Mode = "wrong-port"  // listens on a port of its own choice
	Redirects  Mode = "redirects"   // 302 at /healthz
	Talking    Mode = "talking"     // healthy; writes ARG lines, then each request's path
	Working    Mode = "working"     // healthy; a child of it uses ARG, a duration, of CPU time, and holds 40 MiB
	sleeping   Mode = "sleeping"    // child of Forking
	toiling    Mode = "toiling"     // child of Working
)

// ToilMiB is the memory that the child of Working holds, in MiB.
const ToilMiB = 96 // more than a test binary takes that does nothing

// appWord is the argument that makes a test binary the application.
const appWord = "workloadtest-app"

// App is what a test binary with the argument "workloadtest-app" does: it is
// the application that the suite runs. It returns the exit code.
func App(ctx context.Context, args []string) int {
	if len(args) != 1 {
		fmt.Fprintln(os.Stderr, "want one mode")
		return 2
	}
	a := &app{mode: Mode(args[0]), arg: os.Getenv("ARG")}
	if err := a.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return a.code
}

type app struct {
	mode Mode
	arg  string
	code int
	held []byte // what Greedy took
	hits atomic.Int64
	busy atomic.Int64 // requests for /takes that are under way
}

func (a *app) run(ctx context.Context) error {
	if a.mode == Stubborn {
		signal.Ignore(unix.SIGTERM)
	}
	ctx, stop := signal.NotifyContext(ctx, unix.SIGINT)
	if a.mode != Stubborn {
		ctx, stop = signal.NotifyContext(ctx, unix.SIGTERM)
	}
	defer stop()
	switch a.mode {
	case ExitAtOnce:
		fmt.Fprintln(os.Stderr, "boom: no database")
		a.code = 7
		return nil
	case sleeping:
		<-ctx.Done()
		return nil
	case toiling:
		return a.toil(ctx)
	case Working:
		if err := start(toiling); err != nil {
			return err
		}
	case Slow:
		for exists := false; !exists && ctx.Err() == nil; wait(ctx, 10*time.Millisecond) {
			_, err := os.Stat(a.arg)
			exists = err == nil
		}
	case Forking:
		if err := fork(); err != nil {
			return err
		}
	case Greedy:
		if err := a.take(); err != nil {
			return err
		}
	case Talking:
		n, err := strconv.Atoi(a.arg)
		if err != nil {
			return err
		}
		for i := range n {
			fmt.Fprintf(os.Stdout, "line %d\n", i)
		}
	case Healthy, NeverReady, Silent, Flapping, Crashing, Stubborn, WrongPort, Redirects: // show it while they serve
	}
	return a.serve(ctx)
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// fork leaves two processes behind: one in the group, one that escaped it.
func fork() error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	inside := exec.Command(exe, appWord, string(sleeping))
	outside := exec.Command("setsid", exe, appWord, string(sleeping))
	return errors.Join(inside.Start(), outside.Start())
}

// start leaves one process behind, in the group.
func start(m Mode) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	return exec.Command(exe, appWord, string(m)).Start()
}

// toil uses CPU time, and holds what it took.
func (a *app) toil(ctx context.Context) error {
	want, err := time.ParseDuration(a.arg)
	if err != nil {
		return err
	}
	a.arg = strconv.Itoa(ToilMiB)
	if err := a.take(); err != nil {
		return err
	}
	for n := byte(0); ctx.Err() == nil; n++ {
		for i := range a.held {
			a.held[i] += n
		}
		var r unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil || time.Duration(r.Utime.Nano()+r.Stime.Nano()) >= want {
			break
		}
	}
	<-ctx.Done()
	return nil
}

func (a *app) take() error {
	mib, err := strconv.Atoi(a.arg)
	if err != nil {
		return err
	}
	a.held = make([]byte, mib<<20)
	for i := 0; i < len(a.held); i += 4096 {
		a.held[i] = 1
	}
	return nil
}

func (a *app) serve(ctx context.Context) error {
	addr := "127.0.0.1:" + os.Getenv("PORT")
	if a.mode == WrongPort {
		addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	if a.mode == Crashing {
		d, err := time.ParseDuration(a.arg)
		if err != nil {
			return err
		}
		var crash context.CancelFunc
		ctx, crash = context.WithTimeout(ctx, d)
		defer crash()
		a.code = 3
	}
	if a.mode == Silent {
		<-ctx.Done()
		return l.Close()
	}
	s := &http.Server{Handler: a.handler(ctx.Done()), ReadHeaderTimeout: time.Minute}
	back := make(chan error, 1)
	go func() { back <- s.Serve(l) }()
	select {
	case <-ctx.Done():
	case err := <-back:
		return err
	}
	// What is being answered is answered to the end, as a good service does.
	err = s.Shutdown(context.WithoutCancel(ctx))
	<-back //nolint:errcheck // it was shut down
	return err
}

// handler answers what the suite asks: /healthz, /env, /where, /files, /takes, /busy and any other path.
// What /takes some time takes it from when the application is told to stop.
func (a *app) handler(told <-chan struct{}) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", a.healthz)
	mux.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, strings.Join(os.Environ(), "\n")) //nolint:errcheck // the test reads what comes
	})
	mux.HandleFunc("/where", func(w http.ResponseWriter, _ *http.Request) {
		dir, err := os.Getwd()
		fmt.Fprintf(w, "%s %v", dir, err)
	})
	mux.HandleFunc("/files", func(w http.ResponseWriter, _ *http.Request) {
		var r unix.Rlimit
		err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r)
		fmt.Fprintf(w, "%d %d %v", r.Cur, r.Max, err)
	})
	mux.HandleFunc("/takes", func(w http.ResponseWriter, r *http.Request) {
		a.busy.Add(1)
		defer a.busy.Add(-1)
		d, err := time.ParseDuration(r.FormValue("for"))
		select {
		case <-told:
			wait(r.Context(), d)
		case <-r.Context().Done():
		}
		fmt.Fprintf(w, "done %v", err)
	})
	mux.HandleFunc("/busy", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%d", a.busy.Load())
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if a.mode == Talking {
			fmt.Fprintln(os.Stderr, r.URL.Path)
		}
		fmt.Fprintf(w, "%d", a.hits.Add(1))
	})
	return mux
}

func (a *app) healthz(w http.ResponseWriter, r *http.Request) {
	switch a.mode {
	case NeverReady:
		http.Error(w, "the database is down", http.StatusServiceUnavailable)
	case Redirects:
		http.Redirect(w, r, "/login", http.StatusFound)
	case Flapping:
		if _, err := os.Stat(a.arg); err != nil {
			http.Error(w, "flapping", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	case Healthy, Slow, Silent, Crashing, ExitAtOnce, Stubborn, Forking, Greedy, WrongPort, Talking, Working, sleeping, toiling:
		w.WriteHeader(http.StatusNoContent)
	}
}
