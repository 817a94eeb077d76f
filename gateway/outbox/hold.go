package outbox

import (
	"time"

	"fieldferry/buffer"
)

const (
	// maxHolds is how many topics are held one by one; further ones share a
	// hold, so that memory has a bound.
	maxHolds = 256
	// A held topic is tried again after holdLeast, and after twice as long
	// each time up to holdMost. A try that cost the connection is dear to all
	// other topics: the next one comes after dearLeast to dearMost.
	holdLeast, holdMost = 15 * time.Second, 2 * time.Minute
	dearLeast, dearMost = 30 * time.Second, 10 * time.Minute
	// Some brokers (mosquitto 2.0.11 for one) refuse a message and hang up.
	hangUp = time.Second
	// readsAtOnce bounds how long passing over what is held keeps a lane busy.
	readsAtOnce = 64
)

// enoughEnds is how many connections have to end with a record, and none with
// the one behind it, for the record to be given up.
const enoughEnds = 5

// reasonEnded is why a topic is held that connections end with.
const reasonEnded = "the connection ends with it"

// hold is a topic the broker does not take for now. What goes there stays in
// the buffer, and all lanes pass over it. From time to time one message is
// sent to see. When the broker takes it, what has gathered is sent in order,
// up to where the live lane is; then the topic is no longer held.
type hold struct {
	_ [0]func() // nobody compares them: saves the code for it

	topic   string    // empty: all topics that have no hold of their own
	source  string    // of the message refused last
	from    uint64    // nothing that waits is before it
	first   Rejection // what that would be, should it be given up
	until   uint64    // what waits was seen up to here
	flight  int       // messages in flight
	retry   time.Time
	pause   time.Duration // before the next retry
	most    int           // bytes of a message to try with; 0: any
	ahead   bool          // try with the second record: the first one alone may be to blame
	ended   int           // so often in a row a connection ended with the first one
	refused time.Time     // last
	dear    bool          // connections end with it, or soon after
	freed   bool          // the broker takes it again
	told    bool          // somebody knows of it
	gaveUp  *Rejection    // its message is told as lost, which the broker has to take first
}

// catchup sends what a hold has kept back, one hold after the other.
type catchup struct {
	lane
	flow
	of      *hold // nil: nothing is due
	probing bool  // one message was handed out to see
	passed  bool  // the first record, see hold.ahead
	turn    bool  // it goes before the other lanes, every other time
}

// holdOf is the hold of a topic, nil if there is none.
func (q *Outbox) holdOf(topic string) *hold {
	if len(q.holds) == 0 {
		return nil
	}
	if h := q.holds[topic]; h != nil {
		return h
	}
	return q.others
}

// holdBack begins to hold a topic, or returns the hold it has.
func (q *Outbox) holdBack(topic string) *hold {
	h := q.holdOf(topic)
	if h != nil {
		return h
	}
	q.keepDone()
	h = &hold{topic: topic, from: q.store.First()}
	if len(q.holds) >= maxHolds {
		h.topic, q.others = "", h
	} else {
		q.holds[topic] = h
	}
	for _, b := range q.inFlight {
		if b.of == nil && q.holdOf(b.topic) == h {
			b.of = h
			h.flight++
		}
	}
	q.live.giveBack(h)
	if q.late != nil {
		q.late.giveBack(h)
	}
	return h
}

// putOff sees to it that a hold is tried again later, and is known of.
func (q *Outbox) putOff(h *hold, reason string, now time.Time) {
	least, most := holdLeast, holdMost
	if h.dear {
		least, most = dearLeast, dearMost
	}
	h.pause, h.refused = min(max(2*h.pause, least), most), now
	q.try(h, now.Add(h.pause))
	if !h.told && q.cfg.Denied != nil {
		q.cfg.Denied(h.topic, reason)
	}
	h.told = true
	q.noteRefusals()
}

// try sets when the next message is sent to see.
func (q *Outbox) try(h *hold, at time.Time) {
	h.freed, h.retry, q.dueAt = false, at, time.Time{}
	if q.again.of == h {
		q.again.leave()
	}
}

// release ends a hold.
func (q *Outbox) release(h *hold) {
	q.works(h)
	if q.again.of == h {
		q.again.leave()
	}
	if q.others == h {
		q.others = nil
	} else {
		delete(q.holds, h.topic)
	}
	q.sweep = q.sweep || q.cfg.Format.ByRecord()
}

