// Package controltest is a machine in memory, for tests of what stands above the
// control loop: instances that behave as a test says, a data plane that
// acknowledges at once, and callers that it counts. It decides nothing, and its
// own tests hold it against the loop.
package controltest
