// Package embedded keeps the numbers of one machine: each second for ten minutes,
// each minute for a day, and as a metric driver it answers the judge from them.
// It decides nothing and touches no disk; metrictest and its own tests, which
// count everything again, judge it.
package embedded
