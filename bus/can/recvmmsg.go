package can

import (
	"encoding/binary"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is the kernel's struct mmsghdr: 64 bytes on 64-bit machines, 32 on
// 32-bit ARM. Go pads the end to the alignment by itself; a padding field of
// zero size would make it 36 bytes on ARM, and the kernel writes past it.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// The buffers of one frame. The control messages are a timespec, three more
// with the controller's time, and a u32: 120 bytes on 64-bit machines.
const (
	frameBuf   = fdMTU
	controlBuf = 192
)

// receiver takes frames from a descriptor that yields one in each datagram:
// a CAN_RAW socket, or in tests anything else that does. It belongs to one
// goroutine, except for what the poller does behind gate.
//
// The descriptor is not in Go's poller itself: the poller would wake this
// process for every frame, also for those that gather while nobody waits.
// Go's poller watches an epoll instance of our own instead, the gate, in which
// the descriptor is armed only for the time of a wait.
type receiver struct {
	fd    int
	gate  *os.File // of the epoll instance; its read deadline ends a wait
	epfd  int
	armed bool
	raw   syscall.RawConn
	link  *netdev // nil if there is no interface to look at
	drops uint32
	clock hardwareClock
	msgs  [batchLen]mmsghdr
	iovs  [batchLen]unix.Iovec
	bufs  [batchLen][frameBuf]byte
	ctrl  [batchLen][controlBuf]byte

	try      func(fd uintptr) bool // made once: a closure per wait would be an allocation
	tried    int
	tryErrno syscall.Errno
}

// newReceiver takes over fd, which must not block, and closes it on error.
func newReceiver(fd int) (r *receiver, err error) {
	r = &receiver{fd: fd}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	if r.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err = unix.SetNonblock(r.epfd, true); err != nil { // only such a file gets into Go's poller
		_ = unix.Close(r.epfd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	r.gate = os.NewFile(uintptr(r.epfd), "epoll")
	if err = unix.EpollCtl(r.epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{}); err != nil {
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	if r.raw, err = r.gate.SyscallConn(); err != nil {
		return nil, err
	}
	for i := range r.msgs {
		r.iovs[i].Base = &r.bufs[i][0]
		r.iovs[i].SetLen(frameBuf)
		h := &r.msgs[i].hdr
		h.Iov = &r.iovs[i]
		h.SetIovlen(1)
		h.Control = &r.ctrl[i][0]
		h.SetControllen(controlBuf)
	}
	// First armed, then looked: what comes after the look opens the gate.
	r.try = func(uintptr) bool {
		r.tried = 0
		if r.tryErrno = r.arm(true); r.tryErrno == 0 {
			r.tried, r.tryErrno = r.recv()
		}
		return r.tried > 0 || r.tryErrno != 0
	}
	return r, nil
}

func (r *receiver) close() {
	if r.gate != nil {
		_ = r.gate.Close()
	}
	_ = unix.Close(r.fd)
}

// arm lets frames open the gate, or no longer.
func (r *receiver) arm(on bool) syscall.Errno {
	if r.armed == on {
		return 0
	}
	event := unix.EpollEvent{}
	if on {
		event.Events = unix.EPOLLIN
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(r.epfd), unix.EPOLL_CTL_MOD, uintptr(r.fd),
		uintptr(unsafe.Pointer(&event)), 0, 0)
	if errno == 0 {
		r.armed = on
	}
	return errno
}

// recv takes what is there, at most one batch, without waiting.
func (r *receiver) recv() (int, syscall.Errno) {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(r.fd),
			uintptr(unsafe.Pointer(&r.msgs[0])), batchLen, unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), 0
		case unix.EAGAIN:
			return 0, 0
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// wait blocks until something is there, and takes it. When the deadline of
// the gate has passed it returns os.ErrDeadlineExceeded.
func (r *receiver) wait() (int, error) {
	err := r.raw.Read(r.try)
	errno := r.arm(false)
	switch {
	case err != nil:
		return 0, err
	case r.tryErrno != 0:
		return 0, r.tryErrno
	case errno != 0:
		return 0, errno
	}
	return r.tried, nil
}

// take returns the i-th frame of the last recv as the kernel wrote it, and
// makes its place ready for the next.
func (r *receiver) take(i int) (frame, control []byte, flags int) {
	m := &r.msgs[i]
	n := min(int(m.len), frameBuf)
	c := min(int(m.hdr.Controllen), controlBuf)
	flags = int(m.hdr.Flags)
	m.hdr.SetControllen(controlBuf)
	return r.bufs[i][:n], r.ctrl[i][:c], flags
}

// The layout of struct cmsghdr: a word, then level and type as 32 bit.
const (
	wordLen     = int(unsafe.Sizeof(uintptr(0)))
	cmsgHdrLen  = unix.SizeofCmsghdr
	cmsgDataOff = (cmsgHdrLen + wordLen - 1) &^ (wordLen - 1)
)

// control is what the kernel tells beside a frame.
type control struct {
	stamp    int64 // when the kernel got it, ns since 1970; 0: not told
	hardware int64 // when the controller got it, ns by its own clock; 0: not told
	drops    uint32
	hasDrops bool
}

// parseControl reads control messages.
func parseControl(b []byte) (c control) {
	for len(b) >= cmsgDataOff {
		n := int(word(b))
		if n < cmsgDataOff || n > len(b) {
			return
		}
		data := b[cmsgDataOff:n]
		level := binary.NativeEndian.Uint32(b[wordLen:])
		kind := binary.NativeEndian.Uint32(b[wordLen+4:])
		if level == unix.SOL_SOCKET {
			c.take(kind, data)
		}
		next := (n + wordLen - 1) &^ (wordLen - 1)
		if next >= len(b) {
			return
		}
		b = b[next:]
	}
	return
}

// take reads one control message. The _NEW ones have times of 64 bit on every
// machine, the old ones of a word: 32-bit seconds on 32-bit ARM.
func (c *control) take(kind uint32, data []byte) {
	const hardware = 2 // struct scm_timestamping: by software, deprecated, by hardware
	switch {
	case kind == unix.SO_RXQ_OVFL && len(data) >= 4:
		c.drops, c.hasDrops = binary.NativeEndian.Uint32(data), true
	case (kind == unix.SO_TIMESTAMPNS_NEW || kind == unix.SO_TIMESTAMPNS) && len(data) >= 16:
		c.stamp = timespec64(data)
	case kind == unix.SO_TIMESTAMPNS && len(data) >= 8:
		c.stamp = timespec32(data)
	case (kind == unix.SO_TIMESTAMPING_NEW || kind == unix.SO_TIMESTAMPING) && len(data) >= 3*16:
		c.hardware = timespec64(data[hardware*16:])
	case kind == unix.SO_TIMESTAMPING && len(data) >= 3*8:
		c.hardware = timespec32(data[hardware*8:])
	}
}

func timespec64(b []byte) int64 {
	return int64(binary.NativeEndian.Uint64(b))*1e9 + int64(binary.NativeEndian.Uint64(b[8:]))
}

func timespec32(b []byte) int64 {
	return int64(int32(binary.NativeEndian.Uint32(b)))*1e9 + int64(binary.NativeEndian.Uint32(b[4:]))
}

func word(b []byte) uint64 {
	if wordLen == 8 {
		return binary.NativeEndian.Uint64(b)
	}
	return uint64(binary.NativeEndian.Uint32(b))
}

// droppedSoFar asks for the counter that SO_RXQ_OVFL attaches to frames, also
// when no frame comes any more to bring it.
func (r *receiver) droppedSoFar() (uint32, bool) {
	const skMeminfoDrops = 8 // SK_MEMINFO_DROPS of linux/sock_diag.h
	var info [skMeminfoDrops + 8]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(r.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 || size < 4*(skMeminfoDrops+1) {
		return 0, false
	}
	return info[skMeminfoDrops], true
}

// newDrops returns how many frames were dropped since it was last asked. The
// kernel counts with 32 bit and wraps; a count that lies behind is old news.
func (r *receiver) newDrops(count uint32) uint64 {
	n := int32(count - r.drops)
	if n <= 0 {
		return 0
	}
	r.drops = count
	return uint64(n)
}
