package can

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// runDevice opens the device and reads it. Whatever keeps it from being read
// is one condition: the link is down.
func (b *Bus) runDevice(ctx context.Context, d *delivery) error {
	r, err := b.openSocket()
	if err != nil {
		if ctx.Err() == nil {
			d.link(false, downReason(err, "missing"))
		}
		return err
	}
	defer r.close()
	up, err := r.link.up()
	if err == nil {
		d.link(up, "down")
		err = b.receive(ctx, r, d)
	}
	d.flush()
	if err != nil && ctx.Err() == nil {
		d.link(false, downReason(err, "removed"))
	}
	return err
}

func downReason(err error, gone string) string {
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		return gone
	}
	return err.Error()
}

// openSocket opens, sets and binds a CAN_RAW socket (kernel can.rst, 4.1).
// Everything is set before it is bound, so that no frame comes in between.
func (b *Bus) openSocket() (*receiver, error) {
	name := b.cfg.Interface
	fd, err := unix.Socket(unix.AF_CAN, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.CAN_RAW)
	switch {
	case errors.Is(err, unix.EAFNOSUPPORT):
		return nil, fmt.Errorf("can: %s: this kernel has no SocketCAN; load the module can or use a kernel built with CONFIG_CAN: %w", name, err)
	case errors.Is(err, unix.EPROTONOSUPPORT):
		return nil, fmt.Errorf("can: %s: this kernel has no raw CAN sockets; load the module can_raw: %w", name, err)
	case err != nil:
		return nil, fmt.Errorf("can: %s: opening a socket: %w", name, err)
	}
	l := &link{fd: fd, name: name}
	if err := b.setUp(l); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	r, err := newReceiver(fd)
	if err != nil {
		return nil, fmt.Errorf("can: %s: %w", name, err)
	}
	r.link = l
	return r, nil
}

// setUp sets the options of the socket and binds it.
func (b *Bus) setUp(l *link) error {
	fail := func(what string, err error) error {
		return fmt.Errorf("can: %s: %s: %w", l.name, what, err)
	}
	if err := l.find(); err != nil {
		return err
	}
	if len(b.cfg.Filters) > 0 {
		filters := make([]unix.CanFilter, len(b.cfg.Filters))
		for i, f := range b.cfg.Filters {
			filters[i] = unix.CanFilter{Id: f.ID, Mask: f.Mask}
			if f.Invert {
				filters[i].Id |= unix.CAN_INV_FILTER
			}
		}
		if err := unix.SetsockoptCanRawFilter(l.fd, unix.SOL_CAN_RAW, unix.CAN_RAW_FILTER, filters); err != nil {
			return fail("setting filters", err)
		}
	}
	if err := unix.SetsockoptInt(l.fd, unix.SOL_CAN_RAW, unix.CAN_RAW_ERR_FILTER, unix.CAN_ERR_MASK); err != nil {
		return fail("asking for error frames", err)
	}
	if b.cfg.FD {
		if err := unix.SetsockoptInt(l.fd, unix.SOL_CAN_RAW, unix.CAN_RAW_FD_FRAMES, 1); err != nil {
			return fail("asking for CAN FD frames; this kernel may have none", err)
		}
	}
	if err := askForOverflows(l.fd); err != nil {
		return fail("asking for the count of dropped frames", err)
	}
	askForStamps(l.fd)
	b.growBuffer(l.fd)
	if err := unix.Bind(l.fd, &unix.SockaddrCAN{Ifindex: l.index}); err != nil {
		return fail("binding; is it a CAN interface?", err)
	}
	return nil
}

func askForOverflows(fd int) error {
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
}

// askForStamps asks for the kernel's times, in the layout that survives 2038
// on 32-bit machines if the kernel has it (since Linux 5.1). Without either,
// frames carry the time they were read.
func askForStamps(fd int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, 1) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	}
}

// growBuffer asks for the receive buffer. Only CAP_NET_ADMIN gets past
// net.core.rmem_max. The kernel doubles what is asked, for its own overhead.
func (b *Bus) growBuffer(fd int) {
	want := b.cfg.ReceiveBuffer
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, want) == nil {
		return
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, want)
	if got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF); err == nil && got/2 < want && !b.warnedBuffer {
		b.warnedBuffer = true
		b.log.Warn("the receive buffer is smaller than asked for: raise net.core.rmem_max, or give the service CAP_NET_ADMIN",
			"asked", want, "granted", got/2)
	}
}

// link is the network interface a socket is bound to.
type link struct {
	fd    int
	name  string
	index int
}

// find looks the interface up by its name.
func (l *link) find() error {
	index, err := l.ask(unix.SIOCGIFINDEX)
	if err != nil {
		return l.lost(err)
	}
	l.index = int(index)
	return nil
}

// up reports whether the interface is up. It is an error if the name no longer
// belongs to the interface the socket is bound to.
func (l *link) up() (bool, error) {
	index, err := l.ask(unix.SIOCGIFINDEX)
	if err != nil {
		return false, err
	}
	if int(index) != l.index {
		return false, unix.ENODEV
	}
	flags, err := l.ask(unix.SIOCGIFFLAGS)
	return flags&unix.IFF_UP != 0, err
}

func (l *link) ask(request uint) (uint32, error) {
	ifr, err := unix.NewIfreq(l.name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(l.fd, request, ifr); err != nil {
		return 0, err
	}
	if request == unix.SIOCGIFFLAGS {
		return uint32(ifr.Uint16()), nil
	}
	return ifr.Uint32(), nil
}

// lost says what an error of the socket or the interface means.
func (l *link) lost(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) && (errno == unix.ENODEV || errno == unix.ENXIO) {
		return fmt.Errorf("can: %s: there is no such interface; plug the adapter in, or correct the name: %w", l.name, err)
	}
	return fmt.Errorf("can: %s: reading: %w", l.name, err)
}
