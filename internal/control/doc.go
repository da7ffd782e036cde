// Package control is the loop: read, see, decide, do, write. No rule is written
// here; the crash suite and the simulation judge it.
package control
