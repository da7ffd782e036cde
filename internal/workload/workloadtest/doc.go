// Package workloadtest judges workload drivers with real processes. Every driver
// passes Run; it is not a fake of one. The test binary is the application: its
// TestMain calls Main before anything else.
package workloadtest
