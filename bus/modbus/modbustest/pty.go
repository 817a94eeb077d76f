package modbustest

import (
	"fmt"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// PTY is a pseudo-terminal pair in raw mode. Reads and writes on it are the
// far end of the line; it stays usable when the program that has Path open
// closes it. Close hangs the line up: the program sees its port vanish.
type PTY struct {
	_ [0]func() // nobody compares them: saves the code for it

	*os.File
	// Path is the serial device to open, such as /dev/pts/3.
	Path string

	once sync.Once
	hold int // an own descriptor of Path; without one, reads fail while nobody has it open
}

// OpenPTY makes a new pair.
func OpenPTY() (*PTY, error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/ptmx: %w", err)
	}
	path, hold, err := openSlave(fd)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("pseudo-terminal: %w", err)
	}
	return &PTY{File: os.NewFile(uintptr(fd), "/dev/ptmx"), Path: path, hold: hold}, nil
}

func openSlave(fd int) (path string, hold int, err error) {
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return "", 0, fmt.Errorf("TIOCSPTLCK: %w", err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return "", 0, fmt.Errorf("TIOCGPTN: %w", err)
	}
	path = "/dev/pts/" + strconv.Itoa(n)
	hold, err = unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", 0, fmt.Errorf("open %s: %w", path, err)
	}
	t, err := unix.IoctlGetTermios(hold, unix.TCGETS)
	if err == nil {
		t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
		t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
		err = unix.IoctlSetTermios(hold, unix.TCSETS, t)
	}
	if err != nil {
		unix.Close(hold)
		return "", 0, fmt.Errorf("set %s raw: %w", path, err)
	}
	return path, hold, nil
}

// Close hangs up and removes the pair.
func (p *PTY) Close() (err error) {
	p.once.Do(func() {
		err = p.File.Close()
		unix.Close(p.hold)
	})
	return err
}
