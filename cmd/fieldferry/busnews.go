package main

import (
	"io"
	"sync"
	"time"
)

// heldFor is how long the first event of a bus waits for an error that explains it.
const heldFor = 300 * time.Millisecond

// busNews prints the events of a bus that is looked at by hand. The first waits:
// the error of an interface that cannot be used says more.
type busNews struct {
	_ [0]func() // nobody compares them: saves the code for it

	mu    sync.Mutex
	begun bool        // events are printed at once
	held  *time.Timer // the first one
}

func (n *busNews) say(w io.Writer, text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.begun && n.held == nil {
		n.held = time.AfterFunc(heldFor, func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.begun = true
			io.WriteString(w, text)
		})
		return
	}
	n.begun = true
	io.WriteString(w, text)
}

// end says that the bus is not read any more.
func (n *busNews) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.held != nil {
		n.held.Stop()
	}
}
