package modbus

import (
	"bytes"
	"errors"
	"slices"
	"sort"
	"time"

	"fieldferry/bus/modbus/rtu"
)

const (
	// recentExchanges is how many exchanges a line remembers for whoever looks.
	recentExchanges = 50
	// recentReplies is of how many replies the times of a unit are known.
	recentReplies = 64
)

// UnitStats are the counters of one device since its line was made.
type UnitStats struct {
	Name       string
	ID         uint8
	Requests   uint64 // sent, repetitions included
	Answered   uint64 // replies that were the answer, refusals included
	Timeouts   uint64
	CRC        uint64
	Exceptions map[uint8]uint64 // refusals by exception code; nil: none
	// RTT are the times of the last replies, from the end of the request,
	// shortest first.
	RTT       []time.Duration
	Offline   bool
	Since     time.Time // offline: of the first poll without an answer
	NextProbe time.Time // offline: when it is asked again
}

// Quantile returns the time within which a share q of the last replies came, and
// false if there was none.
func (u *UnitStats) Quantile(q float64) (time.Duration, bool) {
	if len(u.RTT) == 0 {
		return 0, false
	}
	return u.RTT[min(int(q*float64(len(u.RTT))), len(u.RTT)-1)], true
}

// Exchange is one request and what came of it.
type Exchange struct {
	At      time.Time
	Unit    uint8
	Request []byte        // in RTU framing with its CRC, whatever the line speaks
	Reply   []byte        // likewise; nil: none that was taken
	Err     string        // why; empty: it was the answer
	Took    time.Duration // until the reply, or until it was given up
}

// account is what a line counts by unit, and its last exchanges.
type account struct {
	units [256]*unitAccount
	last  [recentExchanges]Exchange // a ring
	next  int
	busy  time.Duration // in exchanges, since the line was made
}

type unitAccount struct {
	UnitStats
	times [recentReplies]time.Duration // a ring
	n     uint64
}

// note takes one exchange. A line has one at a time; who looks is kept out by
// the line's lock. That a probe is refused says nothing of what is configured.
func (a *account) note(request, reply []byte, err error, at time.Time, took time.Duration, probe bool) {
	if len(request) == 0 {
		return
	}
	unit := request[0]
	u := a.units[unit]
	if u == nil {
		u = &unitAccount{}
		a.units[unit] = u
	}
	u.Requests++
	a.busy += took
	var (
		exception *rtu.ExceptionError
		crc       *rtu.CRCError
		text      string
	)
	switch {
	case err == nil:
		u.answered(took)
	case errors.As(err, &exception):
		u.answered(took)
		if probe || exception.Doubtful { // which may be a probe's
			break
		}
		if u.Exceptions == nil {
			u.Exceptions = map[uint8]uint64{}
		}
		u.Exceptions[exception.Code]++
	case errors.As(err, &crc):
		u.CRC++
	case isTimeout(err):
		u.Timeouts++
	}
	if err != nil {
		text = err.Error()
	}
	e := &a.last[a.next]
	a.next = (a.next + 1) % recentExchanges
	e.Request, e.Reply = append(e.Request[:0], request...), append(e.Reply[:0], reply...)
	e.At, e.Unit, e.Err, e.Took = at, unit, text, took
}

func (u *unitAccount) answered(took time.Duration) {
	u.Answered++
	u.times[u.n%recentReplies] = took
	u.n++
}

// Units returns what each device of the line has done so far, in the order of
// the configuration. It may be called from any goroutine.
func (l *Line) Units() []UnitStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]UnitStats, len(l.devices))
	for i, d := range l.devices {
		s := &list[i]
		if u := l.account.units[d.cfg.UnitID]; u != nil {
			*s = u.UnitStats
			s.Exceptions = cloneCounts(u.Exceptions)
			s.RTT = slices.Clone(u.times[:min(u.n, recentReplies)])
			sort.Slice(s.RTT, func(i, j int) bool { return s.RTT[i] < s.RTT[j] })
		}
		s.Name, s.ID = d.cfg.Name, d.cfg.UnitID
		s.Offline, s.Since, s.NextProbe = d.shown.offline, d.shown.since, d.shown.probe
	}
	return list
}

func cloneCounts(m map[uint8]uint64) map[uint8]uint64 {
	if m == nil {
		return nil
	}
	c := make(map[uint8]uint64, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}

// Exchanges returns the last exchanges on the line, oldest first, at most 50. It
// may be called from any goroutine.
func (l *Line) Exchanges() []Exchange {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]Exchange, 0, recentExchanges)
	for i := range recentExchanges {
		if e := l.account.last[(l.account.next+i)%recentExchanges]; !e.At.IsZero() {
			e.Request, e.Reply = bytes.Clone(e.Request), bytes.Clone(e.Reply)
			list = append(list, e)
		}
	}
	return list
}

// Busy is how long the line was in exchanges since it was made. It may be called
// from any goroutine.
func (l *Line) Busy() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.account.busy
}

// show lets those who look see whether a device is offline.
func (l *Line) show(d *device) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !d.offline {
		d.shown.since = time.Time{}
	} else if !d.shown.offline {
		d.shown.since = time.Now()
	}
	d.shown.offline, d.shown.probe = d.offline, d.probeAt
}
