package rtu

import (
	"bytes"
	"context"
	"errors"
	"time"
)

// errMayBeCopy says that a reply came which equals the reply to another
// request. Registers may well be equal; asking again tells.
var errMayBeCopy = errors.New("the reply may be a copy of an earlier one")

// doubt is why a reply may not be ours.
type doubt struct {
	alike    int  // replies of the same shape that are owed
	refusals int  // replies that are owed and may be refusals like ours
	copied   bool // it may be a copy of an earlier one
}

// before is how many replies may come before ours. The unit answers in order,
// so the last to come is ours.
func (d *doubt) before(exception bool) (n int) {
	n = d.alike
	if exception {
		n = max(n, d.refusals)
	}
	if d.copied {
		n++
	}
	return n
}

// receive reads until the reply is complete or the deadline has passed. A
// reply that has begun by then is let finish.
func (t *Transporter) receive(ctx context.Context, request []byte) ([]byte, error) {
	sent := t.last
	deadline := sent.Add(t.timeout)
	limit := deadline.Add(graceLimit)
	d := doubt{alike: t.debts.sameShape(request, time.Now()), refusals: t.debts.sameFunction(request)}
	for {
		n, err := t.read(ctx, deadline)
		now := time.Now()
		if err != nil {
			t.debts.add(request, sent, now)
			return nil, t.failed(err)
		}
		if n > 0 {
			had, _ := t.reader.Matches()
			matches := t.take(n, request, now)
			if matches > had && d.before(isException(t.reader.First())) == 0 && t.mayBeCopy(t.reader.First(), request, now) {
				d.copied = true
				deadline = earlier(deadline, now.Add(secondReply+2*t.debts.slowest[request[0]]))
			}
			if matches > 0 && t.isOurs(&d) {
				return t.accept(request, sent, &d)
			}
		}
		if now.Before(deadline) {
			continue
		}
		if matches, _ := t.reader.Matches(); matches > 0 {
			return t.accept(request, sent, &d)
		}
		if more := earlier(t.last.Add(gapGrace), limit); t.reader.Partial() && now.Before(more) {
			deadline = more
			continue
		}
		return t.missed(request, sent, now)
	}
}

// isOurs reports whether so many replies have come that the last is ours.
func (t *Transporter) isOurs(d *doubt) bool {
	if t.confirmed() {
		return true
	}
	if _, differ := t.reader.Matches(); d.copied && !differ {
		return false // a copy may come twice
	}
	if isException(t.reader.Last()) {
		matches, _ := t.reader.Matches()
		return matches > d.before(true)
	}
	return t.reader.Values() > d.before(false)
}

// take hands what was read to all who look for something in it.
func (t *Transporter) take(n int, request []byte, now time.Time) (matches int) {
	p := t.chunk[:n]
	t.last = now
	had, _ := t.reader.Matches()
	t.reader.Push(p)
	t.noteEcho()
	matches, _ = t.reader.Matches()
	t.listenIn(p, request, true, matches > had, now)
	return matches
}

// listenIn looks in p, in which there was a reply to the request in progress or
// not, for what else it can tell: late replies, copies, other masters.
func (t *Transporter) listenIn(p, request []byte, fresh, replied bool, now time.Time) {
	paid := t.debts.observe(p, request, fresh, now, &t.recent)
	t.stats.LateReplies += uint64(paid)
	if paid == 0 && !replied && t.recent.within(p, now) {
		t.copies = now.Add(reckonFor)
	}
	t.overhear(p, now)
}

// confirmed reports whether the request, asked again because of a doubt, has
// brought the same again. Registers may be equal.
func (t *Transporter) confirmed() bool {
	matches, _ := t.reader.Matches()
	return t.confirming && matches == 1 && bytes.Equal(t.reader.First(), t.doubted)
}

