// Package wire is HTTP/1.1 messages as bytes: heads, chunks and the rules of framing
// (RFC 9112). It reads from slices and writes to slices; it knows no sockets, no
// routes and no policy. Fuzzing against net/http judges it.
//
// It refuses whatever two parsers might read differently, for a proxy that guesses
// is how requests are smuggled. What is legal but rare is marked Unusual, so that a
// caller with a short way for plain requests can send the rest a longer one.
package wire
