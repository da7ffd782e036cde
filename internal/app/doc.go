// Package app builds the house and takes it down in reverse order. It holds the
// only list of drivers and no rule; its tests build and kill it.
package app
