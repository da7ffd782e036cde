package embedded

import "time"

// Store keeps the numbers of one machine. It is safe for use by many goroutines.
type Store struct {
	frames  frames
	samples samples
	now     func() time.Time
}

// New returns an empty store.
func New() *Store {
	return &Store{frames: newFrames(), samples: newSamples(), now: time.Now}
}
