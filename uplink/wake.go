package uplink

import (
	"context"
	"sync"
)

// wakeContext is a context that ends when run is wanted. Its channel is made
// only for a Next that waits, and the context anew only after such a one was
// woken: the steady state allocates nothing.
type wakeContext struct {
	_ [0]func() // nobody compares them: saves the code for it

	context.Context // Deadline and Value of the parent

	mu    sync.Mutex
	over  bool
	ended chan struct{} // nil: nobody has asked for it
}

func (w *wakeContext) Done() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended == nil {
		w.ended = make(chan struct{})
		if w.over {
			close(w.ended)
		}
	}
	return w.ended
}

func (w *wakeContext) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return context.Canceled
	}
	return nil
}

func (w *wakeContext) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over && w.ended != nil {
		close(w.ended)
	}
	w.over = true
}

// renew makes it as new, or returns false if somebody may still look at it.
func (w *wakeContext) renew() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over && w.ended != nil {
		return false
	}
	w.over = false
	return true
}
