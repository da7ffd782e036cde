package delivery

import (
	"encoding/json"
	"time"
)

// EventKind names what a ledger line records.
type EventKind string

// The kinds of ledger line. An intent is written before its effect is applied.
const (
	EventProject   EventKind = "project"
	EventRelease   EventKind = "release"
	EventSubmitted EventKind = "submitted"
	EventMoved     EventKind = "moved"  // a rollout changed state or step
	EventIntent    EventKind = "intent" // an effect is about to be applied
	EventAsked     EventKind = "asked"
	EventVerdict   EventKind = "verdict"
	EventHeld      EventKind = "held"
	EventLifted    EventKind = "lifted"
	EventStable    EventKind = "stable" // the stable pointer moved
	EventInstance  EventKind = "instance"
	EventServer    EventKind = "server" // started, stopped, recovered
	EventAccess    EventKind = "access" // somebody may do more or less than before
)

// Event is one line of the ledger: append-only and hash-chained. Audit,
// timeline, watch and crash recovery all read it.
type Event struct {
	Seq     int64           `json:"seq"`
	At      time.Time       `json:"at"`
	Kind    EventKind       `json:"kind"`
	Change  ChangeID        `json:"change,omitempty"`
	Rollout RolloutID       `json:"rollout,omitempty"`
	Service string          `json:"service,omitempty"`
	Env     string          `json:"env,omitempty"`
	Key     string          `json:"key,omitempty"` // of an intent; unique for ever
	By      string          `json:"by,omitempty"`
	State   State           `json:"state,omitempty"`
	Step    int             `json:"step,omitempty"`
	Text    string          `json:"text"`           // for people
	Data    json.RawMessage `json:"data,omitempty"` // for machines
	Prev    string          `json:"prev"`           // hash of the line before, hex
	Hash    string          `json:"hash"`           // of this line and Prev, hex
}
