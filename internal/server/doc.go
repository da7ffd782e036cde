// Package server is the HTTP API: it checks who asks, translates, and asks
// control. It decides nothing; its tests speak HTTP.
package server
