package modbustest

import (
	"io"
	"os"
	"sync"
	"time"
)

// Wire is a serial line in memory. The master's end is a port as package rtu
// wants it; the slave's end is an io.ReadWriteCloser. Bytes are there at once,
// all waiting is by timers, so a Wire runs in a testing/synctest bubble.
type Wire struct {
	mu      sync.Mutex
	changed chan struct{}
	ends    [2]wireEnd
	closed  bool
	fail    error
}

type wireEnd struct {
	in       []byte
	deadline time.Time
}

// NewWire makes a line and returns its two ends.
func NewWire() (master *MasterEnd, slave *SlaveEnd) {
	w := &Wire{changed: make(chan struct{})}
	return &MasterEnd{w}, &SlaveEnd{w}
}

func (w *Wire) wake() {
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *Wire) write(to int, p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return 0, w.ended()
	}
	w.ends[to].in = append(w.ends[to].in, p...)
	w.wake()
	return len(p), nil
}

func (w *Wire) ended() error {
	if w.fail != nil {
		return w.fail
	}
	return os.ErrClosed
}

func (w *Wire) read(end int, p []byte, block bool) (int, error) {
	for {
		w.mu.Lock()
		e := &w.ends[end]
		switch {
		case len(e.in) > 0:
			n := copy(p, e.in)
			e.in = e.in[n:]
			w.mu.Unlock()
			return n, nil
		case w.closed:
			defer w.mu.Unlock()
			if end == 1 {
				return 0, io.EOF
			}
			return 0, w.ended()
		case !block:
			w.mu.Unlock()
			return 0, nil
		}
		changed, deadline := w.changed, e.deadline
		w.mu.Unlock()
		if !await(changed, deadline) {
			return 0, os.ErrDeadlineExceeded
		}
	}
}

// await returns false at the deadline, true when something changed before.
func await(changed <-chan struct{}, deadline time.Time) bool {
	if deadline.IsZero() {
		<-changed
		return true
	}
	d := time.Until(deadline)
	if d <= 0 {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-changed:
		return true
	case <-timer.C:
		return false
	}
}

func (w *Wire) close(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.closed, w.fail = true, err
		w.wake()
	}
	return nil
}

// MasterEnd is the port of a [Wire].
type MasterEnd struct{ w *Wire }

// Read waits for bytes until the deadline.
func (m *MasterEnd) Read(p []byte) (int, error) { return m.w.read(0, p, true) }

// ReadAvailable does not wait.
func (m *MasterEnd) ReadAvailable(p []byte) (int, error) { return m.w.read(0, p, false) }

// Write sends p.
func (m *MasterEnd) Write(p []byte) (int, error) { return m.w.write(1, p) }

// SetReadDeadline bounds reads, also one in progress.
func (m *MasterEnd) SetReadDeadline(t time.Time) error {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.w.ends[0].deadline = t
	m.w.wake()
	return nil
}

// SetWriteDeadline does nothing: writes do not wait.
func (m *MasterEnd) SetWriteDeadline(time.Time) error { return nil }

// Close ends the line for both ends.
func (m *MasterEnd) Close() error { return m.w.close(os.ErrClosed) }

// SlaveEnd is the far end of a [Wire].
type SlaveEnd struct{ w *Wire }

// Read waits for bytes.
func (s *SlaveEnd) Read(p []byte) (int, error) { return s.w.read(1, p, true) }

// Write sends p.
func (s *SlaveEnd) Write(p []byte) (int, error) { return s.w.write(0, p) }

// Close ends the line; the master's end fails with io.EOF.
func (s *SlaveEnd) Close() error { return s.w.close(io.EOF) }

// Unplug ends the line; the master's end fails with err, as after a USB
// adapter is pulled out (EIO, ENODEV).
func (s *SlaveEnd) Unplug(err error) { _ = s.w.close(err) }
