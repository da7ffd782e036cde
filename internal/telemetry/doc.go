// Package telemetry is what the control plane tells others about itself: numbers
// for Prometheus, and one OpenTelemetry trace for each change. It decides nothing
// and reads only what the ledger, the store and the loop have; promtool and a
// real Prometheus judge its numbers.
package telemetry
