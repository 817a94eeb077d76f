package modbus

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"fieldferry/bus/modbus/rtu"
)

// result is what a poll found out about one point.
type result struct {
	done  bool
	value Value
	fail  string
	none  bool // fail is what the device says of the value, not of the request
	// for a value with a scale register:
	raw     [8]byte // as it came
	request uint64  // which brought it
	at      time.Time
	power   int  // of ten, if agreed
	agreed  bool // value and power are of one moment
}

// errHeld means that a request was not sent, because the reply to an earlier
// one may still come and would look like its own.
var errHeld = errors.New("not asked: a late reply to an earlier request may still come")

// poll reads what is due of a device and hands over one reading. Its error
// means that the port is lost or the context has ended.
func (l *Line) poll(d *device, now time.Time) error {
	d.doubt(now)
	d.inVain = 0
	due, overruns := d.takeDue(now)
	l.count(func(s *Stats) { s.Polls++; s.Overruns += overruns })
	l.keepPace(overruns, now)
	clear(d.results)
	d.seen.answered, d.seen.missed, d.seen.held = false, false, false
	err := l.readAll(d, d.wanted(due, now))
	if err == nil {
		err = l.agree(d, due)
	}
	for _, i := range due {
		r := &d.results[i]
		if r.done {
			continue
		}
		r.done, r.fail = true, "not asked: the device did not answer an earlier request"
		if err != nil {
			r.fail = err.Error()
		}
	}
	switch {
	case err != nil:
	case d.seen.answered && d.seen.held: // so that each goes before what holds it back in time
		d.turn++
	case d.seen.answered:
	case d.seen.missed:
		l.silence(d, now)
	case d.offline: // nothing could be asked yet
		d.probeAt = time.Now().Add(time.Second)
	}
	switch {
	case !d.seen.missed:
		d.suspect, d.partial = false, 0
	case d.seen.answered:
		d.partial++
		d.suspect = d.suspect || d.partial >= offlineAfter
	}
	d.scale(due)
	if err == nil {
		d.countUnread(due)
		l.judgeRefusals(d)
		l.reportRefusals(d)
	}
	l.show(d)
	if err == nil || l.ctx.Err() == nil {
		l.deliver(d, d.worthTelling(due))
	}
	return err
}

// readAll reads the points in as few requests as possible. A device that does
// not answer costs the others two timeouts at most, one if it is known for it.
func (l *Line) readAll(d *device, ask []int) error {
	if len(ask) == 0 {
		return nil
	}
	missed := 0
	one := func(b block) error {
		d.seen.missed = false
		err := l.read(d, b)
		if d.seen.missed {
			missed++
		}
		return err
	}
	if d.offline || d.refusing != "" { // one small question first
		i := ask[d.turn%len(ask)]
		err := one(d.sub([]int{i}))
		if d.refusing != "" {
			d.stillRefusing(ask, i)
		}
		if err != nil || d.offline || d.refusing != "" {
			d.seen.missed = missed > 0
			return err
		}
	}
	blocks := d.merge(ask)
	for n := range blocks {
		if missed >= d.allowedMisses() {
			break
		}
		if err := one(blocks[(n+d.turn)%len(blocks)]); err != nil {
			return err
		}
	}
	d.seen.missed = missed > 0
	return nil
}

// allowedMisses is how many requests of a poll may go unanswered before the
// rest is left out.
func (d *device) allowedMisses() int {
	switch {
	case d.suspect:
		return suspectMisses
	case d.failures > 0:
		return 1
	default:
		return 2
	}
}

// read reads one block and notes the results. If the device refuses the whole
// of several values it is asked for halves, and what cannot be read together
// is remembered.
func (l *Line) read(d *device, b block) error {
	_, err := l.readLearning(d, b)
	return err
}

// readLearning reports whether a part of b was refused. A one-shot read that
// waits goes first.
func (l *Line) readLearning(d *device, b block) (refused bool, fatal error) {
	if err := l.giveWay(); err != nil {
		return false, err
	}
	b, rest := l.distinguish(d, b)
	refused, fatal = l.readOne(d, b)
	switch {
	case rest == nil || fatal != nil:
		return refused, fatal
	case b.members == nil: // it has shown that nothing is owed any more, or not
		return l.readOne(d, *rest)
	}
	also, fatal := l.readLearning(d, *rest)
	return refused || also, fatal
}

