package delivery

import "time"

// Want is how many instances of a release shall run in an environment. The set
// of wants is what the world is made to look like, with or without a rollout.
type Want struct {
	Service string    `json:"service"`
	Env     string    `json:"env"`
	Release ReleaseID `json:"release"`
	Count   int       `json:"count"`
	Change  ChangeID  `json:"change"`         // that asked for the instances
	Until   time.Time `json:"until,omitzero"` // warm until then; zero: for as long as it is wanted
}

// Stable points to the release that serves a service in an environment, and to
// the one before it. It moves only when a rollout is done or reverted.
type Stable struct {
	Service  string    `json:"service"`
	Env      string    `json:"env"`
	Release  ReleaseID `json:"release"`
	Version  string    `json:"version"`
	Change   ChangeID  `json:"change"`
	Since    time.Time `json:"since"`
	Previous ReleaseID `json:"previous,omitempty"`  // what a rollback goes to
	Warm     time.Time `json:"warm_until,omitzero"` // Previous still runs until then
}
