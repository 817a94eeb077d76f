// Package send writes frames to CAN interfaces, for commissioning and tests.
//
// # Nouns
//
// A [Sender] writes to one interface. [Play] sends a log in its own timing.
//
// # Caveats
//
// The daemon never imports this package, and a test of the house keeps it so:
// fieldferry run cannot write to a CAN bus. A Sender refuses an interface that
// is listen-only or down: the kernel would take the frames and drop them. When
// Send returns, a frame is in the queue of the interface, not on the wire.
package send

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"fieldferry/bus/can"
	"fieldferry/bus/can/link"
)

// ErrListenOnly is wrapped when an interface is set to never send.
var ErrListenOnly = errors.New("the interface is listen-only")

// retryWait is how long a full transmit queue is left alone: poll(2) does not
// wait for the queue of a CAN interface.
const retryWait = time.Millisecond

// Sender writes frames to one interface. It is not safe for concurrent use.
type Sender struct {
	fd   int
	name string
	fdOK bool
}

// Open opens the interface for sending.
func Open(name string) (*Sender, error) {
	info, err := link.Get(name)
	if err != nil {
		return nil, fmt.Errorf("can: %w", err)
	}
	if err := ready(&info); err != nil {
		return nil, fmt.Errorf("can: %s: %w", name, err)
	}
	fd, err := unix.Socket(unix.AF_CAN, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.CAN_RAW)
	if err != nil {
		return nil, fmt.Errorf("can: %s: opening a socket: %w", name, err)
	}
	s := &Sender{fd: fd, name: name, fdOK: info.FD()}
	if err := s.bind(info.Index); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("can: %s: %w", name, err)
	}
	return s, nil
}

// ready says why an interface cannot send.
func ready(i *link.Info) error {
	switch c := i.Controller; {
	case c != nil && c.Mode&link.ListenOnly != 0:
		return fmt.Errorf("%w, so that nothing is ever sent by mistake; to send, set it up with fieldferry can up %s --bitrate %d --listen-only=false",
			ErrListenOnly, i.Name, c.Timing.Bitrate)
	case !i.Up:
		return fmt.Errorf("the interface is down; set it up with fieldferry can up %s: %w", i.Name, unix.ENETDOWN)
	case c != nil && c.State == link.BusOff:
		return fmt.Errorf("the controller is bus-off: the wiring or the bit rate is wrong; take the interface down and up: %w", unix.ENETDOWN)
	}
	return nil
}

func (s *Sender) bind(index int) error {
	// It reads nothing, so nothing shall gather: an empty list passes nothing.
	if err := unix.SetsockoptCanRawFilter(s.fd, unix.SOL_CAN_RAW, unix.CAN_RAW_FILTER, nil); err != nil {
		return err
	}
	if s.fdOK {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_CAN_RAW, unix.CAN_RAW_FD_FRAMES, 1); err != nil {
			return fmt.Errorf("asking for CAN FD: %w", err)
		}
	}
	return unix.Bind(s.fd, &unix.SockaddrCAN{Ifindex: index})
}

// Send writes a frame. A full transmit queue is waited for, until ctx ends: on
// a bus where nobody acknowledges it stays full.
func (s *Sender) Send(ctx context.Context, f *can.Frame) error {
	if err := f.Validate(); err != nil {
		return err
	}
	switch {
	case f.Flags&can.ErrorFrame != 0:
		return fmt.Errorf("can: %v is a controller's report and cannot be sent", f)
	case f.Flags&can.FD != 0 && !s.fdOK:
		return fmt.Errorf("can: %s carries classic CAN only, and %v is a CAN FD frame; set it up with --fd and --dbitrate", s.name, f)
	}
	var buf [fdMTU]byte
	b := wire(buf[:], f)
	for {
		_, err := unix.Write(s.fd, b)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EAGAIN):
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
func (s *Sender) Close() error { return unix.Close(s.fd) }

// The sizes of struct can_frame and canfd_frame (linux/can.h).
const (
	classicMTU = unix.CAN_MTU
	fdMTU      = 72
)

// wire writes f into b as the kernel takes it.
func wire(b []byte, f *can.Frame) []byte {
	id := f.ID
	if f.Flags&can.Extended != 0 {
		id |= unix.CAN_EFF_FLAG
	}
	if f.Flags&can.Remote != 0 {
		id |= unix.CAN_RTR_FLAG
	}
	binary.NativeEndian.PutUint32(b, id)
	b[4] = f.Len
	copy(b[8:], f.Payload())
	if f.Flags&can.FD == 0 {
		return b[:classicMTU]
	}
	b[4] = paddedLen(f.Len)
	if f.Flags&can.BitRateSwitch != 0 {
		b[5] |= 0x01 // CANFD_BRS
	}
	if f.Flags&can.ErrorState != 0 {
		b[5] |= 0x02 // CANFD_ESI
	}
	return b[:fdMTU]
}

// paddedLen is the length a CAN FD frame can have that holds n bytes.
func paddedLen(n uint8) uint8 {
	for _, l := range [...]uint8{8, 12, 16, 20, 24, 32, 48} {
		if n <= 8 {
			return n
		}
		if n <= l {
			return l
		}
	}
	return can.MaxDataLen
}

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
