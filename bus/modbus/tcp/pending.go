package tcp

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// busyWait is how long a far end is reckoned to be busy with a request that
// it has not answered. A gateway to a serial line asks one unit at a time, and
// waits 0.5 to 3 s for one that is not there.
const busyWait = 4 * time.Second

// mostVain is how many such waits in a row may bring nothing.
const mostVain = 2

// mostPending bounds what is remembered of requests without a reply.
const mostPending = 64

// pending is a request without a reply.
type pending struct {
	id     uint16
	unit   byte
	passed bool // a later request was answered: it holds up nothing
	at     time.Time
}

// pendings are requests without a reply, in the order they were sent.
type pendings []pending

func (s *pendings) add(p pending) {
	if len(*s) >= mostPending {
		*s = slices.Delete(*s, 0, 1)
	}
	*s = append(*s, p)
}

func (s pendings) index(id uint16) int {
	return slices.IndexFunc(s, func(p pending) bool { return p.id == id })
}

// answers reports whether a frame with this transaction id is the reply to the
// request in progress.
func (t *Transporter) answers(id uint16) bool {
	if id == t.last || slices.Contains(t.tries, id) && t.sent.index(id) >= 0 {
		return true
	}
	if !t.opts.AnyTransaction || len(t.sent) != 1 {
		return false
	}
	if !t.noticed.transaction {
		t.noticed.transaction = true
		t.opts.Notice(fmt.Sprintf("the reply to transaction %d has transaction id %d; replies are taken without regard to it", t.last, id))
	}
	return true
}

// settled takes the request that a frame answers off those without a reply.
func (t *Transporter) settled(frame []byte) {
	k := t.sent.index(binary.BigEndian.Uint16(frame))
	if k < 0 { // AnyTransaction
		k = len(t.sent) - 1
	}
	if t.sent[k].id != t.last {
		t.stats.LateReplies++
	}
	t.take(k, frame, true)
}

// take takes the k-th request off those without a reply. None of those sent
// before holds up another one any longer.
func (t *Transporter) take(k int, frame []byte, fresh bool) {
	p := t.sent[k]
	if fresh && !fromGateway(frame) {
		t.slowest[p.unit] = max(t.slowest[p.unit], time.Since(p.at))
	}
	t.vain = 0
	t.sent = slices.Delete(t.sent, k, k+1)
	for i := range k {
		t.sent[i].passed = true
	}
}

// fromGateway reports whether a reply is a gateway's, saying that the unit has
// not answered it (Application Protocol V1.1b3, 7: exceptions 0x0A and 0x0B).
func fromGateway(frame []byte) bool {
	return len(frame) == headerLen+2 && frame[headerLen]&exceptionBit != 0 && (frame[headerLen+1] == 0x0A || frame[headerLen+1] == 0x0B)
}

// overdue notes a frame that does not answer the request in progress, and
// reports whether it is a late reply. fresh means that it has come just now.
func (t *Transporter) overdue(frame []byte, fresh bool) bool {
	k := t.sent.index(binary.BigEndian.Uint16(frame))
	if k < 0 {
		t.stats.StrayBytes += uint64(len(frame))
		return false
	}
	t.stats.LateReplies++
	t.take(k, frame, fresh)
	return true
}

// deadline is until when the reply to the last request is waited for, and
// whether that is longer than the timeout because the far end may still be
// busy: with another unit for as long as gateways are, with the same one for
// as long as it is known to take.
func (t *Transporter) deadline(unit byte, now time.Time) (end time.Time, extended bool) {
	end = now.Add(t.timeout)
	if t.vain >= mostVain {
		return end, false
	}
	for _, p := range t.sent {
		if p.id == t.last || p.passed {
			continue
		}
		free := p.at.Add(busyWait)
		if p.unit == unit {
			free = p.at.Add(min(t.slowest[unit], busyWait))
		}
		if limit := free.Add(t.timeout); free.After(now) && limit.After(end) {
			end, extended = limit, true
		}
	}
	return end, extended
}
