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

// receive reads until the reply is complete or the deadline has passed. A
// reply that has begun by then is let finish.
func (t *Transporter) receive(ctx context.Context, request []byte) ([]byte, error) {
	sent := t.last
	deadline := sent.Add(t.timeout)
	limit := deadline.Add(graceLimit)
	// While a reply of the same shape is owed, a reply may be that one. The
	// unit answers in order, so the last to come is ours.
	others, copied := t.debts.sameShape(request, time.Now()), false
	refusals := t.debts.sameFunction(request)
	for {
		n, err := t.read(ctx, deadline)
		now := time.Now()
		if err != nil {
			t.debts.add(request, sent, now)
			return nil, t.failed(err)
		}
		if n > 0 {
			before, _ := t.reader.Matches()
			matches := t.take(n, request, now)
			if matches > before && others == 0 {
				if others, copied = t.doubts(request, refusals); copied {
					deadline = earlier(deadline, now.Add(secondReply+2*t.debts.slowest[request[0]]))
				}
			}
			if matches > others {
				return t.accept(request, sent, others, copied)
			}
		}
		if now.Before(deadline) {
			continue
		}
		if matches, _ := t.reader.Matches(); matches > 0 {
			return t.accept(request, sent, others, copied)
		}
		if more := earlier(t.last.Add(gapGrace), limit); t.reader.Partial() && now.Before(more) {
			deadline = more
			continue
		}
		return t.missed(request, sent, now)
	}
}

// take hands what was read to all who look for something in it.
func (t *Transporter) take(n int, request []byte, now time.Time) (matches int) {
	p := t.chunk[:n]
	t.last = now
	t.reader.Push(p)
	t.noteEcho()
	t.stats.LateReplies += uint64(t.debts.observe(p, request, true, now, &t.recent))
	t.overhear(p, now)
	matches, _ = t.reader.Matches()
	return matches
}

// doubts says how many other replies may come before ours although none of
// the same shape is owed: one of the refusals owed for the function, which show
// neither address nor count, or a copy of an earlier reply.
func (t *Transporter) doubts(request []byte, refusals int) (others int, copied bool) {
	frame := t.reader.First()
	if frame[1]&exceptionBit != 0 && refusals > 0 {
		return refusals, false
	}
	if (t.trials > 0 || t.cfg.Careful) && !t.confirming && t.recent.copyOf(frame, request, time.Now()) {
		t.trials--
		return 1, true
	}
	return 0, false
}

func (t *Transporter) accept(request []byte, sent time.Time, others int, copied bool) ([]byte, error) {
	now := t.last
	matches, differ := t.reader.Matches()
	frame := t.reader.First()
	if others > 0 {
		frame = t.reader.Last()
	}
	if copied && matches > 1 {
		t.trials = 1000 * duplicateTrials
	}
	switch {
	case t.reader.Tainted():
		t.debts.add(request, sent, now)
		return nil, t.failed(&MismatchError{Unit: request[0], Bytes: len(frame), Reason: "another master asks the same unit"})
	case differ && others == 0:
		return nil, t.failed(&MismatchError{Unit: request[0], Bytes: len(frame), Reason: "two different replies; two devices have the same unit id"})
	case differ && copied && t.recent.copyOf(frame, request, now):
		return nil, t.failed(&MismatchError{Unit: request[0], Bytes: len(frame), Reason: "two different replies, both like earlier ones; something on the line repeats frames"})
	}
	if copied && matches == 1 && t.cfg.Careful {
		t.debts.add(request, sent, now)
		return nil, errMayBeCopy
	}
	t.debts.learn(request[0], now.Sub(sent))
	frame = t.recent.keep(request, frame, now)
	if frame[1]&exceptionBit != 0 {
		t.stats.Exceptions++
		if t.cfg.Careful && others > 0 && matches <= others && !copied {
			t.debts.add(request, sent, now) // the refusal may be an earlier request's
		}
		return nil, &ExceptionError{Unit: request[0], Function: request[1], Code: frame[2], Doubtful: t.debts.owes(request[0], now)}
	}
	t.debts.settle(request, sent, matches, differ)
	t.stats.Replies++
	return frame, nil
}

// missed ends an exchange without a reply.
func (t *Transporter) missed(request []byte, sent, now time.Time) ([]byte, error) {
	err := t.reader.Verdict(t.timeout)
	// A damaged reply has come; anything else may still be on its way. It may
	// also have been another frame that was damaged.
	if t.cfg.Careful || !t.reader.Damaged() {
		t.debts.add(request, sent, now)
	}
	return nil, t.failed(err)
}

// overhear notes the requests of other masters: their replies are owed as well.
func (t *Transporter) overhear(p []byte, now time.Time) {
	t.tap.push(p, func(request, rest []byte) {
		if d := t.debts.add(request, now, now); d != nil && d.reader.Push(rest) {
			t.debts.drop(len(t.debts.list) - 1)
		}
	})
}

// tap finds the read requests of other masters in what is heard.
type tap struct {
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
