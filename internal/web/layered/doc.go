// Package layered lays out a directed graph in columns, from callers on the left to
// callees on the right, after Sugiyama, Tagawa and Toda (1981). It knows nothing of
// services and draws nothing: boxes with names and arrows in, places and points
// out, the same for the same graph in whichever order it is told. Its property
// tests judge it.
package layered
