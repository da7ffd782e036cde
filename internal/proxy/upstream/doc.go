// Package upstream is connections to one instance, with one HTTP/1.1 exchange on
// each at a time, in the goroutine of the caller. It knows no routes and retries
// nothing; it says what an error means for one who may. Its judges are servers
// written by hand that die at every stage.
//
// A round of a keep-alive connection: Get takes the youngest idle one or dials,
// Do sends the head and waits for the answer's, the Body is read to its end, and
// Release puts the connection back. Whatever is not clean is closed instead: a
// byte too many on a connection would be read as the answer to somebody else.
package upstream
