package cli

import (
	"context"
	"io"

	"github.com/slipway-cd/slipway/internal/traffic"
)

// Roof is what only the top of the house can do: run the processes themselves.
// Main gets it from package app, so that commands import nothing above them.
type Roof struct {
	Server    func(ctx context.Context, o ServerOptions) error
	Proxy     func(ctx context.Context, o ProxyOptions) error
	Shim      func(ctx context.Context, args []string) int
	Up        func(ctx context.Context, o UpOptions) (UpReport, error)
	Down      func(ctx context.Context, o DownOptions) (DownReport, error)
	ProxyRuns func(state string) bool                                   // whether the data plane of a state folder runs
	Socket    func(state string) (string, error)                        // path of the data plane's control socket
	Listening func(ctx context.Context, state string) ([]string, error) // addresses of the data plane, host:port
	Demo      func(ctx context.Context, o DemoOptions) (int, error)     // exit code
	DemoServe func(ctx context.Context, name string) error
	Version   string
}

// ServerOptions is how the control plane is run in the foreground.
type ServerOptions struct {
	State       string // folder
	Addr        string // host:port of the API; "" is 127.0.0.1:7500
	AllowRemote bool   // listen on another address than loopback without TLS
	TLSCert     string // file; with TLSKey another address is allowed
	TLSKey      string
	Log         io.Writer

	AnonymousRead bool // who shows no token may read
}

// ProxyOptions is how the data plane is run in the foreground.
type ProxyOptions struct {
	State     string
	Socket    string         // path of the control socket; "" is the one of the state folder
	First     *traffic.Table // put in force at the start; nil is the one on disk
	Log       io.Writer
	AccessLog string // file; "" is one in State
	Metrics   string // host:port; "" is nowhere
}

// UpOptions is how both processes are started in the background.
type UpOptions struct {
	State         string
	Addr          string
	AnonymousRead bool // who shows no token may read
}

// UpReport says what runs after Up.
type UpReport struct {
	State     string `json:"state"`
	URL       string `json:"url"`
	ServerPID int    `json:"server_pid"`
	ProxyPID  int    `json:"proxy_pid"`
	Started   bool   `json:"started"` // false: both ran already

	ServerStarted bool `json:"server_started"` // the control plane was started with the options of now

	UpgradedFrom string `json:"upgraded_from,omitempty"` // version of the data plane that gave its place to one of this binary
}

// DownOptions is how everything is stopped.
type DownOptions struct {
	State         string
	KeepInstances bool // stop the server only; the data plane and the instances go on
}

// DownReport says what was stopped.
type DownReport struct {
	Server    bool `json:"server"`
	Proxy     bool `json:"proxy"`
	Instances int  `json:"instances"`
}

// DemoOptions is how the sample system is run.
type DemoOptions struct {
	Dir            string // folder for its files and state; "" is a temporary one
	Tour           bool   // run the story by itself, then end
	Trials         int    // above 0: roll good and bad versions out so many times each and count how they end, then end
	Fast           bool   // shorter holds
	JSON           bool   // the summary as JSON
	Port           int    // first port; the API listens there and the environments at +60, +70 and +80. 0 is 7500
	Stdout, Stderr io.Writer
}
