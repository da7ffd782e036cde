// Package demo is the sample system: harbor, five small services that call each
// other, their versions, and the shoppers who use them. It is a guest of the
// product, not a part of it: it drives Slipway from outside and no other package
// but the roof knows it. One conformance suite judges every implementation of a
// service, Go, Node and Python alike.
package demo
