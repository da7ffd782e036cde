// Package proxy is the data plane: listeners, routes, pools, health checks, draining
// and counts. It knows no rollouts and can run alone; its tests are real
// requests over real sockets.
package proxy
