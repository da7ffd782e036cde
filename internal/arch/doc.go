// Package arch has no code, only tests: that imports go down, that rules stay
// pure, that the map is true and that no file or function outgrows its room.
package arch
