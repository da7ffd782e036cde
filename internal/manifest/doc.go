// Package manifest turns the bytes of slipway.yaml into the words of delivery,
// with every default filled in and every mistake named by line and column. It
// opens no file; golden tests judge it.
package manifest
