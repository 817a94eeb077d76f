// Package send writes frames to CAN interfaces, for commissioning and tests.
//
// # Nouns
//
// A [Sender] writes to one interface. [Play] sends a log in its own timing.
//
// # Caveats
//
// The daemon never imports this package, and a test of the house keeps it so:
// what fieldferry run sends goes by bus/can/write and needs a permit. A Sender refuses an interface that
// is listen-only or down: the kernel would take the frames and drop them. When
// Send returns, a frame is in the queue of the interface, not on the wire.
package send

import (
	"context"
	"fmt"
	"strings"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/can/internal/tx"
)

// ErrListenOnly is wrapped when an interface is set to never send.
var ErrListenOnly = tx.ErrListenOnly

// retryWait is how long a full transmit queue is left alone: poll(2) does not
// wait for the queue of a CAN interface.
const retryWait = time.Millisecond

// Sender writes frames to one interface. It is not safe for concurrent use.
type Sender struct {
	socket *tx.Socket
	name   string
}

// Open opens the interface for sending.
func Open(name string) (*Sender, error) {
	socket, err := tx.Open(name, nil)
	if err != nil {
		return nil, err
	}
	return &Sender{socket, name}, nil
}

// Send writes a frame. A full transmit queue is waited for, until ctx ends: on
// a bus where nobody acknowledges it stays full.
func (s *Sender) Send(ctx context.Context, f *can.Frame) error {
	if err := s.socket.Check(f); err != nil {
		return err
	}
	for {
		err := s.socket.Write(f)
		switch {
		case err == nil:
			return nil
		case !tx.Full(err):
			return fmt.Errorf("can: %s: sending %v: %w", s.name, f, err)
		}
		timer := time.NewTimer(retryWait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("can: %s: sending %v: the transmit queue stays full; is another node on the bus to acknowledge?: %w", s.name, f, context.Cause(ctx))
		}
	}
}

// Close closes the socket. What is in the queue is still sent.
func (s *Sender) Close() error { return s.socket.Close() }

// ParseFrame reads a frame in cansend's notation, which is candump's besides
// dots between the bytes of data: "123#DE.AD", "123##1DEAD", "123#R4".
func ParseFrame(s string) (can.Frame, error) {
	id, data, ok := strings.Cut(s, "#")
	if ok {
		data = strings.ReplaceAll(data, ".", "")
		if n, isRemote := strings.CutPrefix(data, "r"); isRemote {
			data = "R" + n
		}
		s = id + "#" + data
	}
	f, err := can.ParseFrame(s)
	switch {
	case err != nil:
		return f, fmt.Errorf("%w; write such as 123#DEADBEEF, 0CF00400#11.22, 123#R or 123##1AABB", err)
	case f.Flags&can.ErrorFrame != 0:
		return f, fmt.Errorf("can: frame %q is a controller's report and cannot be sent", s)
	}
	return f, nil
}
