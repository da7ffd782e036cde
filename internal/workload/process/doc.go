// Package process is the workload driver that runs plain processes, each under a
// shim that outlives the server. It knows no rollouts; workloadtest judges it.
package process
