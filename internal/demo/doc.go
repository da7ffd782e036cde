// Package demo is the sample system: five small services, their versions and their
// shoppers. It is a guest of the product, not a part of it; the tour judges it.
package demo
