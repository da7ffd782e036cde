// Package artifact keeps content-addressed bundles: a file or folder is snapshotted
// once, named by its digest and never changed. It knows no services; its
// tests tear and race it.
package artifact
