package traffic

import "time"

// What a person asks of one data plane, beside the table that a server sends it.

// CodeHandedOver is the code of the answer of a data plane whose place another
// process has taken: whoever asks again asks that one.
const CodeHandedOver = "handed_over"

// CodeLastEndpoint is the code of the answer to who drains the last healthy
// endpoint of a release that takes traffic without force.
const CodeLastEndpoint = "last_endpoint"

// Upgrade is a data plane that took the place of another one.
type Upgrade struct {
	PID        int    `json:"pid"`
	Version    string `json:"version"`
	OldPID     int    `json:"old_pid"`
	OldVersion string `json:"old_version"`
}

// DrainOrder takes endpoints out of rotation until it is undone or they leave
// the table, whatever tables come.
type DrainOrder struct {
	By    string `json:"by"`
	Why   string `json:"why,omitempty"`
	Force bool   `json:"force,omitempty"` // even the last healthy one of a release that takes traffic
}

// Drained says who took an endpoint out of rotation.
type Drained struct {
	By  string    `json:"by"`
	Why string    `json:"why,omitempty"`
	At  time.Time `json:"at"`
}

// Dump is everything one data plane knows of itself, for a bug report. It holds
// no key.
type Dump struct {
	At      time.Time    `json:"at"`
	State   State        `json:"state"`
	Table   Table        `json:"table"`            // without PreviewKey
	Blocks  []Block      `json:"blocks"`           // of the last minute
	Failed  []Sample     `json:"failed"`           // newest last
	Faults  []FaultState `json:"faults,omitempty"` //
	Process Process      `json:"process"`
}

// Process is what one process uses.
type Process struct {
	Go         string        `json:"go"` // version
	Procs      int           `json:"procs"`
	Up         time.Duration `json:"up"`
	Goroutines int           `json:"goroutines"`
	OpenFiles  int           `json:"open_files"`  // descriptors; -1 where the system does not tell
	FileLimit  uint64        `json:"file_limit"`  // soft limit of descriptors
	HeapBytes  uint64        `json:"heap_bytes"`  // in use
	TotalBytes uint64        `json:"total_bytes"` // got from the system
}
