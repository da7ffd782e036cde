package cli

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
	driver "github.com/slipway-cd/slipway/internal/traffic/proxy"
)

// planeOptions say which data plane is meant, and how one is run.
type planeOptions struct {
	listen string
	to     []string
	table  string
}

func (s *session) proxy() *cobra.Command {
	var o planeOptions
	run := ProxyOptions{Log: s.Stderr}
	cmd := &cobra.Command{
		Use: "proxy", Short: "Run the data plane alone, or look after one that runs", Args: none,
		Long: "Runs the data plane in the foreground. \"slipway up\" starts one by itself; alone it is a\n" +
			"proxy that serves the last table it was given, on disk or here, until a server sends another.\n" +
			"The other commands look after the one that runs. docs/data-plane.md says what it understands.",
		Example: "  slipway proxy --listen 127.0.0.1:8080 --to 127.0.0.1:9001,127.0.0.1:9002\n" +
			"  slipway proxy --table routes.json\n" +
			"  slipway proxy routes",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if run.First, err = o.first(s.Dir); err != nil {
				return err
			}
			if run.State, err = s.folder(); err != nil {
				return err
			}
			run.Socket = o.path(s.Dir, s.socket)
			return s.Roof.Proxy(cmd.Context(), run)
		},
	}
	cmd.PersistentFlags().StringVar(&s.socket, "socket", "", "control socket of the data plane (default the one in the state folder)")
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "", "host:port that requests come in on")
	f.StringSliceVar(&o.to, "to", nil, "host:port of each instance that gets them")
	f.StringVar(&o.table, "table", "", "file with a table as JSON to begin with; docs/data-plane.md says what is in one")
	f.StringVar(&run.AccessLog, "access-log", "", "file of the access log, when slipway.yaml asks for one (default access.log in the data plane's folder)")
	f.StringVar(&run.Metrics, "metrics", "", "host:port at which GET /metrics answers, for Prometheus; the control socket always does")
	cmd.AddCommand(s.proxyRoutes(&o), s.proxyDrain(&o), s.proxyUpgrade(&o), s.proxyDump(&o))
	return cmd
}

// path makes a path of the command line absolute.
func (o planeOptions) path(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// first is the table that the flags describe, or nil.
func (o planeOptions) first(dir string) (*traffic.Table, error) {
	const next = "slipway proxy --help"
	switch {
	case (o.listen == "") != (len(o.to) == 0):
		return nil, usageError{err: errors.New("--listen and --to go together"), next: next}
	case o.listen != "" && o.table != "":
		return nil, usageError{err: errors.New("--table says all that --listen and --to do; give one of them"), next: next}
	case o.listen != "":
		t := plainTable(o.listen, o.to)
		return t, plainly(t.Validate())
	case o.table == "":
		return nil, nil
	}
	return readTable(o.path(dir, o.table), o.table)
}

// readTable reads the table in the file at path, which was called name.
func readTable(path, name string) (*traffic.Table, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usageError{err: fmt.Errorf("--table: there is no file %s", name), next: "slipway proxy --help"}
	}
	if err != nil {
		return nil, usageError{err: fmt.Errorf("--table: %w", err), next: "slipway proxy --help"}
	}
	t := new(traffic.Table)
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(t); err != nil {
		return nil, usageError{err: fmt.Errorf("--table: %s %s", name, noTable(err, b)), next: tableHelp}
	}
	if t.Generation == 0 {
		t.Generation = 1
	}
	err = t.Validate()
	if field, ok := errors.AsType[*delivery.FieldError](err); ok && field.Next == "" {
		return nil, delivery.InvalidNext(field.Field, field.Why, "mend it in "+name+"; "+tableHelp)
	}
	return t, err
}

// tableHelp is where the form of a table can be seen.
const tableHelp = "slipway proxy dump prints one that runs, docs/data-plane.md explains it"

// noTable says what is wrong with JSON that is no table, and in which line.
func noTable(err error, b []byte) string {
	line := func(offset int64) string {
		return fmt.Sprintf("line %d: ", 1+bytes.Count(b[:min(max(offset, 0), int64(len(b)))], []byte{'\n'}))
	}
	if kind, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		// Of the way to the field, what is in lower case are names of the file.
		way := slices.DeleteFunc(strings.Split(kind.Field, "."), func(name string) bool { return strings.ToLower(name) != name })
		said := line(kind.Offset) + cmp.Or(strings.Join(way, "."), "all of it") + " is of the wrong kind: " + kind.Value
		if kind.Type == reflect.TypeFor[time.Duration]() {
			said += "; a time is a number of nanoseconds, 5000000000 for 5 s"
		}
		return said
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return line(syntax.Offset) + "is no JSON: " + syntax.Error()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return line(int64(len(b))) + "ends before the table does"
	}
	return "is no table: " + strings.TrimPrefix(err.Error(), "json: ")
}

// plainTable leads every request to one of some instances.
func plainTable(listen string, to []string) *traffic.Table {
	const name = "main"
	p := traffic.Pool{Release: name, Version: name, Weight: delivery.Full}
	for i, addr := range to {
		p.Endpoints = append(p.Endpoints, traffic.Endpoint{ID: fmt.Sprintf("%s.%d", name, i), Addr: addr})
	}
	return &traffic.Table{
		Generation: 1,
		Listeners:  []traffic.Listener{{Name: name, Addr: listen, Env: name}},
		Routes: []traffic.Route{{
			Name: name + "/" + name, Env: name, Service: name, Gen: 1, Hosts: []string{""}, Paths: []string{}, Salt: name, Pools: []traffic.Pool{p},
		}},
	}
}

// plainly says what is wrong with the table of flags in the words of the flags.
func plainly(err error) error {
	field, ok := errors.AsType[*delivery.FieldError](err)
	if !ok {
		return err
	}
	flag := "--to"
	if strings.HasPrefix(field.Field, "listener") {
		flag = "--listen"
	}
	return usageError{err: fmt.Errorf("%s: %s", flag, field.Why), next: "slipway proxy --listen 127.0.0.1:8080 --to 127.0.0.1:9001"}
}

// plane is a client of the data plane that is meant.
func (s *session) plane(o *planeOptions) (*driver.Driver, error) {
	if s.socket != "" {
		return driver.New(o.path(s.Dir, s.socket)), nil
	}
	folder, err := s.folder()
	if err != nil {
		return nil, err
	}
	socket, err := s.Roof.Socket(folder)
	if err != nil {
		return nil, err
	}
	return driver.New(socket), nil
}

// absence turns the error of a socket that nobody listens on into what a person
// can do about it.
func absence(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		if dialled, ok := errors.AsType[*net.OpError](err); ok && dialled.Addr != nil {
			err = errors.New("nobody listens on " + dialled.Addr.String())
		}
		return &delivery.Refusal{Why: "no data plane runs here: " + err.Error(), Next: "slipway up, or slipway proxy, or name its folder with --state"}
	}
	return err
}