// mayBeCopy reports whether frame could be a copy of an earlier reply.
func (t *Transporter) mayBeCopy(frame, request []byte, now time.Time) bool {
	// Refusals are rare and all alike, so each is doubted, and is no trial.
	refusal := isException(frame)
	if t.confirming {
		return false
	}
	// A write is not asked again, and the replies to two writes of one register
	// may be equal: they are doubted only where copies have been heard.
	if Writes(request[1]) {
		return t.reckons(t.copies) && (t.recent.again(frame, request, now) || t.recent.copyOf(frame, request, now))
	}
	// The first asking of the same may have been answered twice. A value is then
	// right as well, but the reply to this asking is still to come.
	if (refusal || t.reckons(t.copies)) && t.recent.again(frame, request, now) {
		return true
	}
	if !refusal && t.trials <= 0 && !t.reckons(t.copies) || !t.recent.copyOf(frame, request, now) {
		return false
	}
	if !refusal {
		t.trials--
	}
	return true
}

func (t *Transporter) accept(request []byte, sent time.Time, d *doubt) ([]byte, error) {
	now := t.last
	matches, differ := t.reader.Matches()
	frame := t.reader.First()
	before := d.before(isException(frame))
	if before > 0 {
		frame = t.reader.Last()
	}
	if matches > 1 && (d.copied || before == 0) {
		t.copies = now.Add(reckonFor)
	}
	mismatch := ""
	switch {
	case t.reader.Tainted():
		t.debts.add(request, sent, now)
		mismatch = "another master asks the same unit"
	case differ && before == 0 && !t.recent.copyOf(t.reader.Last(), request, now):
		if t.reader.Values() < matches { // a refusal, perhaps of an earlier request
			t.debts.add(request, sent, now)
		}
		mismatch = "two different replies; two devices have the same unit id"
	case differ && !d.copied && t.debts.another(request):
		// The unit should have answered the earlier request first, but it is
		// slower than anything known of it.
		if t.reader.Values() > d.alike {
			t.debts.settle(request, sent, t.reader.Values(), differ)
		} else { // refusals among them, perhaps of others
			t.debts.add(request, sent, now)
		}
		mismatch = "two different replies, one of them to an earlier request"
	case differ && (d.copied || t.reckons(t.copies)) && t.recent.copyOf(frame, request, now):
		t.debts.add(request, sent, now) // neither may be ours
		mismatch = "two different replies, the last like an earlier one; something on the line repeats frames"
	case d.copied && !differ, before > 0 && !d.copied && t.mayBeCopy(frame, request, now):
		t.doubted = append(t.doubted[:0], frame...)
		t.debts.add(request, sent, now)
		return nil, errMayBeCopy
	}
	if mismatch != "" {
		return nil, t.failed(&MismatchError{Unit: request[0], Bytes: len(frame), Reason: mismatch})
	}
	if t.confirmed() {
		// Where frames are repeated or late, the same refusal twice may be one
		// of an earlier request and one of two.
		if !isException(frame) || !now.Before(t.copies) && t.debts.slowest[request[0]] <= t.timeout && t.debts.sameFunction(request) == 1 {
			t.debts.forgive(request)
		}
		*d = doubt{refusals: t.debts.sameFunction(request)}
	}
	t.debts.learn(request[0], now.Sub(sent))
	frame = t.recent.keep(request, frame, now)
	if isException(frame) {
		t.stats.Exceptions++
		doubtful := d.refusals > 0
		if doubtful { // it may be an earlier request's
			t.debts.add(request, sent, now)
		}
		return nil, &ExceptionError{Unit: request[0], Function: request[1], Code: frame[2], Doubtful: doubtful}
	}
	t.debts.settle(request, sent, t.reader.Values(), differ)
	t.stats.Replies++
	return frame, nil
}

// missed ends an exchange without a reply.
func (t *Transporter) missed(request []byte, sent, now time.Time) ([]byte, error) {
	err := t.reader.Verdict(t.timeout)
	// A damaged reply has come; anything else may still be on its way. Where
	// there is another master it may have been that one's reply, and where the
	// unit owes one, that.
	if t.reckons(t.masters) || !t.reader.Damaged() || t.debts.sameFunction(request) > 0 {
		t.debts.add(request, sent, now)
	}
	return nil, t.failed(err)
}

// overhear notes the requests of other masters: their replies are owed as well.
func (t *Transporter) overhear(p []byte, now time.Time) {
	t.tap.push(p, func(request, rest []byte) {
		t.masters = now.Add(reckonFor)
		if d := t.debts.add(request, now, now); d != nil && d.reader.Push(rest) {
			t.debts.drop(len(t.debts.list) - 1)
		}
	})
}

