// Package web is Slipway's pages: rendered here, live over server-sent events, and
// of use without a script. It translates and checks who may, nothing else: what
// may be done and what it would do is asked of package control. Its tests look at
// it with a real browser.
package web
