// Package traffictest judges traffic drivers with real sockets. Every driver
// passes Run; it is not a fake of one.
package traffictest
