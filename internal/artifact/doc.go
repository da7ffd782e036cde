// Package artifact keeps content-addressed bundles: a file or folder is
// snapshotted once, named by the digest of its canonical tar and never changed.
// It knows no services and no releases; its tests tear, attack and race it.
package artifact
