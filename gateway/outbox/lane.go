package outbox

import (
	"slices"
	"time"

	"fieldferry/buffer"
	"fieldferry/gateway/payload"
)

// noEnd is the end of the live lane.
const noEnd = ^uint64(0)

// readRetry is how long a lane leaves a buffer alone that it could not read.
const readRetry = time.Second

// lane reads one run of the buffer after the other and makes batches of the
// records. A record waits in a batch with others of its topic until the batch
// is full or max_delay old.
type lane struct {
	q      *Outbox
	late   bool // live records may have overtaken what it sends
	read   buffer.Batch
	run    *run
	next   uint64    // offset to read next
	retry  time.Time // the buffer is not read before
	most   int       // bytes of a message, beside max_bytes; 0: none
	open   map[batchKey]*batch
	opened []*batch // in order of opening; closed ones are skipped
	ready  []*batch
	more   bool // there is more to read, though head has found nothing yet
}

// run is a range of offsets that is sent in order. What is delivered of it is
// acknowledged from its begin on.
type run struct {
	window
	end  uint64
	kept kept // left to a hold
}

type batchKey struct {
	session       uint64
	source, topic string
}

type batch struct {
	batchKey
	lane    *lane
	run     *run
	seq     uint64
	count   int
	records []byte
	offsets []span
	losses  []buffer.Record // those among them
	rejects bool            // tells records as lost that were rejected
	due     time.Time
	closed  bool
	of      *hold // in flight: of its topic, nil if there was none

	sent time.Time // in flight: since when
	size int       // in flight: bytes of topic and payload
}

// weight is about how many bytes its message has.
func (b *batch) weight() int {
	return len(b.topic) + len(b.records) + b.lane.q.cfg.Format.Overhead(b.source)
}

func (b *batch) has(offset uint64) bool {
	return b != nil && slices.ContainsFunc(b.offsets, func(s span) bool { return s.from <= offset && offset < s.to })
}

// has says whether a message other than not that the lane makes, or has ready,
// has an offset.
func (l *lane) has(offset uint64, not *batch) bool {
	has := func(b *batch) bool { return b != not && b.has(offset) }
	return slices.ContainsFunc(l.ready, has) || slices.ContainsFunc(l.opened, has)
}

// span is a range of offsets, the end not included.
type span struct{ from, to uint64 }

// begin forgets what the lane holds and goes on with a run.
func (l *lane) begin(from, to uint64) {
	l.run = &run{window: window{base: from}, end: to}
	l.next = from
	l.open = map[batchKey]*batch{}
	l.opened, l.ready, l.more = nil, nil, false
}

// head returns the batch to be sent next, nil if there is none yet.
func (l *lane) head(now time.Time) *batch {
	l.more = false
	for range readsAtOnce {
		l.closeDue(now)
		if len(l.ready) > 0 {
			return l.ready[0]
		}
		if l.fill(now) == 0 {
			return nil
		}
	}
	l.more = true
	return nil
}

// pop takes away what head returned.
func (l *lane) pop() {
	l.ready[0] = nil
	l.ready = l.ready[1:]
}

// fill reads once from the buffer and shares the records out to batches.
func (l *lane) fill(now time.Time) int {
	if l.next >= l.run.end || l.retry.After(now) {
		return 0
	}
	most := int(min(readRecords, l.run.end-l.next))
	next, err := l.q.store.Read(l.next, &l.read, most, readBytes)
	if err != nil {
		l.unreadable(err, now)
		return 0
	}
	n := len(l.read.Records)
	for i := range l.read.Records {
		r := &l.read.Records[i]
		l.skip(min(r.Offset, l.run.end))
		if r.Offset >= l.run.end {
			return n
		}
		l.add(r, now)
		l.next = r.Offset + 1
	}
	if n == 0 && l.run.end != noEnd {
		next = l.run.end // all of a run with an end can be read, or is gone
	}
	l.skip(min(next, l.run.end))
	return n
}

