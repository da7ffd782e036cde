// Package process is the workload driver that runs plain processes on Linux,
// each under a shim that outlives the server. It knows no rollouts and no
// routes; workloadtest judges it.
//
// Every instance has a folder below the root. spec.json is the wish: written by
// a Driver, durable before anything starts. state.json is the truth as the shim
// sees it. The lock on "life" is held by the shim for as long as it lives, and
// is the only proof that an instance runs; "door" is held by whoever changes
// the wish. A folder that vanishes ends its instance.
package process
