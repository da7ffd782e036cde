package store

import (
	"errors"
	"fmt"

	"modernc.org/sqlite"
)

// ErrClosed is returned by a write that comes after Close.
var ErrClosed = errors.New("store: closed")

// ErrUnrecorded is returned by a write that changed state and appended no line
// to the ledger. Nothing of it is kept.
var ErrUnrecorded = errors.New("changed state without a line in the ledger")

// FileError says what is wrong with a file of the store and what mends it.
type FileError struct {
	Path string
	What string
	Next string // what a person does about it
	Err  error  // what the system or the database engine said; may be nil
}

func (e *FileError) Error() string {
	text := e.Path + ": " + e.What
	if e.Err != nil {
		text += " (" + e.Err.Error() + ")"
	}
	return text + "; " + e.Next
}

func (e *FileError) Unwrap() error { return e.Err }

// PanicError is a panic of the function given to Write. Nothing of that write is kept.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Primary result codes of SQLite, https://www.sqlite.org/rescode.html.
const (
	codeBusy     = 5
	codeReadOnly = 8
	codeIO       = 10
	codeCorrupt  = 11
	codeFull     = 13
	codeCantOpen = 14
	codeNotADB   = 26
)

// codeOf returns the primary result code of an error of the engine, or 0.
func codeOf(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() & 0xff
	}
	return 0
}

// explain turns an error of the engine about the file at path into a
// *FileError, and leaves every other error as it is.
func explain(path string, err error) error {
	e := FileError{Path: path, Err: err}
	switch codeOf(err) {
	case codeFull:
		e.What, e.Next = "the disk is full", "free some space; everything acknowledged is safe, and what was not is not kept"
	case codeIO:
		e.What, e.Next = "the disk does not read or write", "look at the disk, then start Slipway again; everything acknowledged is safe"
	case codeReadOnly, codeCantOpen:
		e.What, e.Next = "cannot be written", "make the file and its folder writable for the user that runs Slipway"
	case codeCorrupt, codeNotADB:
		e.What, e.Next = "is damaged", "stop Slipway, keep a copy of the file, and restore it from a backup"
	case codeBusy:
		e.What, e.Next = "is locked by another program", "close the program that has it open"
	default:
		return err
	}
	return &e
}