// tap finds the read requests of other masters in what is heard.
type tap struct {
	_ [0]func() // nobody compares them: saves the code for it

	own [requestLen]byte // our last request, which may come back
	buf [requestLen - 1 + MaxADU]byte
	n   int
}

func (t *tap) begin(request []byte) {
	t.n = 0
	t.own = [requestLen]byte{}
	copy(t.own[:], request)
}

// push calls found with each request and what followed it.
func (t *tap) push(p []byte, found func(request, rest []byte)) {
	for len(p) > 0 {
		k := copy(t.buf[t.n:], p)
		p = p[k:]
		t.n += k
		i := 0
		for ; t.n-i >= requestLen; i++ {
			if q := t.buf[i : i+requestLen]; isRead(q) && !bytes.Equal(q, t.own[:]) {
				found(q, t.buf[i+requestLen:t.n])
				i += requestLen - 1
			}
		}
		i = min(i, t.n)
		t.n = copy(t.buf[:], t.buf[i:t.n])
	}
}

// isRead reports whether q is a read request with a right CRC.
func isRead(q []byte) bool {
	count := int(q[4])<<8 | int(q[5])
	switch q[1] {
	case ReadCoils, ReadDiscreteInputs:
		return q[0] != 0 && count >= 1 && count <= MaxBits && ValidCRC(q)
	case ReadHoldingRegisters, ReadInputRegisters:
		return q[0] != 0 && count >= 1 && count <= MaxRegisters && ValidCRC(q)
	}
	return false
}

// recentAge is how long a reply is remembered, to know a copy of it.
const recentAge = 2500 * time.Millisecond

// refusedAge is for how long after a refusal the same refusal of the same
// request may be its copy. For values that is secondReply: registers asked for
// again and again stay the same, and doubting them is dear.
const refusedAge = 500 * time.Millisecond

// recent are the last replies, each with its request.
type recent struct {
	list [64]struct {
		asked [requestLen]byte
		frame [MaxADU]byte
		n     int
		at    time.Time
	}
	next int
}

// keep notes a reply and returns its copy, which stays until 64 others came.
func (r *recent) keep(request, frame []byte, now time.Time) []byte {
	e := &r.list[r.next]
	r.next = (r.next + 1) % len(r.list)
	e.asked = [requestLen]byte{}
	copy(e.asked[:], request)
	e.n, e.at = copy(e.frame[:], frame), now
	return e.frame[:e.n]
}

// has reports whether such a frame has come of late.
func (r *recent) has(frame []byte, now time.Time) bool {
	for i := range r.list {
		if e := &r.list[i]; e.n == len(frame) && now.Sub(e.at) < recentAge && bytes.Equal(e.frame[:e.n], frame) {
			return true
		}
	}
	return false
}

// within reports whether such a frame is somewhere in p.
func (r *recent) within(p []byte, now time.Time) bool {
	for i := range r.list {
		if e := &r.list[i]; e.n > 0 && now.Sub(e.at) < recentAge && bytes.Contains(p, e.frame[:e.n]) {
			return true
		}
	}
	return false
}

// copyOf reports whether frame could be the reply to another request, sent
// twice.
func (r *recent) copyOf(frame, request []byte, now time.Time) bool {
	for i := range r.list {
		e := &r.list[i]
		if e.n == len(frame) && now.Sub(e.at) < recentAge && bytes.Equal(e.frame[:e.n], frame) &&
			!bytes.HasPrefix(request, e.asked[:]) {
			return true
		}
	}
	return false
}

// again reports whether frame could be the reply to the request before, which
// was the same, sent twice.
func (r *recent) again(frame, request []byte, now time.Time) bool {
	age := secondReply
	if isException(frame) {
		age = refusedAge
	}
	for i := range r.list {
		e := &r.list[i]
		if e.n == len(frame) && now.Sub(e.at) < age && bytes.Equal(e.frame[:e.n], frame) && bytes.HasPrefix(request, e.asked[:]) {
			return true
		}
	}
	return false
}
