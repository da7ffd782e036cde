package delivery

import "time"

// HoldKind says what a hold stops.
type HoldKind string

// The kinds of hold.
const (
	Quarantine HoldKind = "quarantine" // a release may enter no environment
	Pinned     HoldKind = "pin"        // nothing new enters a service's environment
)

// Hold pins a service in an environment or quarantines a release. A rollback
// makes one by itself; only a person lifts it. It is in every API reply about
// what it stops.
type Hold struct {
	ID      int64     `json:"id"`
	Kind    HoldKind  `json:"kind"`
	Service string    `json:"service"`
	Env     string    `json:"env,omitempty"`     // pin
	Release ReleaseID `json:"release,omitempty"` // quarantine
	Version string    `json:"version,omitempty"`
	Why     string    `json:"why"`
	By      string    `json:"by"` // "slipway" when a rollback made it
	Change  ChangeID  `json:"change,omitempty"`
	At      time.Time `json:"at"`
}

// Lift returns the command that lifts the hold.
func (h Hold) Lift() string {
	if h.Kind == Quarantine {
		return "slipway release " + h.Service + " " + h.Version
	}
	return "slipway release " + h.Service + " --env " + h.Env
}
