// Package clocktest has a machine whose clocks are set by hand, for tests of
// what depends on [fieldferry/gateway/clock].
package clocktest

import (
	"context"
	"sync"
	"time"

	"fieldferry/gateway/clock"
)

// Machine is a [clock.Machine]. Its time stands still but for [Machine.Pass].
// All methods may be called from any goroutine.
type Machine struct {
	mu     sync.Mutex
	id     uint64
	wall   int64
	boot   int64
	steady int64
	synced bool
	err    error
	set    chan struct{} // holds a token when something has changed that Wait waits for
}

// New returns a machine that was booted a minute ago.
func New(wall time.Time, synced bool) *Machine {
	return &Machine{id: 1, wall: wall.UnixNano(), boot: int64(time.Minute), steady: int64(time.Second),
		synced: synced, set: make(chan struct{}, 1)}
}

// Pass lets time pass.
func (m *Machine) Pass(d time.Duration) {
	m.change(false, func() { m.wall, m.boot, m.steady = m.wall+int64(d), m.boot+int64(d), m.steady+int64(d) })
}

// Suspend lets time pass while the machine is suspended.
func (m *Machine) Suspend(d time.Duration) {
	m.change(true, func() { m.wall, m.boot = m.wall+int64(d), m.boot+int64(d) })
}

// Set sets the time of day as settimeofday(2) does: the kernel takes it for
// unsynchronised from then on.
func (m *Machine) Set(wall time.Time) {
	m.change(true, func() { m.wall, m.synced = wall.UnixNano(), false })
}

// Sync says what the kernel says: whether the clock is synchronised. A
// waiting [clock.Clock] looks again, as it does now and then by itself.
func (m *Machine) Sync(synced bool) { m.change(true, func() { m.synced = synced }) }

// SetSynced sets the time of day and synchronises it at one moment, as
// ADJ_SETOFFSET with ADJ_STATUS does.
func (m *Machine) SetSynced(wall time.Time) {
	m.change(true, func() { m.wall, m.synced = wall.UnixNano(), true })
}

// Fail lets the kernel not say whether the clock is synchronised.
func (m *Machine) Fail(err error) { m.change(true, func() { m.err, m.synced = err, false }) }

// Reboot begins a new boot, with the time of day that a board without a
// battery has.
func (m *Machine) Reboot(wall time.Time) {
	m.change(true, func() {
		m.id, m.wall, m.boot, m.steady, m.synced = m.id+1, wall.UnixNano(), int64(time.Second), 0, false
	})
}

// Time is the time of day.
func (m *Machine) Time() time.Time {
	wall, _ := m.Now()
	return time.Unix(0, wall)
}

func (m *Machine) change(wake bool, f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
	if wake {
		select {
		case m.set <- struct{}{}:
		default:
		}
	}
}

// BootID implements [clock.Machine].
func (m *Machine) BootID() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.id
}

// Now implements [clock.Machine].
func (m *Machine) Now() (wall, steady int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wall, m.steady
}

// Look implements [clock.Machine].
func (m *Machine) Look() clock.Sample {
	m.mu.Lock()
	defer m.mu.Unlock()
	return clock.Sample{Wall: m.wall, Boot: m.boot, Steady: m.steady, Synced: m.synced, Err: m.err}
}

// Wait implements [clock.Machine]: it returns when something has changed since
// the last Wait, or ctx ended. It serves one [clock.Clock].
func (m *Machine) Wait(ctx context.Context, _ time.Duration) {
	select {
	case <-m.set:
	case <-ctx.Done():
	}
}
