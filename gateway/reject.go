package gateway

import (
	"time"

	"fieldferry/buffer"
	"fieldferry/uplink"
)

// reasonRejected is the word of a loss record for records whose message no
// broker will take. The buffer does not know it: it keeps the records until
// the loss is delivered, so that a restart loses neither.
const reasonRejected = "rejected"

// rejection is a message that was given up.
type rejection struct {
	source  string
	session uint64
	seq     uint64 // of its first record
	count   int
	topic   string
	bytes   int
	reason  string
	untold  bool // not even the loss record was taken
}

// Limit implements [uplink.Queue].
func (q *queue) Limit(bytes int) { q.limit = bytes }

// Refused implements [uplink.Queue]: the records of the message are told as
// lost in their stream, one loss record each, before anything else. If that
// is refused as well, nothing is left but the alarm.
func (q *queue) Refused(m uplink.Message, reason string) {
	b := q.settle(m)
	if b == nil {
		return
	}
	if q.cfg.rejected != nil {
		q.cfg.rejected(rejection{
			source: b.source, session: b.session, seq: b.seq, count: b.count,
			topic: m.Topic, bytes: len(m.Payload), reason: reason, untold: b.rejects,
		})
	}
	if b.rejects {
		q.finish(b.run, b.offsets)
		return
	}
	for _, s := range b.offsets {
		for o := s.from; o < s.to; o++ {
			q.rejected[o] = true
		}
	}
	b.lane.refused = append(b.lane.refused, b)
}

// retell puts the records of refused messages into batches once more, before
// all others. What the buffer has no longer is told by the buffer.
func (l *lane) retell(now time.Time) {
	for len(l.refused) > 0 && !l.retry.After(now) {
		b := l.refused[0]
		l.closeAll()
		before, run := l.ready, l.run
		l.ready, l.run = nil, b.run
		for len(b.offsets) > 0 && l.reread(&b.offsets[0], now) {
			b.offsets = b.offsets[1:]
		}
		l.closeAll()
		for _, t := range l.ready {
			t.rejects = true
		}
		l.ready, l.run = append(l.ready, before...), run
		if len(b.offsets) == 0 {
			l.refused = l.refused[1:]
		}
	}
}

// reread puts the records of s into batches, and returns false when it could
// not read all of them.
func (l *lane) reread(s *span, now time.Time) bool {
	var read buffer.Batch
	for s.from < s.to {
		next, err := l.q.store.Read(s.from, &read, readRecords, readBytes)
		if err != nil {
			l.unreadable(err, now)
			return false
		}
		for i := range read.Records {
			r := &read.Records[i]
			if r.Offset >= s.to {
				break
			}
			l.q.finish(l.run, []span{{s.from, r.Offset}})
			l.add(r, now)
			s.from = r.Offset + 1
		}
		if len(read.Records) == 0 {
			next = s.to
		}
		if next = min(next, s.to); next > s.from {
			l.q.finish(l.run, []span{{s.from, next}})
			s.from = next
		}
	}
	return true
}
