package mqtt

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// unsentBytes is how many bytes the kernel takes ahead of what it can send. More
// would only put PINGREQ behind a queue that a slow link needs minutes for.
const unsentBytes = 64 * 1024

// setSocketOptions makes the kernel give a connection up when sent bytes are
// not acknowledged for user (tcp(7), TCP_USER_TIMEOUT), instead of after 15
// minutes of retransmissions.
func setSocketOptions(c syscall.RawConn, user time.Duration) error {
	// An old kernel may not know an option. The connection works without;
	// the write and ack timeouts find a dead link as well, only later.
	return c.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(user.Milliseconds()))
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytes)
	})
}

// unacknowledged is how many bytes written to c the other end has not
// acknowledged yet (tcp(7), SIOCOUTQ).
func unacknowledged(c *net.TCPConn) (bytes uint64, ok bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, false
	}
	n := 0
	if cerr := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.TIOCOUTQ) }); cerr != nil || err != nil || n < 0 {
		return 0, false
	}
	return uint64(n), true
}

// unanswered says that what was sent on c was repeated several times and the
// other end has acknowledged none of it (tcp(7), TCP_INFO): it, or the way to
// it, is away. A broker that only takes nothing more is something else.
func unanswered(c *net.TCPConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	repeated := false
	if err := raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			repeated = info.Retransmits >= manyRepeats || info.Retransmits > 0 && info.Last_ack_recv >= longSilence
		}
	}); err != nil {
		return false
	}
	return repeated
}

// Three repetitions take 1.4 s on a fast line and 3 s at a round trip of
// 200 ms. On a line that was slow before, the first alone takes many seconds.
const (
	manyRepeats = 3
	longSilence = 5000 // ms
)
