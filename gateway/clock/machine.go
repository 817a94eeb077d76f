package clock

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// bootIDFile names this boot (random(4)).
const bootIDFile = "/proc/sys/kernel/random/boot_id"

// machine is the one this process runs on.
type machine struct {
	began time.Time
	timer *os.File // tells when the clock is set; nil: it does not
}

func newMachine() *machine { return &machine{began: time.Now(), timer: openTimer()} }

func (m *machine) BootID() uint64 {
	id, err := os.ReadFile(bootIDFile)
	if err != nil { // then no other process will know this boot again
		return uint64(m.began.UnixNano())
	}
	hash := uint64(14695981039346656037) // FNV-1a
	for _, b := range id {
		hash = (hash ^ uint64(b)) * 1099511628211
	}
	return hash
}

func (m *machine) Now() (wall, steady int64) {
	now := time.Now()
	return now.UnixNano(), int64(now.Sub(m.began))
}

// tries are the readings of which the quickest counts: between two clocks the
// process may be interrupted.
const tries = 5

func (m *machine) Look() Sample {
	// Before and after: a clock that is set in between must not be taken for
	// the one that is synchronised.
	before, err := synchronised()
	var s Sample
	width := int64(math.MaxInt64)
	for range tries {
		begin := bootTime()
		wall, steady := m.Now()
		if end := bootTime(); end-begin < width {
			width = end - begin
			s.Wall, s.Steady, s.Boot = wall, steady, begin+width/2
		}
	}
	after, afterErr := synchronised()
	s.Synced, s.Err = before && after, errors.Join(err, afterErr)
	return s
}

// bootTime is CLOCK_BOOTTIME in ns. Its seconds have 32 bits on 32-bit ARM, which is 68
// years of uptime.
func bootTime() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0 // not since Linux 2.6.39
	}
	return ts.Nano()
}

// maxError is the error, in µs, that the kernel no longer counts (NTP_PHASE_LIMIT).
const maxError = 16_000_000

// synchronised asks the kernel. STA_UNSYNC alone does not tell: it also keeps
// the kernel from setting the hardware clock, and some time services leave it
// set for that (docs/decisions/clock.md).
func synchronised() (bool, error) {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return false, fmt.Errorf("adjtimex: %w", err)
	}
	return t.Status&unix.STA_UNSYNC == 0 || t.Maxerror < maxError, nil
}

// openTimer makes a timer that never matters but for being told when the
// clock is set (timerfd_create(2)).
func openTimer() *os.File {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil
	}
	late := unix.ItimerSpec{Value: unix.NsecToTimespec(math.MaxInt32 * int64(time.Second))} // the most that 32-bit ARM can say
	if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &late, nil); err != nil {
		_ = unix.Close(fd)
		return nil
	}
	return os.NewFile(uintptr(fd), "timerfd")
}

func (m *machine) Wait(ctx context.Context, most time.Duration) {
	end := time.Now().Add(most)
	if m.timer != nil && m.timer.SetReadDeadline(end) == nil {
		stop := context.AfterFunc(ctx, func() { _ = m.timer.SetReadDeadline(time.Now().Add(-time.Second)) })
		defer stop()
		var expirations [8]byte
		_, err := m.timer.Read(expirations[:])
		if err == nil || errors.Is(err, unix.ECANCELED) || errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
	}
	pause := time.NewTimer(time.Until(end))
	defer pause.Stop()
	select {
	case <-ctx.Done():
	case <-pause.C:
	}
}
