// Package store remembers: what is wanted, what is so, and the ledger of how it
// came about. It is one concrete type over SQLite and decides nothing; crash
// tests and the chain of hashes judge it.
package store
