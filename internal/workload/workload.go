// Package workload is the port to whatever runs instances of a release.
// Callers use Driver values through control; it runs no rule of a rollout, and
// workloadtest judges every driver.
package workload

import (
	"context"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// ID names one instance for ever: environment, service, release and place, for
// example "prod.payment.r1f2e3d4c5b6a798.0". The same ID is never run twice at once.
type ID string

// Spec is everything a driver needs to run one instance. It is complete: a
// driver looks nothing up.
type Spec struct {
	ID      ID                 `json:"id"`
	Service string             `json:"service"`
	Env     string             `json:"env"`
	Release delivery.ReleaseID `json:"release"`
	Version string             `json:"version"`
	Change  delivery.ChangeID  `json:"change"`
	Bundle  string             `json:"bundle"` // folder that holds the snapshotted files; the working folder of the command
	Run     delivery.RunSpec   `json:"run"`
	Vars    map[string]string  `json:"vars"` // the whole environment but PORT, which the driver adds
}

// Phase is where one instance stands.
type Phase string

// The phases of an instance.
const (
	Starting Phase = "starting" // runs, not ready yet
	Ready    Phase = "ready"    // answers its health check
	Unready  Phase = "unready"  // was ready, is not now
	Backoff  Phase = "backoff"  // exited, will be started again
	Stopping Phase = "stopping" // told to stop
	Stopped  Phase = "stopped"  // gone
)

// Status is what is known of one instance.
type Status struct {
	Spec     Spec          `json:"spec"`
	Phase    Phase         `json:"phase"`
	Addr     string        `json:"addr"` // host:port it serves on
	PID      int           `json:"pid,omitempty"`
	Started  time.Time     `json:"started"`             // of the running process
	Since    time.Time     `json:"since"`               // of Phase
	Restarts int           `json:"restarts"`            // times it exited by itself
	LastExit string        `json:"last_exit,omitempty"` // "exit status 1", "signal: killed"
	Probe    string        `json:"probe,omitempty"`     // what the last failed health check answered
	Tail     []string      `json:"tail,omitempty"`      // last lines of its log when it is in trouble
	Next     time.Duration `json:"next,omitempty"`      // until the next start, in Backoff
	Usage    Usage         `json:"usage,omitzero"`      // of the running process and those it began
}

// Usage is what an instance takes. Zero is not known.
type Usage struct {
	CPU    time.Duration `json:"cpu"`    // since Started
	Memory uint64        `json:"memory"` // bytes that are resident
	At     time.Time     `json:"at"`
}

// LogQuery selects log lines of instances. Zero fields select everything.
type LogQuery struct {
	Service string
	Env     string
	Release delivery.ReleaseID
	Tail    int                // last lines of each instance; 0 means 100
	Follow  bool               // keep reading until ctx ends
	Every   time.Duration      // how often Follow looks for more; 0 is what suits a person who watches
	Want    func(LogLine) bool // which lines; Tail counts these alone. nil wants all
}

// LogLine is one line an instance wrote.
type LogLine struct {
	At     time.Time `json:"at"`
	ID     ID        `json:"instance"`
	Stream string    `json:"stream"` // "stdout", "stderr" or "slipway" for what the runner did
	Text   string    `json:"text"`
}

// Driver runs instances. Every method may be called again with the same
// argument, by another process too, and then changes nothing.
type Driver interface {
	// Ensure makes the instance run. It returns when the start is durable, not
	// when the instance is ready. An instance that runs already is adopted as it is.
	Ensure(ctx context.Context, s Spec) error
	// Stop sends SIGTERM, waits at most Run.Stop.Grace, then kills. It returns
	// when the instance is gone or ctx ends. Traffic is drained before, by others.
	Stop(ctx context.Context, id ID) error
	// List returns every instance of this driver's root, whoever started it.
	List(ctx context.Context) ([]Status, error)
	// Logs calls line for each line, oldest first, until ctx ends or line returns false.
	Logs(ctx context.Context, q LogQuery, line func(LogLine) bool) error
	// Changed returns a channel that receives a value soon after any Status
	// changed. It may miss and may cry wolf: it is a bell, not a queue.
	Changed() <-chan struct{}
}