func (l *Line) readOne(d *device, b block) (refused bool, fatal error) {
	data, err := l.request(d, b)
	switch {
	case err == nil:
		d.take(b, data)
		if b.stretched {
			d.stretches = 0
		}
		return false, nil
	case isPortLost(err):
		return false, err
	case b.stretched:
		d.noteStretch(err)
		d.fail(b, errHeld)
		return false, nil
	case !l.isRefusal(d, b, err):
		d.fail(b, err)
		return false, nil
	case len(b.members) == 1:
		d.fail(b, err)
		l.refuseAlone(d, b.members[0], err)
		return true, nil
	case d.inVain >= mostInVain: // it seems to refuse everything
		return true, l.sample(d, b, err)
	}
	return true, l.bisect(d, b)
}

// distinguish changes a request whose reply would look like one the device
// still owes: it takes fewer values, or more where the configuration reads them
// together. Else another request goes before it: the right reply to one of
// another shape shows that nothing more is owed.
func (l *Line) distinguish(d *device, b block) (block, *block) {
	if l.hold(d, b) <= 0 {
		return b, nil
	}
	for k := len(b.members) - 1; k > 0; k-- {
		if left := d.sub(b.members[:k]); l.hold(d, left) <= 0 {
			right := d.sub(b.members[k:])
			return left, &right
		}
	}
	if d.exact {
		return b, nil
	}
	probe := l.another(d, b)
	for n := 1; probe.count == 0 && n < d.points[b.members[0]].width; n++ { // a part of a value
		if part := (block{table: b.table, first: b.first, count: n, stretched: true}); l.hold(d, part) <= 0 {
			probe = part
		}
	}
	switch {
	case probe.count == 0:
		return b, nil
	case probe.members != nil:
		return probe, nil
	}
	return probe, &b
}

// another is a request that the configuration leads to, of a shape that is not
// owed: with all of b, or else any. Its count is 0 if there is none.
func (l *Line) another(d *device, b block) (found block) {
	all := make([]int, len(d.points))
	for i := range all {
		all[i] = i
	}
	for i := range all {
		run := block{table: d.points[i].reg.Table, first: d.points[i].first, stretched: true}
		for n := range d.joinable(all[i:]) {
			run.count = max(run.count, d.points[i+n].first+d.points[i+n].width-run.first)
			switch {
			case d.points[i].refused != "" || run.count > d.limit(run.table) || l.hold(d, run) > 0:
			case run.table == b.table && run.first <= b.first && run.first+run.count >= b.first+b.count:
				run.members = b.members
				return run
			case found.count == 0:
				found = run
			}
		}
	}
	return found
}

func (l *Line) hold(d *device, b block) time.Duration {
	return l.wire.Hold(d.cfg.UnitID, b.table.Function(), uint16(b.first), uint16(b.count))
}

// request sends one block, again if that is worth while. A device that failed
// before is not asked again: that would cost the others time.
func (l *Line) request(d *device, b block) ([]byte, error) {
	if l.hold(d, b) > 0 {
		d.seen.held = true
		return nil, errHeld
	}
	tries := 1 + l.cfg.Retries
	if d.failures > 0 || d.suspect || d.known(b) {
		tries = 1
	}
	for try, patience := 1, 0; ; try++ {
		l.again = try > 1 || patience > 0
		l.wire.SetTimeout(l.timeoutOf(d)) // an order may have changed it
		l.probing = b.stretched
		data, err := d.ask(b)
		l.probing = false
		var exception *rtu.ExceptionError
		code := byte(0)
		if errors.As(err, &exception) {
			code = exception.Code
		}
		switch {
		case code == 5 && patience < mostPatience && !d.known(b): // it works on it
			patience++
			try--
			if err := l.listen(acknowledged); err != nil {
				return nil, err
			}
			continue
		case code == 10, code == 11: // a gateway says that the device has not answered it
			if try >= tries {
				l.miss(d, err)
				return nil, err
			}
			if err := l.listen(acknowledged); err != nil {
				return nil, err
			}
		case err == nil, exception != nil:
			d.replied = time.Now()
			d.patience(code)
			l.answered(d)
			return data, err
		case isPortLost(err):
			return nil, err
		case try >= tries, errors.As(err, new(*closedError)): // which was two tries already
			l.miss(d, err)
			return nil, err
		}
		unit, fatal := l.serveOrder(true)
		switch {
		case fatal != nil:
			return nil, fatal
		case unit == int(d.cfg.UnitID): // what this one owes now could be taken for the reply
			l.miss(d, err)
			return nil, err
		}
		l.count(func(s *Stats) { s.Retries++ })
	}
}

// timeoutOf is how long a reply of the device is waited for.
func (l *Line) timeoutOf(d *device) time.Duration { return cmp.Or(d.cfg.Timeout, l.cfg.Timeout) }

