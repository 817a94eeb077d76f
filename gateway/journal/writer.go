package journal

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// The bounds of what waits to be written.
const (
	MaxLines = 4096
	MaxBytes = 1 << 20
)

// Writer hands lines to another writer in a goroutine of its own. What does
// not fit while that one takes nothing is dropped and counted; the count
// follows when it takes something again. That it fails is swallowed: a log
// nobody reads is no reason to stop.
type Writer struct {
	to      io.Writer
	dropped func(n uint64) []byte // the line that says so
	done    chan struct{}         // the goroutine has ended

	mu     sync.Mutex
	news   sync.Cond
	lines  [][]byte
	bytes  int
	lost   uint64 // dropped since the last line about it
	closed bool
}

// NewWriter begins to write to another writer. dropped makes the line about
// lines that were dropped; nil: a plain one.
func NewWriter(to io.Writer, dropped func(n uint64) []byte) *Writer {
	if dropped == nil {
		dropped = func(n uint64) []byte { return fmt.Appendf(nil, "%d log lines were dropped, as nobody took them\n", n) }
	}
	w := &Writer{to: to, dropped: dropped, done: make(chan struct{})}
	w.news.L = &w.mu
	go w.run()
	return w
}

// Write implements [io.Writer]. It takes one line or more, never waits for the
// writer behind and never fails.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.lines) >= MaxLines || w.bytes+len(p) > MaxBytes {
		w.lost++
		return len(p), nil
	}
	w.lines = append(w.lines, append([]byte(nil), p...))
	w.bytes += len(p)
	w.news.Signal()
	return len(p), nil
}

// Close writes what waits, for at most so long. If somebody has stopped
// reading, the goroutine stays behind in its last write: the process ends.
func (w *Writer) Close(most time.Duration) {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.news.Signal()
	limit := time.NewTimer(most)
	defer limit.Stop()
	select {
	case <-w.done:
	case <-limit.C:
	}
}

func (w *Writer) run() {
	defer close(w.done)
	for {
		line, ok := w.next()
		if !ok {
			return
		}
		_, _ = w.to.Write(line) // to whom would it be said?
	}
}

// next waits for a line. What was dropped was later than what waits, so it is
// said when that is written.
func (w *Writer) next() ([]byte, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.lines) == 0 && w.lost == 0 && !w.closed {
		w.news.Wait()
	}
	switch {
	case len(w.lines) > 0:
		line := w.lines[0]
		w.lines[0] = nil
		if w.lines = w.lines[1:]; len(w.lines) == 0 {
			w.lines = nil
		}
		w.bytes -= len(line)
		return line, true
	case w.lost > 0:
		n := w.lost
		w.lost = 0
		return w.dropped(n), true
	}
	return nil, false
}