// sweepUp makes the lanes look at the whole buffer once more. What the buffer
// had to drop while it was held is told by losses, and where each record has a
// topic of its own those go to another one, behind the lanes.
func (q *Outbox) sweepUp(now time.Time) {
	q.sweep = false
	q.keepDone()
	q.again.leave()
	q.late = nil
	q.place(now)
}

// works says that what the hold was about is over.
func (q *Outbox) works(h *hold) {
	if h.told && q.cfg.Allowed != nil {
		q.cfg.Allowed(h.topic)
	}
	h.told = false
	q.noteRefusals()
}

// giveBack leaves to a hold what the lane has ready for it.
func (l *lane) giveBack(h *hold) {
	kept := l.ready[:0]
	for _, b := range l.ready {
		if l.q.holdOf(b.topic) == h {
			l.q.keep(b)
		} else {
			kept = append(kept, b)
		}
	}
	clear(l.ready[len(kept):])
	l.ready = kept
	for key, b := range l.open {
		if l.q.holdOf(b.topic) == h {
			b.closed = true
			delete(l.open, key)
			l.q.keep(b)
		}
	}
}

// keep leaves the records of a batch to the hold of its topic.
func (q *Outbox) keep(b *batch) {
	if h, n := q.holdOf(b.topic), len(b.offsets); h != nil && n > 0 {
		h.until = max(h.until, b.offsets[n-1].to)
	}
	if b.run != nil {
		q.pass(b.run, b.offsets)
	}
	for _, s := range b.offsets {
		for o := s.from; o < s.to; o++ {
			if !q.elsewhere(o, b) {
				q.store.Return(o, o+1)
			}
		}
	}
}

// leave ends what the lane was at.
func (k *catchup) leave() {
	k.of, k.probing, k.passed, k.turn = nil, false, false, false
	k.start(0)
}

// start makes the lane read from an offset. It passes over what belongs to
// other lanes, so it has no run.
func (k *catchup) start(from uint64) {
	k.lane.begin(from, noEnd)
	k.run = nil
}

// due is the hold whose time has come, nil if there is none.
func (q *Outbox) due(now time.Time) (first *hold) {
	if len(q.holds) == 0 || q.dueAt.After(now) {
		return nil
	}
	q.dueAt = now.Add(holdMost)
	look := func(h *hold) {
		switch {
		case h.retry.After(now):
			q.dueAt = earlier(q.dueAt, h.retry)
		case h.flight > 0:
			q.dueAt = now // looked at again with the next answer
		case first == nil || h.retry.Before(first.retry) || h.retry.Equal(first.retry) && h.topic < first.topic:
			first = h
		}
	}
	for _, h := range q.holds {
		look(h)
	}
	if q.others != nil {
		look(q.others)
	}
	if first != nil {
		q.dueAt = now
	}
	return first
}

// back hands a record back to the buffer that a hold leaves there, unless it is
// on its way: in a message of the hold, or in one that is being made.
func (q *Outbox) back(h *hold, r *buffer.Record) {
	switch {
	case h.flight > 0:
	case q.again.of == h && q.again.has(r.Offset, nil):
	case r.Lost > 0 && q.elsewhere(r.Offset, nil):
	default:
		q.store.Return(r.Offset, r.Offset+1)
	}
}

// elsewhere says whether a message other than b has an offset, or will: a loss
// can stand in the place of a record that had another topic.
func (q *Outbox) elsewhere(offset uint64, b *batch) bool {
	if !q.cfg.Format.ByRecord() {
		return false
	}
	for _, other := range q.inFlight {
		if other != b && other.has(offset) {
			return true
		}
	}
	return q.live.has(offset, b) || q.again.has(offset, b) || q.late != nil && q.late.has(offset, b)
}

// head returns what is to be sent next of a hold, nil if there is nothing.
func (k *catchup) head(now time.Time) *batch {
	q := k.q
	k.more = false
	if k.of == nil {
		h := q.due(now)
		if h == nil {
			return nil
		}
		k.of = h
		k.start(h.from)
	}
	if k.probing {
		return nil
	}
	for budget := readsAtOnce; ; budget-- {
		switch {
		case len(k.ready) > 0:
			return k.ready[0]
		case k.next >= q.live.next:
			if k.closeAll(); len(k.ready) > 0 {
				continue
			}
			k.end()
			k.more = k.of == nil // another one may be due
			return nil
		case budget == 0:
			k.more = true
			return nil
		case !k.gather(now):
			return nil
		}
	}
}

