// Package tx is the socket by which frames get on a CAN interface. It asks
// nobody whether they may: that is the business of the packages that import it.
package tx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"fieldferry/bus/can"
	"fieldferry/bus/can/link"
)

// Why an interface cannot send.
var (
	ErrListenOnly = errors.New("the interface is listen-only")
	ErrDown       = unix.ENETDOWN
	ErrBusOff     = errors.New("the controller is bus-off")
)

// Ready says why an interface cannot send.
func Ready(i *link.Info) error {
	switch c := i.Controller; {
	case c != nil && c.Mode&link.ListenOnly != 0:
		return fmt.Errorf("%w, so that nothing is ever sent by mistake; to send, set it up with fieldferry can up %s --bitrate %d --listen-only=false",
			ErrListenOnly, i.Name, c.Timing.Bitrate)
	case !i.Up:
		return fmt.Errorf("the interface is down; set it up with fieldferry can up %s: %w", i.Name, ErrDown)
	case c != nil && c.State == link.BusOff:
		return fmt.Errorf("%w: the wiring or the bit rate is wrong; take the interface down and up: %w", ErrBusOff, ErrDown)
	}
	return nil
}

// Socket sends on one interface. It is not safe for concurrent use.
type Socket struct {
	fd   int
	name string
	fdOK bool
}

// Own asks for own frames of one id back, when they have been sent.
type Own struct {
	ID       uint32
	Extended bool
}

// Open opens an interface that can send. Without own the socket reads nothing.
func Open(name string, own *Own) (*Socket, error) {
	info, err := link.Get(name)
	if err != nil {
		return nil, fmt.Errorf("can: %w", err)
	}
	if err := Ready(&info); err != nil {
		return nil, fmt.Errorf("can: %s: %w", name, err)
	}
	fd, err := unix.Socket(unix.AF_CAN, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.CAN_RAW)
	if err != nil {
		return nil, fmt.Errorf("can: %s: opening a socket: %w", name, err)
	}
	s := &Socket{fd: fd, name: name, fdOK: info.FD()}
	if err := s.bind(info.Index, own); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("can: %s: %w", name, err)
	}
	return s, nil
}

func (s *Socket) bind(index int, own *Own) error {
	var filter []unix.CanFilter // an empty list passes nothing, so nothing gathers
	if own != nil {
		f := unix.CanFilter{Id: own.ID, Mask: unix.CAN_EFF_FLAG | unix.CAN_RTR_FLAG | unix.CAN_SFF_MASK}
		if own.Extended {
			f = unix.CanFilter{Id: own.ID | unix.CAN_EFF_FLAG, Mask: unix.CAN_EFF_FLAG | unix.CAN_RTR_FLAG | unix.CAN_EFF_MASK}
		}
		filter = []unix.CanFilter{f}
		for option, value := range map[int]int{unix.CAN_RAW_LOOPBACK: 1, unix.CAN_RAW_RECV_OWN_MSGS: 1, unix.CAN_RAW_ERR_FILTER: unix.CAN_ERR_BUSOFF} {
			if err := unix.SetsockoptInt(s.fd, unix.SOL_CAN_RAW, option, value); err != nil {
				return fmt.Errorf("asking for what was sent: %w", err)
			}
		}
	}
	if err := unix.SetsockoptCanRawFilter(s.fd, unix.SOL_CAN_RAW, unix.CAN_RAW_FILTER, filter); err != nil {
		return err
	}
	if s.fdOK {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_CAN_RAW, unix.CAN_RAW_FD_FRAMES, 1); err != nil {
			return fmt.Errorf("asking for CAN FD: %w", err)
		}
	}
	return unix.Bind(s.fd, &unix.SockaddrCAN{Ifindex: index})
}

// Check says why a frame cannot be sent on the interface at all.
func (s *Socket) Check(f *can.Frame) error {
	if err := f.Validate(); err != nil {
		return err
	}
	switch {
	case f.Flags&can.ErrorFrame != 0:
		return fmt.Errorf("can: %v is a controller's report and cannot be sent", f)
	case f.Flags&can.FD != 0 && !s.fdOK:
		return fmt.Errorf("can: %s carries classic CAN only, and %v is a CAN FD frame; set it up with --fd and --dbitrate", s.name, f)
	}
	return nil
}

// Write hands a frame to the interface, which queues it. A full queue is
// ENOBUFS or EAGAIN.
func (s *Socket) Write(f *can.Frame) error {
	var buf [fdMTU]byte
	b := wire(buf[:], f)
	for {
		if _, err := unix.Write(s.fd, b); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Full reports whether an error of Write says that the queue is.
func Full(err error) bool { return errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EAGAIN) }

// Confirmed waits for at most d until a frame of this socket has been on the
// bus, and returns its data; nil if none has. [ErrBusOff]: the controller has
// left the bus.
func (s *Socket) Confirmed(d time.Duration) ([]byte, error) {
	poll := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	for end := time.Now().Add(d); ; {
		var buf [fdMTU]byte
		n, _, flags, _, err := unix.Recvmsg(s.fd, buf[:], nil, unix.MSG_DONTWAIT)
		switch {
		case err == nil && n >= classicMTU:
			id := binary.NativeEndian.Uint32(buf[:])
			if id&unix.CAN_ERR_FLAG != 0 && id&unix.CAN_ERR_BUSOFF != 0 {
				return nil, ErrBusOff
			}
			// The kernel marks what this very socket sent.
			if flags&unix.MSG_CONFIRM != 0 && id&unix.CAN_ERR_FLAG == 0 {
				return append([]byte{}, buf[8:8+min(int(buf[4]), n-8)]...), nil
			}
			continue
		case err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR):
			return nil, fmt.Errorf("can: %s: %w", s.name, err)
		}
		rest := time.Until(end)
		if rest <= 0 {
			return nil, nil
		}
		if _, err := unix.Poll(poll, int(rest/time.Millisecond)+1); err != nil && !errors.Is(err, unix.EINTR) {
			return nil, fmt.Errorf("can: %s: %w", s.name, err)
		}
	}
}

// Close closes the socket. What is in the queue is still sent.
func (s *Socket) Close() error { return unix.Close(s.fd) }

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
