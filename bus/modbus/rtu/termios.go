package rtu

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// standardRates are what TCSETS can express, for kernels and emulators
// without TCSETS2.
var standardRates = map[int]uint32{
	50: unix.B50, 75: unix.B75, 110: unix.B110, 134: unix.B134, 150: unix.B150, 200: unix.B200,
	300: unix.B300, 600: unix.B600, 1200: unix.B1200, 1800: unix.B1800, 2400: unix.B2400,
	4800: unix.B4800, 9600: unix.B9600, 19200: unix.B19200, 38400: unix.B38400,
	57600: unix.B57600, 115200: unix.B115200, 230400: unix.B230400, 460800: unix.B460800,
	500000: unix.B500000, 576000: unix.B576000, 921600: unix.B921600, 1000000: unix.B1000000,
	1152000: unix.B1152000, 1500000: unix.B1500000, 2000000: unix.B2000000,
	2500000: unix.B2500000, 3000000: unix.B3000000, 3500000: unix.B3500000, 4000000: unix.B4000000,
}

// setup makes fd ours alone, raw and set as cfg says. byRTS says that the
// direction is left to the application.
func setup(fd int, cfg PortConfig) (adjusts []string, byRTS bool, err error) {
	if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
		if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EINVAL) {
			return nil, false, fmt.Errorf("not a serial device: %w", err)
		}
		return nil, false, err
	}
	// TIOCEXCL does not bind a privileged process, the lock does not bind one
	// that never asks; both together keep two masters off the line.
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return nil, false, inUse(cfg.Path)
	}
	if err := unix.IoctlSetInt(fd, unix.TIOCEXCL, 0); err != nil {
		return nil, false, fmt.Errorf("TIOCEXCL: %w", err)
	}
	if cfg.RS485.Enabled {
		adjusts, byRTS, err = chooseDirection(fd, cfg.RS485)
		if err != nil {
			return nil, false, err
		}
	}
	// A port that the kernel closes for us, after a kill too, drops RTS.
	more, err := setTermios(fd, cfg.Mode, byRTS && cfg.RS485.RTSHighDuringSend)
	if err != nil {
		return nil, false, err
	}
	if err := unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIFLUSH); err != nil {
		return nil, false, fmt.Errorf("TCFLSH: %w", err)
	}
	return append(adjusts, more...), byRTS, nil
}

// chooseDirection leaves the direction to the driver if it can do it.
func chooseDirection(fd int, cfg RS485) (adjusts []string, byRTS bool, err error) {
	if cfg.ByApplication {
		// A driver that was told to earlier would switch as well.
		_ = ioctlRS485(fd, unix.TIOCSRS485, &serialRS485{})
		return nil, true, nil
	}
	adjusts, err = setRS485(fd, cfg)
	if errors.Is(err, ErrNoRS485) {
		return []string{"the driver has no RS-485 direction control; RTS is switched by the application instead"}, true, nil
	}
	return adjusts, false, err
}

func setTermios(fd int, mode Mode, hangUp bool) (adjusts []string, err error) {
	want := unix.Termios{Cflag: unix.CS8 | unix.CREAD | unix.CLOCAL, Iflag: unix.IGNBRK}
	switch mode.Parity {
	case 'E':
		want.Cflag |= unix.PARENB
	case 'O':
		want.Cflag |= unix.PARENB | unix.PARODD
	}
	if mode.Parity != 'N' {
		want.Iflag |= unix.INPCK // a damaged character becomes 0 and spoils the CRC
	}
	if mode.StopBits == 2 {
		want.Cflag |= unix.CSTOPB
	}
	if hangUp {
		want.Cflag |= unix.HUPCL
	}
	// With VMIN 0 an idle line would look like the end of the file.
	want.Cc[unix.VMIN] = 1

	get, set := uint(unix.TCGETS2), uint(unix.TCSETS2)
	t := want
	t.Cflag |= unix.BOTHER
	t.Ispeed, t.Ospeed = uint32(mode.BaudRate), uint32(mode.BaudRate)
	if err = unix.IoctlSetTermios(fd, set, &t); noTermios2(err) {
		rate, ok := standardRates[mode.BaudRate]
		if !ok {
			return nil, fmt.Errorf("this kernel cannot set %d baud, only the standard rates: %w", mode.BaudRate, err)
		}
		get, set = unix.TCGETS, unix.TCSETS
		t = want
		t.Cflag |= rate
		err = unix.IoctlSetTermios(fd, set, &t)
	}
	if err != nil {
		return nil, fmt.Errorf("set %d baud 8%c%d: %w", mode.BaudRate, mode.Parity, mode.StopBits, err)
	}
	got, err := unix.IoctlGetTermios(fd, get)
	if err != nil {
		return nil, fmt.Errorf("read the settings back: %w", err)
	}
	if isPseudoTerminal(fd) {
		return nil, nil
	}
	return compareTermios(want, *got, mode, get == unix.TCGETS2), nil
}

