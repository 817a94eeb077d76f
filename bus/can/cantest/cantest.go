// Package cantest imitates and observes CAN buses, for tests and for the demo.
//
// # Nouns
//
// A [Recorder] is a can.Handler that keeps what it is handed, in order, and
// can be waited on. A [Sender] writes frames to a SocketCAN interface: the
// only code of the project that does. A [VCAN] is a virtual CAN interface,
// made, brought up and down, and removed by netlink. [Wire] is a frame as the
// kernel writes it, for descriptors that stand in for a CAN socket.
//
// # Caveats
//
// Sender and VCAN need a kernel with SocketCAN, VCAN also the module vcan and
// CAP_NET_ADMIN. Frames sent on one machine are looped back: every socket on
// the interface sees them, error frames and all, as if they came from a
// controller.
package cantest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"fieldferry/bus"
	"fieldferry/bus/can"
)

// Item is one thing a bus delivered: exactly one of the fields is set.
type Item struct {
	Frame *can.Frame
	Lost  uint64
	Event *bus.Event
}

// Recorder is a can.Handler that keeps everything. The zero value is ready.
// Its methods may be called from any goroutine.
type Recorder struct {
	// OnFrames, if set, is called with every batch before it is kept: a
	// handler that is slow, or ends the run. Set it before the bus runs.
	OnFrames func(batch []can.Frame)

	mu      sync.Mutex
	items   []Item
	batches []int
	changed chan struct{}
}

// Frames implements can.Handler.
func (r *Recorder) Frames(batch []can.Frame) {
	if r.OnFrames != nil {
		r.OnFrames(batch)
	}
	r.add(func() {
		r.batches = append(r.batches, len(batch))
		for i := range batch {
			f := batch[i]
			r.items = append(r.items, Item{Frame: &f})
		}
	})
}

// Lost implements can.Handler.
func (r *Recorder) Lost(frames uint64) {
	r.add(func() { r.items = append(r.items, Item{Lost: frames}) })
}

// Event implements can.Handler.
func (r *Recorder) Event(e bus.Event) { r.add(func() { r.items = append(r.items, Item{Event: &e}) }) }

func (r *Recorder) add(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// Items returns everything delivered so far, in order.
func (r *Recorder) Items() []Item {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Item(nil), r.items...)
}

// Batches returns how many frames each batch had.
func (r *Recorder) Batches() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]int(nil), r.batches...)
}

// All returns the frames delivered so far.
func (r *Recorder) All() []can.Frame {
	var frames []can.Frame
	for _, it := range r.Items() {
		if it.Frame != nil {
			frames = append(frames, *it.Frame)
		}
	}
	return frames
}

// LostSum returns how many frames were reported as lost.
func (r *Recorder) LostSum() uint64 {
	var n uint64
	for _, it := range r.Items() {
		n += it.Lost
	}
	return n
}

// Events returns the events delivered so far, written as "code state".
func (r *Recorder) Events() []string {
	var events []string
	for _, it := range r.Items() {
		if it.Event != nil {
			events = append(events, it.Event.Code+" "+it.Event.State.String())
		}
	}
	return events
}

// Wait returns when done reports true of the recorder, which it is asked after
// every delivery, or with the error of ctx.
func (r *Recorder) Wait(ctx context.Context, done func(*Recorder) bool) error {
	for {
		r.mu.Lock()
		if r.changed == nil {
			r.changed = make(chan struct{})
		}
		changed := r.changed
		r.mu.Unlock()
		if done(r) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			frames, events := r.All(), r.Events()
			return fmt.Errorf("cantest: %w after %d frames, %d lost, events %q", ctx.Err(), len(frames), r.LostSum(), events)
		}
	}
}

// WaitFrames waits for n frames, delivered or lost.
func (r *Recorder) WaitFrames(ctx context.Context, n int) error {
	return r.Wait(ctx, func(r *Recorder) bool { return len(r.All())+int(r.LostSum()) >= n })
}

// WaitEvents waits for n events.
func (r *Recorder) WaitEvents(ctx context.Context, n int) error {
	return r.Wait(ctx, func(r *Recorder) bool { return len(r.Events()) >= n })
}

// Wire returns a frame as it stands in a CAN_RAW socket: 16 bytes, or 72 if it
// is CAN FD. Frames that cannot exist are written as they are: a length of 15
// stays 15.
func Wire(f can.Frame) []byte {
	b := make([]byte, unix.CAN_MTU)
	if f.Flags&can.FD != 0 {
		const canfdMTU = 72
		b = make([]byte, canfdMTU)
		if f.Flags&can.BitRateSwitch != 0 {
			b[5] |= 1
		}
		if f.Flags&can.ErrorState != 0 {
			b[5] |= 2
		}
	}
	id := f.ID
	if f.Flags&can.Extended != 0 {
		id |= unix.CAN_EFF_FLAG
	}
	if f.Flags&can.Remote != 0 {
		id |= unix.CAN_RTR_FLAG
	}
	if f.Flags&can.ErrorFrame != 0 {
		id |= unix.CAN_ERR_FLAG
	}
	binary.NativeEndian.PutUint32(b, id)
	b[4] = f.Len
	copy(b[8:], f.Data[:])
	return b
}

// Sender writes frames to an interface. It is not safe for concurrent use.
type Sender struct{ fd int }

// NewSender opens a socket on the interface.
func NewSender(iface string) (*Sender, error) {
	fd, err := unix.Socket(unix.AF_CAN, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.CAN_RAW)
	if err != nil {
		return nil, fmt.Errorf("cantest: opening a CAN socket: %w", err)
	}
	s := &Sender{fd: fd}
	if err := s.bind(iface); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("cantest: %s: %w", iface, err)
	}
	return s, nil
}

// SenderOn returns a Sender that writes to a descriptor that stands in for a
// CAN socket: one end of a SOCK_SEQPACKET pair, or a connected UDP socket. It
// takes over fd.
func SenderOn(fd int) *Sender { return &Sender{fd: fd} }

func (s *Sender) bind(iface string) error {
	// It reads nothing, so nothing shall gather: an empty list passes nothing.
	if err := unix.SetsockoptCanRawFilter(s.fd, unix.SOL_CAN_RAW, unix.CAN_RAW_FILTER, nil); err != nil {
		return err
	}
	// Not every kernel knows CAN FD, and not every sender needs it.
	_ = unix.SetsockoptInt(s.fd, unix.SOL_CAN_RAW, unix.CAN_RAW_FD_FRAMES, 1)
	ifr, err := unix.NewIfreq(iface)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(s.fd, unix.SIOCGIFINDEX, ifr); err != nil {
		return err
	}
	return unix.Bind(s.fd, &unix.SockaddrCAN{Ifindex: int(ifr.Uint32())})
}

// Send writes frames one after the other. A full transmit queue is waited for.
func (s *Sender) Send(frames ...can.Frame) error {
	for i := range frames {
		if err := s.SendRaw(Wire(frames[i])); err != nil {
			return fmt.Errorf("cantest: sending %v: %w", frames[i], err)
		}
	}
	return nil
}

// SendRaw writes b as it is, frame or not.
func (s *Sender) SendRaw(b []byte) error {
	for {
		_, err := unix.Write(s.fd, b)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ENOBUFS):
			// poll(2) does not wait for the queue of the interface.
			if _, err := unix.Poll(nil, 1); err != nil && !errors.Is(err, unix.EINTR) {
				return err
			}
		default:
			return err
		}
	}
}

// Close closes the socket.
func (s *Sender) Close() error { return unix.Close(s.fd) }