// unreadable leaves the buffer alone for a while. It keeps account of what it
// cannot give back; trying again is all there is to do here.
func (l *lane) unreadable(err error, now time.Time) {
	l.q.cfg.Log.Error("reading the buffer failed; trying again", "error", err)
	l.retry = now.Add(readRetry)
}

// skip takes account of offsets the buffer no longer has anything for.
func (l *lane) skip(to uint64) {
	if to > l.next {
		l.q.finish(l.run, []span{{l.next, to}})
		l.next = to
	}
}

// add puts one record into the batch of its topic, or leaves it to the hold of
// that.
func (l *lane) add(r *buffer.Record, now time.Time) {
	topic := l.q.topic(r)
	if h := l.q.holdOf(topic); h != nil {
		h.until = max(h.until, r.Offset+1)
		l.q.pass(l.run, []span{{r.Offset, r.Offset + 1}})
		l.q.back(h, r)
		return
	}
	l.put(r, batchKey{r.Session, r.Source, topic}, now)
}

// put puts a record into a batch.
func (l *lane) put(r *buffer.Record, key batchKey, now time.Time) *batch {
	b := l.open[key]
	if b != nil && !l.append(b, r) {
		l.close(b)
		b = nil
	}
	if b == nil {
		b = &batch{batchKey: key, lane: l, run: l.run, seq: r.Seq, due: now.Add(l.q.cfg.MaxDelay)}
		l.open[key] = b
		l.opened = append(l.opened, b)
		l.append(b, r)
	}
	if r.Lost > 0 {
		l.q.store.Told(r)
		b.losses = append(b.losses, *r)
	}
	b.count++
	if n := len(b.offsets); n > 0 && b.offsets[n-1].to == r.Offset {
		b.offsets[n-1].to++
	} else {
		b.offsets = append(b.offsets, span{r.Offset, r.Offset + 1})
	}
	if b.count >= l.q.cfg.MaxRecords {
		l.close(b)
	} else if len(l.open) > maxOpen {
		l.close(l.oldest())
	}
	return b
}

// append appends a record to what a batch has, and reports whether it fits. The
// first one always does: the broker has the last word on it.
func (l *lane) append(b *batch, r *buffer.Record) bool {
	cfg := &l.q.cfg
	item := payload.Item{Record: r, Late: l.late}
	switch {
	case r.Lost > 0:
		item.Lost = r.Reason.String()
	case l.q.rejected[r.Offset]:
		item.Lost = reasonRejected
	}
	had := len(b.records)
	out, err := cfg.Format.Append(b.records, item)
	if err != nil {
		// Never silently: the consumer is told that this number does not come.
		cfg.Log.Error("a record cannot be read; reporting it as lost", "source", r.Source, "seq", r.Seq, "error", err)
		item.Lost = buffer.Corrupt.String()
		out, _ = cfg.Format.Append(b.records[:had], item) // a loss can be said in any form
	}
	b.records = out
	if had > 0 && len(out) > l.room(b.batchKey) {
		b.records = out[:had]
		return false
	}
	return true
}

// room is how many bytes of records a message may hold.
func (l *lane) room(k batchKey) int {
	most := l.q.cfg.MaxBytes
	if l.most > 0 {
		most = min(most, l.most)
	}
	if l.q.limit > 0 {
		most = min(most, l.q.limit-len(k.topic))
	}
	return most - l.q.cfg.Format.Overhead(k.source)
}

// oldest is the batch that has been open longest, nil if none is.
func (l *lane) oldest() *batch {
	for len(l.opened) > 0 && l.opened[0].closed {
		l.opened[0] = nil
		l.opened = l.opened[1:]
	}
	if len(l.opened) == 0 {
		return nil
	}
	return l.opened[0]
}

func (l *lane) closeDue(now time.Time) {
	for b := l.oldest(); b != nil && !b.due.After(now); b = l.oldest() {
		l.close(b)
	}
}

func (l *lane) closeAll() {
	for b := l.oldest(); b != nil; b = l.oldest() {
		l.close(b)
	}
}

func (l *lane) close(b *batch) {
	b.closed = true
	delete(l.open, b.batchKey)
	l.ready = append(l.ready, b)
}
