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
	err := b.bringUp()
	var r *receiver
	if err == nil {
		r, err = b.openSocket()
	}
	if err != nil {
		if ctx.Err() == nil {
			d.link(false, downReason(err, "missing"))
		}
		return err
	}
	defer r.close()
	up, err := r.link.up()
	if err == nil {
		c := b.ask()
		if d.link(up, "down"); up {
			d.follow(c)
		}
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
	l := &netdev{fd: fd, name: name}
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
func (b *Bus) setUp(l *netdev) error {
	fail := func(what string, err error) error {
		return fmt.Errorf("can: %s: %s: %w", l.name, what, err)
	}
	if err := l.find(); err != nil {
		return err
	}
	if list := b.cfg.kernelFilters(); len(list) > 0 {
		filters := make([]unix.CanFilter, len(list))
		for i, f := range list {
			filters[i] = unix.CanFilter{Id: f.ID, Mask: f.Mask}
			if f.Invert {
				filters[i].Id |= unix.CAN_INV_FILTER
			}
		}
		if err := unix.SetsockoptCanRawFilter(l.fd, unix.SOL_CAN_RAW, unix.CAN_RAW_FILTER, filters); err != nil {
			return fail("setting filters", err)
		}
	}
	classes := uint32(unix.CAN_ERR_MASK)
	if b.cfg.ErrorClasses != 0 {
		classes = b.cfg.ErrorClasses&unix.CAN_ERR_MASK | stateClasses
	}
	if err := unix.SetsockoptInt(l.fd, unix.SOL_CAN_RAW, unix.CAN_RAW_ERR_FILTER, int(classes)); err != nil {
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
	b.compareFD(l)
	b.compareStamps(l)
	askForStamps(l.fd, b.cfg.Timestamps)
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
// on 32-bit machines if the kernel has it (since Linux 5.1), and for the
// controller's besides if they are wanted. Without any, frames carry the time
// they were read.
func askForStamps(fd int, from Timestamps) {
	if from == TimesReceive {
		return
	}
	const hardware = unix.SOF_TIMESTAMPING_RX_HARDWARE | unix.SOF_TIMESTAMPING_RAW_HARDWARE
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, 1) == nil {
		if from == TimesHardware {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, hardware)
		}
		return
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	if from == TimesHardware {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, hardware)
	}
}

// compareStamps notes where times will come from, and warns when the
// controller's are asked for and it has none.
func (b *Bus) compareStamps(l *netdev) {
	stamps := [...]uint32{TimesKernel: stampKernel, TimesHardware: stampHardware, TimesReceive: stampReceive}[b.cfg.Timestamps]
	if b.cfg.Timestamps == TimesHardware {
		const needed = unix.SOF_TIMESTAMPING_RX_HARDWARE | unix.SOF_TIMESTAMPING_RAW_HARDWARE
		info, err := unix.IoctlGetEthtoolTsInfo(l.fd, l.name)
		if err != nil || info.So_timestamping&needed != needed {
			stamps = stampKernel
			if !b.warnedStamps {
				b.warnedStamps = true
				b.log.Warn("the interface has no time stamps of the controller; the kernel's are used")
			}
		}
	}
	b.count.stamps.Store(stamps)
}

// compareFD warns when the interface and the configuration differ about CAN
// FD: its frames would be missing without a word.
func (b *Bus) compareFD(l *netdev) {
	mtu, err := l.ask(unix.SIOCGIFMTU)
	if err != nil || (mtu >= fdMTU) == b.cfg.FD || b.warnedFD {
		return
	}
	b.warnedFD = true
	if b.cfg.FD {
		b.log.Warn("CAN FD frames are asked for, but the interface carries classic CAN only: set it up with fd on and a dbitrate", "mtu", mtu)
		return
	}
	b.log.Warn("the interface carries CAN FD, but CAN FD frames are not asked for and are passed over: set fd: true", "mtu", mtu)
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

// netdev is the network interface a socket is bound to.
type netdev struct {
	fd    int
	name  string
	index int
}

// find looks the interface up by its name.
func (l *netdev) find() error {
	index, err := l.ask(unix.SIOCGIFINDEX)
	if err != nil {
		return l.lost(err)
	}
	l.index = int(index)
	return nil
}

// up reports whether the interface is up. It is an error if the name no longer
// belongs to the interface the socket is bound to.
func (l *netdev) up() (bool, error) {
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

func (l *netdev) ask(request uint) (uint32, error) {
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
func (l *netdev) lost(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) && (errno == unix.ENODEV || errno == unix.ENXIO) {
		return fmt.Errorf("can: %s: there is no such interface; plug the adapter in, or correct the name: %w", l.name, err)
	}
	return fmt.Errorf("can: %s: reading: %w", l.name, err)
}
