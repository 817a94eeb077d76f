package bundle

import (
	"errors"
	"sync"
)

var errFull = errors.New("it is larger than a part may be; the rest is left out")

// limited is a buffer that takes no more than a part may have. It may be read
// while a part that hangs still writes.
type limited struct {
	mu    sync.Mutex
	text  []byte
	taken bool
}

// Write implements [io.Writer].
func (l *limited) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken {
		return 0, errFull
	}
	if room := PartSize - len(l.text); len(p) > room {
		l.text = append(l.text, p[:room]...)
		return room, errFull
	}
	l.text = append(l.text, p...)
	return len(p), nil
}

func (l *limited) take() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken = true
	return l.text
}
