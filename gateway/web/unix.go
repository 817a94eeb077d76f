package web

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"fieldferry/gateway/passwd"
	"fieldferry/gateway/socket"

	"golang.org/x/sys/unix"
)

// unixPrefix begins a Listen that names a socket in the file system.
const unixPrefix = "unix:"

var groupName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)

// socket is the path of the socket to listen at, empty for an address.
func (c *Config) socket() string {
	path, is := strings.CutPrefix(c.Listen, unixPrefix)
	if !is {
		return ""
	}
	return path
}

// validateSocket says what about a socket cannot work.
func (c *Config) validateSocket(wrong func(key, what, fix string)) {
	path := c.socket()
	switch {
	case !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/":
		wrong("listen", fmt.Sprintf("%q is not the absolute path of a socket", path), "write unix:/run/fieldferry/page")
	case len(path) > socket.MaxPath:
		wrong("listen", fmt.Sprintf("the path has %d bytes, and a socket takes %d", len(path), socket.MaxPath), "write a shorter one")
	}
	if c.Group != "" && !groupName.MatchString(c.Group) {
		wrong("group", fmt.Sprintf("%q is not the name of a group", c.Group), "write a name that is in /etc/group")
	}
	if c.CertFile != "" || c.KeyFile != "" || c.TLS {
		wrong("tls", "a socket in the file system never leaves this machine", "remove the key, or listen at an address")
	}
	if c.Insecure {
		wrong("insecure", "a socket in the file system needs no TLS", "remove the key")
	}
}

// listenUnix listens at a path. At first nobody but the service's user (and root)
// can connect, and a group only once everything else is as it should be.
func listenUnix(ctx context.Context, path, group string) (net.Listener, error) {
	if err := ownFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := makeWay(ctx, path); err != nil {
		return nil, err
	}
	l, err := socket.Listen(ctx, path)
	if err != nil {
		return nil, err
	}
	if err := letIn(path, group); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// letIn gives a socket to a group; without one it stays with its user.
func letIn(path, group string) error {
	if group == "" {
		return os.Chmod(path, 0o600)
	}
	g, err := passwd.GroupNamed(group)
	if err != nil {
		return err
	}
	if err := os.Chown(path, -1, int(g.GID)); err != nil {
		return fmt.Errorf("giving the socket to the group %s: %w; the service's user must be a member of it", group, err)
	}
	return os.Chmod(path, 0o660)
}

// ownFolder refuses a folder in which somebody else could put a socket of their
// own, and collect the passwords.
func ownFolder(dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	switch {
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to another user, who could replace the socket; use a directory of the service, such as /run/fieldferry", dir)
	case st.Mode&0o022 != 0:
		return fmt.Errorf("others can write to %s and replace the socket; use a directory of the service, such as /run/fieldferry", dir)
	}
	return nil
}

// makeWay removes the socket that a killed daemon has left, and nothing else.
func makeWay(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is there and is not a socket", path)
	}
	dial, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if c, err := new(net.Dialer).DialContext(dial, "unix", path); err == nil {
		c.Close()
		return fmt.Errorf("another program listens at %s", path)
	} else if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}
