// Package promotion decides whether a release may enter an environment, and says
// why not. It moves nothing and knows no clock; a table of cases and properties judge it.
//
// What a person chose for one environment is never overwritten by an older
// change: deploying an older release there, or rolling back, makes a change with
// a higher number than all that went before, and the automation only lets higher
// numbers pass lower ones. The next newer change goes on as usual. Whoever wants
// to stop that too pins the environment.
package promotion
