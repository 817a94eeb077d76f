package rtu

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// fakeTTY records what is done to it and when. Its transmitter takes the time
// of the characters, and its driver hands on what it has one character earlier.
type fakeTTY struct {
	mu      sync.Mutex
	start   time.Time
	log     []string
	rts     bool
	char    time.Duration
	until   time.Time // the last bit leaves
	noLSR   bool
	stuck   bool
	fail    string // what fails
	onWrite func()
}

var errFake = errors.New("fake")

func (f *fakeTTY) note(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	what := fmt.Sprintf(format, args...)
	f.log = append(f.log, fmt.Sprintf("%v %s", time.Since(f.start), what))
	if f.fail == what {
		return errFake
	}
	return nil
}

func (f *fakeTTY) setRTS(high bool) error {
	err := f.note("rts %t", high)
	if err == nil {
		f.rts = high // the direction's own lock is held
	}
	return err
}

func (f *fakeTTY) write(p []byte) (int, error) {
	if f.onWrite != nil {
		f.onWrite()
	}
	if err := f.note("write %d", len(p)); err != nil {
		return 0, err
	}
	// The driver begins half a character late.
	f.until = time.Now().Add(time.Duration(len(p))*f.char + f.char/2)
	return len(p), nil
}

func (f *fakeTTY) queued() (int, error) {
	if f.stuck || time.Now().Before(f.until.Add(-f.char)) {
		return 1, nil
	}
	return 0, nil
}

func (f *fakeTTY) idle() (idle, known bool) {
	return !f.stuck && !time.Now().Before(f.until), !f.noLSR
}

func (f *fakeTTY) drain() error          { return f.note("drain") }
func (f *fakeTTY) discardInput() error   { return f.note("discard") }
func (f *fakeTTY) sleep(d time.Duration) { time.Sleep(d) }
func (f *fakeTTY) readRTS() (bool, bool) { return f.rts, true }

// The order and the times of a request, at 9600 baud where a character of
// eleven bits takes 1.14 ms.
func TestDirection(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  RS485
		tty  *fakeTTY
		err  error
		want []string
	}{
		{"by the transmitter's word", RS485{RTSHighDuringSend: true}, &fakeTTY{}, nil,
			[]string{"0s rts true", "0s write 8", "8.5ms discard", "8.5ms rts false"}},
		{"delays", RS485{RTSHighDuringSend: true, DelayBeforeSend: 2 * time.Millisecond, DelayAfterSend: 3 * time.Millisecond}, &fakeTTY{}, nil,
			[]string{"0s rts true", "2ms write 8", "10.5ms discard", "13.5ms rts false"}},
		{"low while sending, own echo wanted", RS485{ReceiveOwnEcho: true}, &fakeTTY{}, nil,
			[]string{"0s rts false", "0s write 8", "8.5ms rts true"}},
		{"no word of the transmitter", RS485{RTSHighDuringSend: true}, &fakeTTY{noLSR: true}, nil,
			[]string{"0s rts true", "0s write 8", "8ms drain", "9ms discard", "9ms rts false"}},
		{"the write fails", RS485{RTSHighDuringSend: true}, &fakeTTY{fail: "write 8"}, errFake,
			[]string{"0s rts true", "0s write 8", "0s rts false"}},
		{"RTS cannot be set", RS485{RTSHighDuringSend: true}, &fakeTTY{fail: "rts true"}, errFake,
			[]string{"0s rts true", "0s rts false"}},
		{"RTS cannot be set back", RS485{RTSHighDuringSend: true}, &fakeTTY{fail: "rts false"}, errFake,
			[]string{"0s rts true", "0s write 8", "8.5ms discard", "8.5ms rts false"}},
		{"draining fails", RS485{RTSHighDuringSend: true}, &fakeTTY{noLSR: true, fail: "drain"}, errFake,
			[]string{"0s rts true", "0s write 8", "8ms drain", "8ms rts false"}},
		{"the driver does not send", RS485{RTSHighDuringSend: true}, &fakeTTY{stuck: true}, os.ErrDeadlineExceeded,
			[]string{"0s rts true", "0s write 8", "1.016s rts false"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := c.tty
				f.start, f.char = time.Now(), time.Millisecond
				d := &direction{dev: f, cfg: c.cfg, char: f.char}
				n, err := d.send(make([]byte, 8))
				if !errors.Is(err, c.err) || err == nil && n != 8 {
					t.Errorf("%d bytes, %v, want %v", n, err, c.err)
				}
				if !slices.Equal(f.log, c.want) {
					t.Errorf("got  %q\nwant %q", f.log, c.want)
				}
			})
		})
	}
}

// Whatever happens, the line is not left in sending.
func TestDirectionAfterAPanic(t *testing.T) {
	f := fakeTTY{start: time.Now(), onWrite: func() { panic("in the driver") }}
	d := &direction{dev: &f, cfg: RS485{RTSHighDuringSend: true}}
	func() {
		defer func() { _ = recover() }()
		_, _ = d.send([]byte{1})
	}()
	if f.rts {
		t.Error("RTS is left on")
	}
}

func TestDirectionOfAClosedPort(t *testing.T) {
	for _, high := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			f := fakeTTY{start: time.Now(), char: time.Millisecond, rts: high}
			d := &direction{dev: &f, cfg: RS485{RTSHighDuringSend: high}, char: f.char}
			done := make(chan struct{})
			go func() { _, _ = d.send(make([]byte, 8)); close(done) }()
			time.Sleep(3 * time.Millisecond)
			d.close() // in the middle of a request
			<-done
			if _, err := d.send([]byte{1}); !errors.Is(err, os.ErrClosed) {
				t.Errorf("after close: %v", err)
			}
			if f.rts == high {
				t.Errorf("RTS is left at the level of sending: %q", f.log)
			}
		})
	}
}

func TestDirectionThatDoesNotMove(t *testing.T) {
	f := fakeTTY{start: time.Now()}
	d := &direction{dev: &f, cfg: RS485{RTSHighDuringSend: true}}
	if adjusts, err := d.check(); err != nil || adjusts != nil {
		t.Errorf("%q, %v", adjusts, err)
	}
	d.cfg.RTSHighDuringSend = false
	f.fail = "rts true"
	if _, err := d.check(); !errors.Is(err, errFake) {
		t.Errorf("%v", err)
	}
	d.dev = deafTTY{&f}
	if adjusts, err := d.check(); err != nil || len(adjusts) != 1 {
		t.Errorf("%q, %v", adjusts, err)
	}
}

// deafTTY takes RTS without a line that follows.
type deafTTY struct{ *fakeTTY }

func (deafTTY) setRTS(bool) error { return nil }

// A pseudo-terminal has neither way; the calls that a real device answers are
// at least understood.
func TestDirectionOfAPseudoTerminal(t *testing.T) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	file := os.NewFile(uintptr(fd), "ptmx")
	defer file.Close()
	raw, err := file.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	dev := serialTTY{file, raw}
	if err := dev.setRTS(true); err == nil {
		t.Error("it has RTS")
	}
	if _, known := dev.idle(); known {
		t.Error("it knows its transmitter")
	}
	if n, err := dev.queued(); n != 0 || err != nil {
		t.Errorf("%d characters queued, %v", n, err)
	}
	if err := dev.drain(); err != nil {
		t.Error(err)
	}
	if err := dev.discardInput(); err != nil {
		t.Error(err)
	}
	start := time.Now()
	dev.sleep(3 * time.Millisecond)
	if took := time.Since(start); took < 3*time.Millisecond {
		t.Errorf("slept for %v", took)
	}
}
