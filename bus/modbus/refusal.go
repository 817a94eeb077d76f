package modbus

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"fieldferry/bus"
	"fieldferry/bus/modbus/rtu"
)

// For how long it is believed that a device refuses something.
const (
	firstRefused   = 2 * time.Second // one register
	longestRefused = time.Minute
	firstTrust     = 10 * time.Minute // several at once
	longestTrust   = 24 * time.Hour
	warnRefused    = time.Hour // a register's refusal is logged this often at most
	mostInVain     = 4         // registers refused one by one while none is read
	// enoughRefused stretched requests show that a device does not take such,
	// although each refusal may be another request's.
	enoughRefused = 3
	mostNamed     = 10 // registers in a report
)

const onlyThis = "timeout: the device answers, but not for this register"

// bisect reads the halves of a block that was refused.
func (l *Line) bisect(d *device, b block) error {
	half := len(b.members) / 2
	left, right := d.sub(b.members[:half]), d.sub(b.members[half:])
	refusedLeft, err := l.readLearning(d, left)
	if err != nil {
		return err
	}
	refusedRight, err := l.readLearning(d, right)
	if err != nil {
		return err
	}
	// Each half can be read, the whole cannot: a hole between them, or more
	// registers than the device gives at once.
	last := b.members[half-1]
	if !refusedLeft && !refusedRight && left.first+left.count >= right.first && d.clean(b) && !b.table.Bits() && b.count <= d.limit(b.table) {
		// There is no hole between them, so that it is their number.
		d.most = max(left.count, right.count)
		d.learned()
		l.log.Info("fewer registers at once are read from now on, the device refuses more", "device", d.cfg.Name,
			"refused", b.count, "registers", d.most)
		return nil
	}
	if !refusedLeft && !refusedRight && d.results[last].fail == "" && d.results[b.members[half]].fail == "" && !d.cuts[last] {
		d.holes[last] = true
		d.learned()
		d.recut()
		l.log.Info("registers are read apart from now on, the device refuses them together", "device", d.cfg.Name,
			"table", b.table.String(), "left", d.points[last].reg.Name, "right", d.points[b.members[half]].reg.Name)
	}
	return nil
}

// noteStretch notes that a stretched request failed. That a refusal may be
// another request's does no harm here, but one such is not enough.
func (d *device) noteStretch(err error) {
	var exception *rtu.ExceptionError
	if !errors.As(err, &exception) || exception.Code < 1 || exception.Code > 4 {
		return
	}
	if d.stretches++; !exception.Doubtful || d.stretches >= enoughRefused {
		d.exact = true
		d.learned()
	}
}

// sample asks for the last value of a block that was refused with err, and
// looks at the others only if it comes.
func (l *Line) sample(d *device, b block, err error) error {
	if _, fatal := l.readOne(d, d.sub(b.members[len(b.members)-1:])); fatal != nil {
		return fatal
	}
	if d.inVain == 0 {
		return l.bisect(d, b)
	}
	d.fail(b, err)
	for _, i := range b.members {
		d.points[i].read = false
	}
	return nil
}

// clean reports whether all members of b were read.
func (d *device) clean(b block) bool {
	for _, i := range b.members {
		if r := &d.results[i]; !r.done || r.fail != "" && !r.none {
			return false
		}
	}
	return true
}

// refuseAlone notes that point i, asked for by itself, brought err.
func (l *Line) refuseAlone(d *device, i int, err error) {
	switch {
	case isException(err):
		d.inVain++
		l.refuse(d, i, err.Error(), firstRefused)
	case isTimeout(err) && d.seen.answered && d.points[i].unread >= offlineAfter:
		l.refuse(d, i, onlyThis, longestRefused)
	case isTimeout(err):
		d.silent = append(d.silent, i) // until the device says something else
	case d.seen.answered: // a try costs little: no timeout
		l.refuse(d, i, err.Error(), firstRefused)
	}
}

// asWritten is the address as the configuration counts it.
func (r *Register) asWritten() int { return int(r.Address) + r.Base }

