// Package cli is the face at the terminal, one file per command. It speaks only to
// the HTTP API; scripts in cmd/slipway specify it.
package cli
