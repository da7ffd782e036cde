// Package handover is how a running data plane gives its place to the next
// process: the private socket between the two, the steps they take on it, and the
// file descriptors that pass. It knows no tables, routes or requests; its tests
// are two real processes.
//
// The steps. The old process starts the new one, which inherits one end of a
// socket pair as its third file. Then, each waiting for the other:
//
//	new  hello    which protocol and version it is
//	old  estate   what it has, followed by its locks and listeners
//	new  ready    everything is loaded and open, nothing is accepted yet
//	old  go       the place is yours
//	new  serving  it accepts; only now the old one stops accepting
//
// Until go the new process may die at any moment without a trace. From ready on
// the old one may die, and the new one takes its place without being told. After
// serving the same socket is a connection from the new to the old process, for
// as long as the old one has requests to finish; its end says that it has gone.
package handover