// refuse remembers that a point cannot be read, so that it no longer spoils
// the requests of its neighbours. It is tried again after least, then more rarely.
func (l *Line) refuse(d *device, i int, why string, least time.Duration) {
	p, now := &d.points[i], time.Now()
	if d.refusing == "" && (p.warned.IsZero() || now.Sub(p.warned) >= warnRefused) {
		p.warned = now
		l.log.Warn("a register cannot be read", "device", d.cfg.Name, "register", p.reg.Name,
			"table", p.reg.Table.String(), "address", p.reg.Address, "as_written", p.reg.asWritten(), "error", why)
	}
	if p.refused == "" { // what was left out until this was known says nothing of the load
		l.pace.restart()
	}
	p.rest = min(max(2*p.rest, least, p.reg.Interval), max(longestRefused, p.reg.Interval))
	p.refused, p.read, p.retry = why, false, now.Add(p.rest)
	d.recut()
}

// known reports whether b is a point that has been refused before.
func (d *device) known(b block) bool {
	return len(b.members) == 1 && d.points[b.members[0]].refused != ""
}

// recut brings cuts up to date: no request reaches across a hole or to a
// refused point.
func (d *device) recut() {
	for i := range d.cuts {
		d.cuts[i] = d.holes[i] || d.points[i].refused != "" || i+1 < len(d.points) && d.points[i+1].refused != ""
	}
}

// learned notes that something was, which is doubted after a while: longer
// each time it turns out to be so again.
func (d *device) learned() {
	if d.doubtAt.IsZero() {
		d.trust = min(max(2*d.trust, firstTrust), longestTrust)
		d.doubtAt = time.Now().Add(d.trust)
	}
}

// doubt forgets what was learned long ago: the device may have recovered.
func (d *device) doubt(now time.Time) {
	if !d.doubtAt.IsZero() && !now.Before(d.doubtAt) {
		trust := d.trust
		d.forget()
		d.trust = trust
	}
}

// forget forgets what was learned of what can be read together.
func (d *device) forget() {
	clear(d.holes)
	d.exact, d.stretches, d.most, d.doubtAt, d.trust = false, 0, 0, time.Time{}, 0
	d.recut()
}

// wanted leaves out what the device is known to refuse, but for a try now and then.
func (d *device) wanted(due []int, now time.Time) []int {
	ask := make([]int, 0, len(due))
	for _, i := range due {
		if p := &d.points[i]; p.refused != "" && now.Before(p.retry) {
			d.results[i] = result{done: true, fail: p.refused}
			continue
		}
		ask = append(ask, i)
	}
	return ask
}

// judgeRefusals looks at the refusals after a poll. A device that refuses
// whatever it is asked, as one that sleeps or starts, says nothing by that
// of single registers: it is asked one small question at each poll.
func (l *Line) judgeRefusals(d *device) {
	if d.refusing != "" || d.inVain == 0 || len(d.points) < 2 {
		return
	}
	for i := range d.points {
		if d.points[i].read {
			return
		}
	}
	for i := range d.points {
		p := &d.points[i]
		if p.refused != "" {
			d.refusing = p.refused
		}
		p.refused, p.rest = "", 0
	}
	d.forget()
	l.log.Warn("device refuses all its registers; one is tried at each poll", "device", d.cfg.Name, "error", d.refusing)
}

// countUnread counts for each point that was due how often it did not come, in
// whatever way it failed. What the device says of a value has come.
func (d *device) countUnread(due []int) {
	for _, i := range due {
		switch r := &d.results[i]; {
		case r.fail == "" || r.none:
			d.points[i].unread = 0
		case d.seen.answered && r.fail != d.points[i].refused: // it was asked for
			d.points[i].unread++
			d.points[i].fault = r.fail
		}
	}
}

