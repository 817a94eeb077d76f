package rtu

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// tty is what switching the direction takes of a device; a fake one stands in
// for a line that tests do not have.
type tty interface {
	write(p []byte) (int, error)
	setRTS(high bool) error
	queued() (int, error)        // characters the driver has not sent yet
	drain() error                // tcdrain; it knows no deadline
	idle() (idle, known bool)    // the transmitter with its shift register is empty
	discardInput() error         // forget what has been received
	sleep(d time.Duration)       // to well below a millisecond
	readRTS() (high, known bool) // as the driver has it
}

// direction switches the transceiver of an RS-485 line by RTS, for drivers
// that cannot (TIOCSRS485). Whatever happens, RTS is at the level of
// receiving when send returns.
type direction struct {
	_ [0]func() // nobody compares them: saves the code for it

	dev  tty
	cfg  RS485
	char time.Duration

	mu     sync.Mutex
	closed bool
}

// send writes p with the transceiver switched to sending, and returns when it
// receives again.
func (d *direction) send(p []byte) (n int, err error) {
	defer func() {
		if e := d.receive(); err == nil && e != nil {
			err = fmt.Errorf("switch RTS back to receiving: %w", e)
		}
	}()
	if err := d.transmit(); err != nil {
		return 0, fmt.Errorf("switch RTS to sending: %w", err)
	}
	d.dev.sleep(d.cfg.DelayBeforeSend)
	if n, err = d.dev.write(p); err != nil {
		return n, err
	}
	if err := d.sent(time.Duration(n) * d.char); err != nil {
		return n, err
	}
	if !d.cfg.ReceiveOwnEcho {
		// The units keep silent for t3.5 yet, so that this is our own.
		if err := d.dev.discardInput(); err != nil {
			return n, err
		}
	}
	d.dev.sleep(d.cfg.DelayAfterSend)
	return n, nil
}

func (d *direction) transmit() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return os.ErrClosed
	}
	return d.dev.setRTS(d.cfg.RTSHighDuringSend)
}

func (d *direction) receive() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	return d.dev.setRTS(!d.cfg.RTSHighDuringSend)
}

// close leaves the line in receiving for good.
func (d *direction) close() {
	_ = d.receive()
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
}

// sent waits until the last bit has left, which takes wire at least.
func (d *direction) sent(wire time.Duration) error {
	d.dev.sleep(wire)
	limit := time.Now().Add(wire + writeStall)
	step := max(d.char/4, 50*time.Microsecond)
	for {
		queued, err := d.dev.queued()
		if err != nil {
			return err
		}
		idle, known := d.dev.idle()
		switch {
		case queued == 0 && known && idle:
			return nil
		case queued == 0 && !known:
			// The driver's own waiting counts in jiffies, so it goes last; the
			// shift register, which it may not see, holds one character more.
			if err := d.dev.drain(); err != nil {
				return err
			}
			d.dev.sleep(d.char)
			return nil
		case !time.Now().Before(limit):
			return fmt.Errorf("the driver does not send: %w", os.ErrDeadlineExceeded)
		}
		d.dev.sleep(step)
	}
}

// check reports whether there is an RTS line to switch, leaving it at the level of receiving.
func (d *direction) check() (adjusts []string, err error) {
	if err := d.receive(); err != nil {
		return nil, err
	}
	if high, known := d.dev.readRTS(); known && high == d.cfg.RTSHighDuringSend {
		adjusts = append(adjusts, "the driver did not move RTS, which switches the direction; check that the adapter has that line")
	}
	return adjusts, nil
}

// serialTTY is the tty of a SerialPort.
type serialTTY struct {
	file *os.File
	raw  rawConn
}

func (s serialTTY) write(p []byte) (int, error) { return s.file.Write(p) }

func (s serialTTY) setRTS(high bool) error {
	request := uint(unix.TIOCMBIC)
	if high {
		request = unix.TIOCMBIS
	}
	return s.control(func(fd int) error { return unix.IoctlSetPointerInt(fd, request, unix.TIOCM_RTS) })
}

func (s serialTTY) readRTS() (high, known bool) {
	bits, err := s.get(unix.TIOCMGET)
	return bits&unix.TIOCM_RTS != 0, err == nil
}

func (s serialTTY) queued() (int, error) { return s.get(unix.TIOCOUTQ) }

func (s serialTTY) drain() error {
	return s.control(func(fd int) error { return unix.IoctlSetInt(fd, unix.TCSBRK, 1) })
}

func (s serialTTY) idle() (idle, known bool) {
	status, err := s.get(unix.TIOCSERGETLSR)
	return status&unix.TIOCSER_TEMT != 0, err == nil
}

func (s serialTTY) discardInput() error {
	return s.control(func(fd int) error { return unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIFLUSH) })
}

func (s serialTTY) sleep(d time.Duration) {
	if d > 0 {
		rest := unix.NsecToTimespec(int64(d))
		for errors.Is(unix.Nanosleep(&rest, &rest), unix.EINTR) {
		}
	}
}

func (s serialTTY) get(request uint) (value int, err error) {
	err = s.control(func(fd int) (err error) {
		value, err = unix.IoctlGetInt(fd, request)
		return err
	})
	return value, err
}

func (s serialTTY) control(call func(fd int) error) (err error) {
	cerr := s.raw.Control(func(fd uintptr) {
		_, err = retry(func() (int, error) { return 0, call(int(fd)) })
	})
	if cerr != nil {
		return cerr
	}
	return err
}
