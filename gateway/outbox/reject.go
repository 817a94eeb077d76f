package outbox

import (
	"time"

	"fieldferry/buffer"
	"fieldferry/gateway/payload"
	"fieldferry/uplink"
)

// reasonRejected is the word of a loss record for records whose message no
// broker will take. The buffer does not know it: it keeps the records until
// the loss is delivered, so that a restart loses neither.
const reasonRejected = "rejected"

// Rejection is a message that was given up, and whose loss the broker has taken.
type Rejection struct {
	_ [0]func() // nobody compares them: saves the code for it

	Source  string
	Session uint64
	Seq     uint64 // of its first record
	Count   int    // records
	Topic   string
	Bytes   int    // of the payload; 0: not known
	Reason  string // of the broker
}

// Limit implements [uplink.Queue].
func (q *Outbox) Limit(bytes int) bool {
	q.limit = bytes
	return bytes == 0 || bytes >= q.least()
}

// least is how many bytes of topic and payload the loss of a record takes, with
// large numbers and a short name.
func (q *Outbox) least() int {
	r := buffer.Record{Session: 1 << 31, Source: "can0", Seq: 1 << 53}
	body, err := q.cfg.Format.Append(nil, payload.Item{Record: &r, Lost: reasonRejected, Late: true})
	if err != nil { // none for a loss
		return 0
	}
	return len(q.cfg.Format.Topic(&r)) + q.cfg.Format.Overhead(r.Source) + len(body)
}

// Refused implements [uplink.Queue]. The topic is held, and the message tried
// again in smaller ones, alone, or later. Only a single record of which the
// broker says that it will never take it is told as lost; and if it does not
// take that either, it was not the record, and nothing is given up. Nor is it
// when nothing was taken since the last one was.
func (q *Outbox) Refused(m uplink.Message, v uplink.Verdict) {
	b := q.settle(m)
	if b == nil {
		return
	}
	now := time.Now()
	before := q.holdOf(b.topic)
	tried := before == nil || q.again.of == before && b.lane == &q.again.lane
	h := q.holdBack(b.topic)
	h.source = b.source
	q.keep(b)
	switch {
	case b.rejects:
		q.unmark(b.offsets)
		h.gaveUp = nil
	case before != nil && !tried: // it was on its way before the topic was held
		return
	case v.Final && b.count > 1:
		h.most = b.size / 2
		q.try(h, time.Time{})
		return
	case v.Final && !q.gave && h.gaveUp == nil:
		q.giveUp(h, b, m, v.Reason)
		return
	}
	if v.Ended {
		h.most, h.dear = 1, true
		if h.ended = 0; b.count == 1 {
			h.ended = enoughEnds
		}
	}
	q.refuses(b)
	q.putOff(h, v.Reason, now)
}

// giveUp tells the record of a message as lost, before anything else goes to
// its topic.
func (q *Outbox) giveUp(h *hold, b *batch, m uplink.Message, reason string) {
	q.gave = true
	h.gaveUp = &Rejection{
		Source: b.source, Session: b.session, Seq: b.seq, Count: b.count,
		Topic: m.Topic, Bytes: len(m.Payload), Reason: reason,
	}
	for _, s := range b.offsets {
		for o := s.from; o < s.to; o++ {
			q.rejected[o] = true
		}
	}
	q.try(h, time.Time{})
}

// unmark forgets that records are to be told as lost.
func (q *Outbox) unmark(offsets []span) {
	for o := range q.rejected {
		for _, s := range offsets {
			if o >= s.from && o < s.to {
				delete(q.rejected, o)
			}
		}
	}
}

// taken takes account of a message to a held topic that was acknowledged.
func (q *Outbox) taken(h *hold, b *batch) {
	if b.rejects && h.gaveUp != nil {
		if q.cfg.Rejected != nil {
			q.cfg.Rejected(*h.gaveUp)
		}
		h.gaveUp = nil
	}
	k := &q.again
	if k.of != h || b.lane != &k.lane {
		return // it was on its way before the topic was held
	}
	if h.most = 2 * h.most; h.most > q.cfg.MaxBytes {
		h.most = 0
	}
	if !k.probing {
		return
	}
	q.works(h)
	h.pause = 0
	switch {
	case !h.ahead:
		k.probing, h.freed, h.ended = false, true, 0
		if h.most == 2 { // it was one record, to see
			h.most = 0
		}
	case h.ended < enoughEnds: // the first one may have been unlucky
		h.ahead = false
		q.try(h, time.Now().Add(holdLeast))
	default: // it is the first record that no connection survives
		h.ahead, h.ended, q.gave = false, 0, true
		q.rejected[h.from] = true
		first := h.first
		h.gaveUp = &first
		q.try(h, time.Time{})
	}
}
