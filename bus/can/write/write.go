// Package write sends the frames that permits name on CAN interfaces, for the
// daemon.
//
// # Nouns
//
// A [Writer] sends the frames of one permit. A [Codec] makes the data of a
// frame of a value; [Raw] is the one for data without a description.
//
// # Caveats
//
// Sent means that the controller has had the frame on the bus and the kernel
// has looped it back to the socket it came from (CAN_RAW_RECV_OWN_MSGS,
// MSG_CONFIRM); on a virtual interface, that every reader has it. A frame that
// nobody acknowledges stays in the controller and cannot be called back: it may
// yet go out. The reading source of the same interface receives what is sent
// here as it receives the frames of all other programs of the machine: it was
// on the bus, so it is recorded; it does not count as a sign that a bus-off
// controller has recovered.
package write

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/can/internal/tx"
	"fieldferry/bus/can/link"
	"fieldferry/bus/permit"
)

// Why nothing was sent.
var (
	ErrListenOnly = tx.ErrListenOnly
	ErrDown       = tx.ErrDown
	ErrBusOff     = tx.ErrBusOff
	ErrBusy       = errors.New("the transmit queue of the interface is full; is another node on the bus to acknowledge?")
)

// UncertainError says that a frame is in the queue of the interface, and nothing
// says that it was on the bus. It may yet be.
type UncertainError struct{ Err error }

func (e *UncertainError) Error() string { return e.Err.Error() + "; the frame may yet go out" }

func (e *UncertainError) Unwrap() error { return e.Err }

// confirmTime is how long the confirmation of a frame is waited for. On a bus at
// full load with 10 kbit/s the longest classic frame waits some 50 frames.
const confirmTime = time.Second

// slice is how long is waited at once, so that the end of a context is seen.
const slice = 20 * time.Millisecond

// socket is what a Writer needs of a [tx.Socket].
type socket interface {
	Check(f *can.Frame) error
	Write(f *can.Frame) error
	Confirmed(d time.Duration) ([]byte, error)
	Close() error
}

// Writer sends the frames of one permit. It may be used concurrently.
type Writer struct {
	permit permit.Frame
	open   func() (socket, error)
	ready  func() error

	mu     sync.Mutex
	socket socket
	owed   int // frames of this socket that have not been confirmed
}

// New makes a writer. It does no I/O.
func New(p permit.Frame) *Writer {
	s := p.Scope()
	return &Writer{permit: p,
		open: func() (socket, error) {
			return tx.Open(s.Interface, &tx.Own{ID: s.ID, Extended: s.Extended})
		},
		ready: func() error {
			info, err := link.Get(s.Interface)
			if err != nil {
				return fmt.Errorf("can: %w", err)
			}
			return tx.Ready(&info)
		}}
}

// Send sends data once and waits until it was on the bus. sent says that it may
// have been. The error is [permit.ErrNotPermitted], or [ErrListenOnly],
// [ErrDown], [ErrBusOff] or [ErrBusy], and nothing was sent; or an
// *[UncertainError].
func (w *Writer) Send(ctx context.Context, data []byte) (sent bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f, err := w.frame(data)
	if err != nil {
		return false, err
	}
	if err := ctx.Err(); err != nil {
		return false, fmt.Errorf("not sent: %w", err)
	}
	if err := w.prepare(&f); err != nil {
		return false, err
	}
	switch err := w.socket.Write(&f); {
	case tx.Full(err):
		return false, ErrBusy
	case err != nil:
		w.shut()
		return false, fmt.Errorf("can: sending %v: %w", f, err)
	}
	w.owed++
	return true, w.confirmed(ctx)
}

// frame makes the frame and checks it, as it is about to go out, by the permit.
func (w *Writer) frame(data []byte) (f can.Frame, err error) {
	s := w.permit.Scope()
	f.ID, f.Len = s.ID, uint8(copy(f.Data[:], data))
	if s.Extended {
		f.Flags |= can.Extended
	}
	if s.FD {
		f.Flags |= can.FD
	}
	if s.BRS {
		f.Flags |= can.BitRateSwitch
	}
	return f, w.permit.Check(s.Interface, f.ID, f.Flags&can.Extended != 0, f.Flags&can.FD != 0, f.Flags&can.BitRateSwitch != 0,
		f.Flags&can.Remote != 0, data)
}

// prepare sees to it that there is a socket of an interface that can send.
func (w *Writer) prepare(f *can.Frame) error {
	if err := w.ready(); err != nil {
		w.shut()
		return err
	}
	if w.socket == nil {
		s, err := w.open()
		if err != nil {
			return err
		}
		w.socket, w.owed = s, 0
	}
	return w.socket.Check(f)
}

// confirmed waits until all frames of the socket are: they are confirmed in
// their order, so that the last is the one just sent.
func (w *Writer) confirmed(ctx context.Context) error {
	for end := time.Now().Add(confirmTime); ; {
		data, err := w.socket.Confirmed(min(slice, max(time.Until(end), 0)))
		switch {
		case errors.Is(err, ErrBusOff):
			w.shut()
			return &UncertainError{err}
		case err != nil:
			w.shut()
			return &UncertainError{err}
		case data != nil:
			if w.owed--; w.owed == 0 {
				return nil
			}
		case ctx.Err() != nil:
			return &UncertainError{fmt.Errorf("not confirmed: %w", ctx.Err())}
		case !time.Now().Before(end):
			return &UncertainError{fmt.Errorf("not on the bus within %v; is another node there to acknowledge?", confirmTime)}
		}
	}
}

// shut closes the socket. A new one owes no confirmations.
func (w *Writer) shut() {
	if w.socket != nil {
		_ = w.socket.Close()
		w.socket, w.owed = nil, 0
	}
}

// Close closes the writer. A Send after it opens it again.
func (w *Writer) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shut()
}

// Repeat sends data every interval until ctx ends, beginning after the first.
// What cannot be sent is left out; failed, if set, hears why.
func (w *Writer) Repeat(ctx context.Context, data []byte, interval time.Duration, failed func(error)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if ctx.Err() != nil {
			return
		}
		if _, err := w.Send(ctx, data); err != nil && failed != nil && ctx.Err() == nil {
			failed(err)
		}
	}
}
