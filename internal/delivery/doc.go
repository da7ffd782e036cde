// Package delivery holds the words of continuous delivery: what a service, a
// release, a change, a plan, a rollout, a hold and a verdict are. It is data
// and rules about data: no clock, no context, no I/O. Everything else in
// Slipway speaks these words, and package arch judges that it stays pure.
package delivery