func noTermios2(err error) bool {
	return errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EINVAL)
}

func compareTermios(want, got unix.Termios, mode Mode, speeds bool) (adjusts []string) {
	const frame = unix.CSIZE | unix.PARENB | unix.PARODD | unix.CSTOPB
	if want.Cflag&frame != got.Cflag&frame {
		adjusts = append(adjusts, fmt.Sprintf("the driver did not take 8%c%d", mode.Parity, mode.StopBits))
	}
	// A UART tolerates about 2 % between both ends together.
	if d := int64(got.Ospeed) - int64(mode.BaudRate); speeds && max(d, -d)*50 > int64(mode.BaudRate) {
		adjusts = append(adjusts, fmt.Sprintf("the driver set %d baud instead of %d", got.Ospeed, mode.BaudRate))
	}
	return adjusts
}

// isPseudoTerminal tells the UNIX98 slaves (majors 136 to 143), which keep
// neither parity nor character size.
func isPseudoTerminal(fd int) bool {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return false
	}
	major := unix.Major(uint64(st.Rdev))
	return major >= 136 && major <= 143
}

// serialRS485 is struct serial_rs485 of linux/serial.h.
type serialRS485 struct {
	flags                uint32
	delayBefore, delayAf uint32 // ms
	_                    [5]uint32
}

const (
	rs485Enabled      = 1 << 0
	rs485RTSOnSend    = 1 << 1
	rs485RTSAfterSend = 1 << 2
	rs485RxDuringTx   = 1 << 4
)

func (c RS485) kernel() (k serialRS485) {
	k.flags = rs485Enabled
	if c.RTSHighDuringSend {
		k.flags |= rs485RTSOnSend
	} else {
		k.flags |= rs485RTSAfterSend
	}
	if c.ReceiveOwnEcho {
		k.flags |= rs485RxDuringTx
	}
	k.delayBefore = milliseconds(c.DelayBeforeSend)
	k.delayAf = milliseconds(c.DelayAfterSend)
	return k
}

func milliseconds(d time.Duration) uint32 {
	return uint32(min(max(d+time.Millisecond-1, 0)/time.Millisecond, 1000))
}

func setRS485(fd int, cfg RS485) (adjusts []string, err error) {
	want := cfg.kernel()
	ask := want // the driver writes back into it
	if err := ioctlRS485(fd, unix.TIOCSRS485, &ask); err != nil {
		if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
			return nil, fmt.Errorf("%w (%w)", ErrNoRS485, err)
		}
		return nil, fmt.Errorf("TIOCSRS485: %w", err)
	}
	var got serialRS485
	if err := ioctlRS485(fd, unix.TIOCGRS485, &got); err != nil {
		return nil, fmt.Errorf("TIOCGRS485: %w", err)
	}
	if got.flags&rs485Enabled == 0 {
		return nil, ErrNoRS485
	}
	const polarity = rs485RTSOnSend | rs485RTSAfterSend
	if got.flags&polarity != want.flags&polarity {
		adjusts = append(adjusts, "the driver refused the RTS polarity")
	}
	if got.flags&rs485RxDuringTx != want.flags&rs485RxDuringTx {
		adjusts = append(adjusts, "the driver decided itself whether to receive while sending")
	}
	if got.delayBefore != want.delayBefore || got.delayAf != want.delayAf {
		adjusts = append(adjusts, fmt.Sprintf("the driver set RTS delays of %d and %d ms", got.delayBefore, got.delayAf))
	}
	return adjusts, nil
}

func ioctlRS485(fd int, request uint, k *serialRS485) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(k)))
	if errno != 0 {
		return errno
	}
	return nil
}