// behind says that the live lane has passed what the hold has not looked at.
func (k *catchup) behind(now time.Time) bool {
	return k.of != nil && !k.probing && len(k.ready) == 0 && k.next < k.q.live.next && !k.lane.retry.After(now)
}

// end is called when there is nothing left to send of a hold.
func (k *catchup) end() {
	q, h := k.q, k.of
	switch {
	case !h.freed && h.ahead && k.passed: // there is no second record
		h.ahead = false
		q.try(h, time.Time{})
	case !h.freed && q.live.next < h.until: // the lanes have yet to come by
	case h.freed && (q.late != nil || h.gaveUp != nil) && h.flight > 0:
		// The backlog would send it once more; and a loss is to be taken.
	default:
		q.release(h)
	}
}

// gather reads once and takes what belongs to the hold.
func (k *catchup) gather(now time.Time) bool {
	if k.retry.After(now) {
		return false
	}
	if k.most = k.flow.message(); k.of.most > 0 {
		k.most = min(k.most, k.of.most)
	}
	next, err := k.q.store.Read(k.next, &k.read, readRecords, readBytes)
	if err != nil {
		k.unreadable(err, now)
		return false
	}
	for i := range k.read.Records {
		r := &k.read.Records[i]
		if r.Offset >= k.q.live.next {
			break
		}
		k.next = r.Offset + 1
		topic := k.q.topic(r)
		switch h := k.q.holdOf(topic); h {
		case nil:
		case k.of:
			k.take(r, topic, now)
		default:
			k.q.back(h, r)
		}
	}
	if len(k.read.Records) == 0 {
		next = k.q.live.next // what is before it is gone
	}
	k.next = max(k.next, min(next, k.q.live.next))
	if !k.of.freed || len(k.read.Records) == 0 {
		k.closeAll()
	}
	return true
}

// take puts a record of the hold into a batch. Losses are told apart from
// records, so that the answer to either says something.
func (k *catchup) take(r *buffer.Record, topic string, now time.Time) {
	if !k.of.freed && len(k.ready) == 0 && len(k.open) == 0 && !k.passed {
		k.of.from = r.Offset // what was before it is gone
		k.of.first = Rejection{Source: r.Source, Session: r.Session, Seq: r.Seq, Count: 1, Topic: topic, Reason: reasonEnded}
		if k.of.ahead {
			k.passed = true
			return
		}
	}
	key := batchKey{r.Session, r.Source, topic}
	rejected := k.q.rejected[r.Offset]
	if b := k.open[key]; b != nil && b.rejects != rejected {
		k.close(b)
	}
	k.put(r, key, now).rejects = rejected
	if k.of.ahead && !k.of.freed {
		k.closeAll()
	}
}

// goes says whether the next message of the hold may go.
func (k *catchup) goes(b *batch, now time.Time) bool {
	return k.q.pace.wait(now) <= 0 && k.flow.room(b.weight())
}

// until is when there is something to do for a hold, zero if that depends on
// the broker or on the other lanes.
func (k *catchup) until(now time.Time) (t time.Time) {
	if k.of == nil && k.q.dueAt.After(now) {
		return k.q.dueAt
	}
	for _, at := range []time.Time{k.retry, k.q.pace.free} {
		if k.of != nil && at.After(now) {
			t = earlier(t, at)
		}
	}
	return t
}

// interrupted takes account of the end of a connection: it may have been what
// was sent to see that ended it.
func (k *catchup) interrupted(now time.Time) {
	k.flow = flow{bound: flowLeast}
	for _, h := range k.q.holds {
		h.flight = 0
		h.dear = h.dear || now.Sub(h.refused) < hangUp
	}
	if k.q.others != nil {
		k.q.others.flight = 0
	}
	h := k.of
	if h == nil {
		return
	}
	if !k.probing {
		k.q.try(h, time.Time{})
		return
	}
	h.most, h.dear = 1, true // one record
	if h.ahead = !h.ahead; h.ahead {
		h.ended++
	} else {
		h.ended = 0 // the second one fares the same: it is the topic
	}
	k.q.putOff(h, reasonEnded, now)
}

// newCatchup prepares the lane of what is held.
func (q *Outbox) newCatchup() {
	q.again.q, q.again.late = q, true
	q.again.flow = flow{bound: flowLeast}
	q.again.leave()
}
