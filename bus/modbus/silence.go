package modbus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fieldferry/bus"
	"fieldferry/bus/modbus/rtu"
)

// answered notes that the device is alive.
func (l *Line) answered(d *device) {
	d.seen.answered = true
	d.failures, d.inRow, d.fault = 0, 0, ""
	for _, i := range d.silent {
		l.refuse(d, i, onlyThis, longestRefused)
	}
	d.silent = d.silent[:0]
	if !d.offline {
		return
	}
	d.offline, d.suspect = false, true
	d.forget() // it may have been replaced
	l.pace.restart()
	l.count(func(s *Stats) { s.Offline-- })
	l.log.Info("device answers again", "device", d.cfg.Name)
	l.event(bus.SlaveOffline, d.cfg.Name, bus.Cleared, map[string]any{"unit_id": int(d.cfg.UnitID)})
}

// silence notes that a poll of the device, begun at start, brought no answer
// at all.
func (l *Line) silence(d *device, start time.Time) {
	why := d.fault
	d.failures++
	d.turn++
	d.silent = d.silent[:0] // it was not about them
	now := time.Now()
	switch {
	case d.offline:
		d.backoff = min(2*d.backoff, longestProbe)
	case d.failures >= offlineAfter:
		d.offline = true
		d.backoff = max(firstProbe, min(d.groups[0].interval, longestProbe))
		if slowest := l.wire.Slowest(d.cfg.UnitID).Round(time.Millisecond); slowest > l.timeoutOf(d) {
			why = fmt.Sprintf("%s; late replies have come: answered after %v, timeout is %v", why, slowest, l.timeoutOf(d))
		}
		l.count(func(s *Stats) { s.Offline++ })
		l.log.Warn("device does not answer", "device", d.cfg.Name, "unit", d.cfg.UnitID, "error", why)
		l.event(bus.SlaveOffline, d.cfg.Name, bus.Raised, map[string]any{"unit_id": int(d.cfg.UnitID), "error": why})
	default:
		return
	}
	d.probeAt = now.Add(d.backoff)
	l.spaceProbes(now, now.Sub(start))
}

// spaceProbes puts off the probes of all silent devices after one that cost
// the line some time and found nobody, so that the others get theirs, and a
// far end that is still busy with one is not asked for the next.
func (l *Line) spaceProbes(now time.Time, cost time.Duration) {
	earliest := now.Add(probePause * cost)
	if !l.anybodyAnswers() {
		earliest = now.Add(acknowledged)
	}
	for _, d := range l.devices {
		if d.offline && d.probeAt.Before(earliest) {
			d.probeAt = earliest
		}
	}
}

func (l *Line) anybodyAnswers() bool {
	for _, d := range l.devices {
		if !d.offline && len(d.groups) > 0 {
			return true
		}
	}
	return false
}

func isPortLost(err error) bool {
	var lost *rtu.PortLostError
	return errors.As(err, &lost) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
