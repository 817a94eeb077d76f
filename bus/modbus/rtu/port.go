package rtu

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// RS485 is the direction control of a half-duplex line by RTS: by the kernel's
// UART driver (TIOCSRS485) or, where that cannot, by the application.
type RS485 struct {
	_ [0]func() // nobody compares them: saves the code for it

	Enabled                           bool
	DelayBeforeSend, DelayAfterSend   time.Duration // the driver counts in milliseconds; rounded up
	RTSHighDuringSend, ReceiveOwnEcho bool
	ByApplication                     bool // do not ask the driver
}

// PortConfig says which serial device to open and how.
type PortConfig struct {
	_ [0]func() // nobody compares them: saves the code for it

	Path  string
	Mode  Mode
	RS485 RS485
}

// ErrNoRS485 means that the driver of a port has neither direction control
// nor an RTS line that the application could switch.
var ErrNoRS485 = errors.New("the driver has neither RS-485 direction control nor an RTS line to switch; set rs485.enabled to false if the adapter switches direction by itself")

// ErrInUse means that another process has the port.
var ErrInUse = errors.New("the port is in use by another process")

func inUse(path string) error { return fmt.Errorf("%w; fuser -v %s names it", ErrInUse, path) }

// SerialPort is an open serial device in raw mode, owned exclusively.
// Reads and writes go through Go's poller and obey deadlines; Close may be
// called from any goroutine and ends a read in progress.
type SerialPort struct {
	file    *os.File
	raw     rawConn
	adjusts []string
	rts     *direction // nil: the driver or the adapter switches the direction
	rs485   bool
}

type rawConn interface {
	Read(func(fd uintptr) bool) error
	Control(func(fd uintptr)) error
}

// Open opens and sets a serial device and discards what it had received.
// The error names the path; it wraps the system's error, ErrInUse or ErrNoRS485.
func Open(cfg PortConfig) (*SerialPort, error) {
	if err := cfg.Mode.validate(); err != nil {
		return nil, fmt.Errorf("serial port %s: %w", cfg.Path, err)
	}
	fd, err := retry(func() (int, error) {
		return unix.Open(cfg.Path, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	})
	if errors.Is(err, unix.EBUSY) {
		err = inUse(cfg.Path)
	}
	if err != nil {
		return nil, fmt.Errorf("open serial port %s: %w", cfg.Path, err)
	}
	adjusts, byRTS, err := setup(fd, cfg)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("set up serial port %s: %w", cfg.Path, err)
	}
	file := os.NewFile(uintptr(fd), cfg.Path)
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("serial port %s: %w", cfg.Path, err)
	}
	p := &SerialPort{file: file, raw: raw, adjusts: adjusts, rs485: cfg.RS485.Enabled}
	if byRTS {
		p.rts = &direction{dev: serialTTY{file, raw}, cfg: cfg.RS485, char: cfg.Mode.CharTime()}
		more, err := p.rts.check()
		if err != nil {
			file.Close()
			return nil, fmt.Errorf("set up serial port %s: %w (RTS: %w)", cfg.Path, ErrNoRS485, err)
		}
		p.adjusts = append(p.adjusts, more...)
	}
	// Without the poller there are no deadlines, and a read could hang for ever.
	if err := file.SetReadDeadline(time.Time{}); err != nil {
		file.Close()
		return nil, fmt.Errorf("serial port %s cannot be polled: %w", cfg.Path, err)
	}
	return p, nil
}

// Direction says in words who switches the direction of an RS-485 line; it is
// empty when nobody was asked to.
func (p *SerialPort) Direction() string {
	switch {
	case p.rts != nil:
		return "by the application (RTS)"
	case p.rs485:
		return "by the driver (TIOCSRS485)"
	}
	return ""
}

// Adjusted lists what the driver set differently from what was asked, in
// words; a pseudo-terminal, which has no line, is not held to its settings.
func (p *SerialPort) Adjusted() []string { return p.adjusts }

// Read reads what has arrived, at least one byte. A hung-up device is io.EOF
// or the system's error.
func (p *SerialPort) Read(b []byte) (int, error) { return p.file.Read(b) }

// Write writes all of b or fails. Where the application switches the direction
// it returns when the last bit has left and the line is free for the reply.
func (p *SerialPort) Write(b []byte) (int, error) {
	if p.rts != nil {
		return p.rts.send(b)
	}
	return p.file.Write(b)
}

// SetReadDeadline bounds reads, also one in progress.
func (p *SerialPort) SetReadDeadline(t time.Time) error { return p.file.SetReadDeadline(t) }

// SetWriteDeadline bounds writes.
func (p *SerialPort) SetWriteDeadline(t time.Time) error { return p.file.SetWriteDeadline(t) }

// ReadAvailable reads what has arrived without waiting; 0 bytes means nothing.
func (p *SerialPort) ReadAvailable(b []byte) (n int, err error) {
	if err := p.file.SetReadDeadline(time.Time{}); err != nil {
		return 0, err
	}
	return readAvailable(p.raw, b)
}

// WaitReadable waits for d, which should be a few milliseconds at most, or
// until something has come.
func (p *SerialPort) WaitReadable(d time.Duration) { waitReadable(p.raw, d) }

// Close gives the device up. What was not yet sent is discarded, because a
// driver would otherwise wait for it.
func (p *SerialPort) Close() error {
	_ = p.raw.Control(func(fd uintptr) {
		_ = unix.IoctlSetInt(int(fd), unix.TCFLSH, unix.TCIOFLUSH)
		_ = unix.IoctlSetInt(int(fd), unix.TIOCNXCL, 0)
	})
	if p.rts != nil {
		p.rts.close()
	}
	return p.file.Close()
}

func (m Mode) validate() error {
	switch {
	case m.BaudRate < MinBaudRate || m.BaudRate > MaxBaudRate:
		return fmt.Errorf("baud rate %d is out of range", m.BaudRate)
	case m.DataBits != 8:
		return fmt.Errorf("%d data bits: RTU carries whole bytes, use 8", m.DataBits)
	case m.Parity != 'N' && m.Parity != 'E' && m.Parity != 'O':
		return fmt.Errorf("parity %q: use N, E or O", m.Parity)
	case m.StopBits != 1 && m.StopBits != 2:
		return fmt.Errorf("%d stop bits: use 1 or 2", m.StopBits)
	}
	return nil
}

func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
