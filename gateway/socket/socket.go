// Package socket listens at sockets in the file system that nobody else can
// open.
package socket

import (
	"context"
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// MaxPath is how many bytes the path of a socket may have (unix(7)).
const MaxPath = len(unix.RawSockaddrUnix{}.Path) - 1

// Listen listens at a path with the mode 0600, whatever the umask is: there is no
// moment in which another user could connect.
func Listen(ctx context.Context, path string) (net.Listener, error) {
	// The mode of a socket before it is bound becomes that of its path.
	private := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), 0o600) })
		return errors.Join(err, failed)
	}}
	return private.Listen(ctx, "unix", path)
}
