// Package logs reads the lines that programs write: how bad each is, what it
// says, and to which trace it belongs, whatever format it has. It follows no
// file and keeps nothing; its tests hold it to the formats people use.
package logs
