package embedded

// Store keeps the numbers of one machine. It is safe for use by many goroutines.
type Store struct {
	frames frames
}

// New returns an empty store.
func New() *Store {
	return &Store{frames: newFrames()}
}