// reportRefusals says of a device that has answered whether something that it is
// configured to be asked for never comes, while nothing else is wrong.
func (l *Line) reportRefusals(d *device) {
	refused, why, tried := d.refusedNow()
	n := len(refused)
	if !d.seen.answered || n == 0 && !tried || n == d.refusals {
		return
	}
	before := d.refusals
	d.refusals = n
	l.count(func(s *Stats) { s.Refused += n - max(before, 0) })
	switch {
	case n == 0 && before < 0: // as it should be
	case n == 0:
		l.event(bus.RegisterRefused, d.cfg.Name, bus.Cleared, map[string]any{"unit_id": int(d.cfg.UnitID)})
	default: // said again when they are others: what is shown is what holds
		var names, addresses []string // these as fieldferry modbus read takes them
		var written []int             // and as the configuration has them
		for _, r := range refused[:min(n, mostNamed)] {
			names, addresses = append(names, r.Name), append(addresses, fmt.Sprintf("%v:%d", r.Table, r.Address))
			if r.Base != 0 {
				written = append(written, r.asWritten())
			}
		}
		detail := map[string]any{"unit_id": int(d.cfg.UnitID),
			"registers": names, "addresses": addresses, "refused": n, "of": len(d.points), "error": why}
		if written != nil {
			detail["as_written"] = written
		}
		l.event(bus.RegisterRefused, d.cfg.Name, bus.Raised, detail)
	}
}

// refusedNow lists the registers that never come, and why the first does not.
// tried says that there is none the device was not asked for yet.
func (d *device) refusedNow() (refused []*Register, why string, tried bool) {
	tried, why = true, d.refusing
	for i := range d.points {
		switch p := &d.points[i]; {
		case d.refusing != "", p.refused != "":
			refused, why = append(refused, p.reg), cmp.Or(why, p.refused)
		case p.unread > offlineAfter: // the neighbours of such a point have been tried without it
			refused, why = append(refused, p.reg), cmp.Or(why, p.fault)
		case !p.read:
			tried = false
		}
	}
	return refused, why, tried
}

// stillRefusing notes what the question to a device that refuses everything,
// for point i, has brought.
func (d *device) stillRefusing(ask []int, i int) {
	d.turn++
	p := &d.points[i]
	if p.read {
		d.refusing = ""
		return
	}
	if p.refused != "" {
		d.refusing, p.refused, p.rest = p.refused, "", 0
		d.recut()
	}
	for _, k := range ask {
		if k != i && d.seen.answered {
			d.results[k] = result{done: true, fail: d.refusing}
		}
	}
}

// worthTelling leaves out failures of a silent device beyond its intervals:
// it is asked more often than that.
func (d *device) worthTelling(due []int) []int {
	if !d.offline {
		return due
	}
	now, told := time.Now(), due[:0]
	for _, i := range due {
		if p := &d.points[i]; !p.toldFail || now.Sub(p.toldAt) >= p.reg.Interval {
			told = append(told, i)
		}
	}
	return told
}

// isRefusal reports whether err says that the device does not have what was
// asked for: exceptions 1 to 4, which devices use for one another, and for a
// device that comes and goes a timeout. What has failed in the same polls that
// brought something else is taken for that whatever the failure is.
func (l *Line) isRefusal(d *device, b block, err error) bool {
	var exception *rtu.ExceptionError
	switch known := d.known(b) && isTimeout(err); {
	case isException(err), known:
		return true
	case errors.As(err, &exception) && (exception.Doubtful || exception.Code == 6): // it wants to be left alone
		return false
	case d.inRow > suspectMisses:
		return false
	case d.suspect && isTimeout(err):
		return true
	}
	enough := offlineAfter
	if len(b.members) == 1 { // which is not asked for a while then
		enough *= 2
	}
	return slices.ContainsFunc(b.members, func(i int) bool { return d.points[i].unread >= enough })
}

// isException reports whether err is a refusal by the exceptions 1 to 4, and
// nobody else's.
func isException(err error) bool {
	var exception *rtu.ExceptionError
	return errors.As(err, &exception) && !exception.Doubtful && exception.Code >= 1 && exception.Code <= 4
}

// isTimeout reports whether the device has not answered.
func isTimeout(err error) bool {
	return errors.As(err, new(*rtu.TimeoutError)) || errors.As(err, new(*closedError))
}
