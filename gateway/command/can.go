package command

import (
	"context"
	"errors"
	"sync"
	"time"

	"fieldferry/bus/can/write"
	"fieldferry/bus/permit"
)

// CANSender is what a point needs of a bus; [write.Writer] is one.
type CANSender interface {
	Send(ctx context.Context, data []byte) (sent bool, err error)
	Repeat(ctx context.Context, data []byte, interval time.Duration, failed func(error))
	Close()
}

// CANPoint is a frame as a [Target]. Close ends what it repeats.
type CANPoint struct {
	Sender CANSender
	Codec  FrameCodec
	Repeat time.Duration // 0: each frame is sent once
	Failed func(error)   // hears why a repetition was left out; may be nil

	mu     sync.Mutex
	cancel context.CancelFunc // ends the repetition; nil: none
	done   sync.WaitGroup
}

// FrameCodec makes the data of a frame of a value; an Encoder of package dbc is
// one, and [RawFrame] makes another.
type FrameCodec = write.Codec

// RawFrame is a codec for data as a string of hexadecimal digits; see [write.NewRaw].
func RawFrame(length int, base, mask []byte) (FrameCodec, error) {
	r, err := write.NewRaw(length, base, mask)
	if err != nil {
		return nil, err // not r: a nil *Raw is not a nil FrameCodec
	}
	return r, nil
}

// NewCANPoint makes a point that sends the frames of a permit. It does no I/O.
func NewCANPoint(p permit.Frame, codec FrameCodec, repeat time.Duration, failed func(error)) *CANPoint {
	return &CANPoint{Sender: write.New(p), Codec: codec, Repeat: repeat, Failed: failed}
}

// Check implements [Target].
func (c *CANPoint) Check(value string) error {
	if err := c.Codec.Check(value); err != nil {
		return scalarRefusal(err)
	}
	return nil
}

// Read implements [Target]: a frame that is sent cannot be asked for.
func (c *CANPoint) Read(context.Context) (string, error) { return "", ErrNoRead }

// Write implements [Target]. A new value ends the repetition of the one before.
func (c *CANPoint) Write(ctx context.Context, value string, until time.Time) Outcome {
	data, err := c.Codec.Encode(value)
	if err != nil {
		return Outcome{Err: scalarRefusal(err)}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rest()
	sent, err := c.Sender.Send(ctx, data)
	if err != nil {
		return Outcome{Sent: sent, Err: canRefusal(err)}
	}
	if c.Repeat > 0 && time.Until(until) > 0 {
		repeating, cancel := context.WithDeadline(context.WithoutCancel(ctx), until)
		c.cancel = cancel
		c.done.Go(func() { c.Sender.Repeat(repeating, data, c.Repeat, c.Failed) })
	}
	return Outcome{Sent: sent}
}

// rest ends the repetition and waits for its end. mu is held.
func (c *CANPoint) rest() {
	if c.cancel != nil {
		c.cancel()
		c.cancel = nil
		c.done.Wait()
	}
}

// Close ends the repetition, and gives the bus up until the next write.
func (c *CANPoint) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rest()
	c.Sender.Close()
}

// canRefusal gives an error of a CAN bus its code.
func canRefusal(err error) error {
	var uncertain *write.UncertainError
	switch {
	case errors.Is(err, write.ErrBusOff):
		return &Refusal{Code: BusOff, Err: err}
	case errors.As(err, &uncertain):
		return &Refusal{Code: NoReply, Err: err}
	case errors.Is(err, write.ErrBusy), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &Refusal{Code: Busy, Err: err}
	case errors.Is(err, permit.ErrNotPermitted):
		return &Refusal{Code: NotAllowed, Err: err}
	}
	return &Refusal{Code: Offline, Err: err} // down, listen-only, gone
}
