// Package metrictest judges metric drivers with known events. Every driver passes
// Run; it is not a fake of one. What it writes is what services publish: running
// totals, values and histograms, read off each instance every few seconds.
package metrictest
