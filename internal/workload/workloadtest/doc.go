// Package workloadtest judges workload drivers with real processes. Every driver
// passes Run; it is not a fake of one.
package workloadtest
