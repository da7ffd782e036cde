// Package proxy is the traffic driver that talks to the data-plane process over
// its control socket. It routes nothing itself; traffictest judges it.
package proxy
