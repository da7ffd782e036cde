// Package promotion decides whether a release may enter an environment, and says
// why not. It moves nothing; a table of cases judges it.
package promotion
