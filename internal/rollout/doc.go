// Package rollout is the state machine: a rollout and what was seen go in, a plan
// with a reason comes out. It never does what it says; control does. Tables,
// properties and the simulation judge it.
package rollout