// listen lets d pass, and orders. That a connection ends meanwhile shows at the
// next request.
func (l *Line) listen(d time.Duration) error {
	for end := time.Now().Add(d); ; {
		if _, err := l.serveOrder(true); err != nil {
			return err
		}
		rest := time.Until(end)
		if rest <= 0 {
			return nil
		}
		err := l.wire.Listen(l.ctx, min(rest, listenSlice))
		if l.closed(err) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// miss notes a request that the device has not answered, in all its tries.
func (l *Line) miss(d *device, err error) {
	d.seen.missed = true
	d.inRow++
	if d.fault == "" {
		d.fault = err.Error()
	}
}

// patience leaves a device that says it is busy (exception 6) alone, longer
// each time.
func (d *device) patience(code byte) {
	if code != 6 {
		d.busyFor = 0
		return
	}
	d.busyFor = min(max(2*d.busyFor, firstBusy), longestBusy)
	d.busyUntil = time.Now().Add(d.busyFor)
}

// ask reads a block with goburrow's client and checks the length, which it
// does not.
func (d *device) ask(b block) (data []byte, err error) {
	address, count := uint16(b.first), uint16(b.count)
	switch b.table {
	case Input:
		data, err = d.client.ReadInputRegisters(address, count)
	case Coil:
		data, err = d.client.ReadCoils(address, count)
	case Discrete:
		data, err = d.client.ReadDiscreteInputs(address, count)
	default:
		data, err = d.client.ReadHoldingRegisters(address, count)
	}
	if want := rtu.ByteCount(b.table.Function(), b.count); err == nil && len(data) != want {
		return nil, fmt.Errorf("reply of %d bytes instead of %d", len(data), want)
	}
	return data, err
}

func (d *device) take(b block, data []byte) {
	d.taken++
	now := time.Now()
	for _, i := range b.members {
		p := &d.points[i]
		at := p.first - b.first
		r := result{done: true, request: d.taken, at: now}
		if b.table.Bits() {
			bit := [2]byte{0, data[at/8] >> (at % 8) & 1}
			r.value, r.fail = p.convert.value(bit[:])
		} else {
			raw := data[2*at : 2*(at+p.width)]
			copy(r.raw[:], raw)
			r.value, r.fail = p.convert.value(raw)
		}
		r.none = r.fail != ""
		d.results[i] = r
		p.read, p.rest = true, 0
		if p.refused != "" {
			p.refused = ""
			d.recut()
		}
	}
	d.inVain = 0
}

func (d *device) fail(b block, err error) {
	for _, i := range b.members {
		d.results[i] = result{done: true, fail: err.Error()}
	}
}

// deliver hands the results of a poll over, without what is held back.
func (l *Line) deliver(d *device, due []int) {
	now := time.Now()
	reading := Reading{Time: d.replied, Device: d.cfg.Name, Answered: d.seen.answered, Whole: d.refusals == 0}
	if !d.seen.answered {
		reading.Time = now
	}
	l.observe(d, due, &reading)
	good := uint64(0)
	for _, i := range due {
		p, r := &d.points[i], &d.results[i]
		if r.fail == "" {
			good = 1
		}
		if p.hidden || !p.tells(r, now) {
			continue
		}
		p.hasTold, p.told, p.toldFail, p.toldAt = true, r.value, r.fail != "", now
		if r.fail != "" {
			reading.Failures = append(reading.Failures, Failure{Name: p.reg.Name, Err: r.fail})
		} else {
			reading.Values = append(reading.Values, r.value)
		}
	}
	if len(reading.Values)+len(reading.Failures) > 0 {
		l.handler.Reading(&reading)
	}
	l.count(func(s *Stats) { s.Good += good })
}

// observe hands over all that a poll has yielded, to a handler that wants to see
// it. The values are those of reading, which is empty yet.
func (l *Line) observe(d *device, due []int, reading *Reading) {
	o, ok := l.handler.(Observer)
	if !ok {
		return
	}
	all := *reading
	for _, i := range due {
		p, r := &d.points[i], &d.results[i]
		switch {
		case p.hidden:
		case r.fail != "":
			all.Failures = append(all.Failures, Failure{Name: p.reg.Name, Err: r.fail})
		default:
			all.Values = append(all.Values, r.value)
		}
	}
	o.Observe(&all)
}

// tells reports whether a result is worth publishing.
func (p *point) tells(r *result, now time.Time) bool {
	limit := &p.reg.Limit
	onChange := p.reg.OnChange || limit.Deadband > 0
	if !p.hasTold || (r.fail != "") != p.toldFail {
		return true
	}
	since := now.Sub(p.toldAt)
	switch {
	case since < limit.MinInterval:
		return false
	case limit.MaxInterval > 0 && since >= limit.MaxInterval, !onChange:
		return true
	case r.fail != "": // as before; that the reason is another one is not a change
		return false
	}
	return !r.value.near(p.told, limit)
}
