// Package outbox is the way from the buffer to the uplink: it makes messages of
// records, and acknowledges records when their messages are.
//
// # Nouns
//
// A lane sends one run of the buffer after the other, in order: the live lane
// what comes in, the backlog what an outage has left. A batch is a message in
// the making. A hold keeps back what goes to a topic that the broker does not
// take. A [payload.Format] says what a message looks like.
//
// # Promise
//
// A record leaves the buffer only when the broker has acknowledged its message,
// or the loss that stands for it. Records of one source and topic are sent in
// order, but for a backlog, whose records say that they are late.
package outbox

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"fieldferry/buffer"
	"fieldferry/gateway/payload"
	"fieldferry/uplink"
)

// Store is what an outbox needs of the buffer.
type Store interface {
	// First is the first offset that is not acknowledged.
	First() uint64
	// End is the end of what Read gives, false while that is not known.
	End() (uint64, bool)
	// Read copies records at or after from and returns where to go on: when
	// there are none, behind all that is gone.
	Read(from uint64, batch *buffer.Batch, maxRecords, maxBytes int) (next uint64, err error)
	// Wait returns when Read(from) would give something, or with ctx's error.
	Wait(ctx context.Context, from uint64) error
	// Ack says that the offsets from..to-1 are delivered.
	Ack(from, to uint64)
	// Return says that the offsets from..to-1 are read again before they are
	// acknowledged.
	Return(from, to uint64)
	// Told says that a loss is in a message.
	Told(r *buffer.Record)
	// Delivered says that its message has arrived; Ack may be of a record that
	// was read at its offset before.
	Delivered(r *buffer.Record)
}

// maxOpen bounds the batches of a lane that wait for company at the same
// time; a template with {id} has one for every arbitration id.
const maxOpen = 1024

// What one read takes from the buffer at most.
const (
	readRecords = 256
	readBytes   = 64 << 10
)

// Config is how an outbox makes messages.
type Config struct {
	Format     payload.Format
	MaxRecords int           // of a message
	MaxBytes   int           // of a payload
	MaxDelay   time.Duration // how long a record waits for company
	Backlog    Backlog
	Log        *slog.Logger // nil discards

	Rejected func(Rejection)            // told of every record that was given up; may be nil
	Denied   func(topic, reason string) // a topic is not taken, and waits; may be nil. Empty: further ones
	Allowed  func(topic string)         // it is taken again; may be nil
}

// Outbox makes messages of the records in the buffer, and acknowledges the
// records when their messages are. It implements [uplink.Queue].
//
// Records of one batch need not be neighbours in the buffer, so the queue
// keeps account of single offsets and lets the buffer go of a run only up to
// the first one not acknowledged. What an outage has left is a run of its own,
// see [backlog].
type Outbox struct {
	cfg   Config
	store Store

	live     lane
	late     *backlog          // nil: none
	inFlight map[uint64]*batch // by token; without the records
	token    uint64
	topics   map[string]string // rendered topics by source
	limit    int               // bytes of a message with its topic, beside maxBytes; 0: none
	rejected map[uint64]bool   // offsets of records that are told as lost
	gave     bool              // one was given up, and nothing taken since

	takes  map[string]string // by source, the topic of the last message taken, unless it was refused since
	denied atomic.Pointer[Refusals]
	holds  map[string]*hold // by topic
	others *hold            // of all topics that have none, once there are too many
	again  catchup          // what was held
	sweep  bool             // something may have been left behind, see sweepUp
	swept  uint64           // the first offset that came back last, see cameBack
	dueAt  time.Time        // no hold has to be looked at before

	placed   bool          // the lanes of this connection are set
	boundary uint64        // offsets below it are late
	away     time.Time     // since when nothing got through, unless got
	got      bool          // something did
	resume   span          // of the backlog: what was interrupted
	left     atomic.Uint64 // offsets of the backlog not delivered yet
	pace     pace
}

// New makes the outbox of a buffer.
func New(s Store, cfg Config) *Outbox {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	q := &Outbox{cfg: cfg, store: s, swept: noEnd, topics: map[string]string{}, takes: map[string]string{}, rejected: map[uint64]bool{}, pace: pace{rate: float64(cfg.Backlog.MaxRate), packed: 1}}
	q.live.q = q
	q.holds = map[string]*hold{}
	q.newCatchup()
	q.live.begin(0, noEnd)
	if end, ok := s.End(); ok {
		q.boundary, q.away = end, time.Now() // what earlier sessions left is late
	}
	q.Rewind()
	return q
}

// Rewind implements [uplink.Queue].
func (q *Outbox) Rewind() {
	if q.got {
		q.got, q.away = false, time.Now()
		if b := q.oldestInFlight(nil); b != nil {
			q.away = b.due.Add(-q.cfg.MaxDelay)
		}
	}
	q.interrupt()
	q.keepDone()
	q.again.interrupted(time.Now())
	q.placed, q.late, q.sweep = false, nil, false
	q.live.begin(0, noEnd)
	q.inFlight = map[uint64]*batch{}
	q.count()
}

// Left is how many records of the backlog wait to be delivered. It may be called
// from any goroutine.
func (q *Outbox) Left() uint64 { return q.left.Load() }

// count notes how much of the backlog is left, for whoever looks.
func (q *Outbox) count() {
	left := uint64(0)
	if q.late != nil {
		for _, s := range q.late.rest {
			left += s.to - s.from
		}
		left += q.late.run.end - q.late.run.base
	}
	q.left.Store(left)
}

// keepDone acknowledges what is done behind something that is not: it need
// not be sent again. That is once and for all: a loss that comes to its place
// later is of others.
func (q *Outbox) keepDone() {
	runs := map[*run]bool{q.live.run: true}
	if q.late != nil {
		runs[q.late.run] = true
		for _, b := range q.late.ready { // they can be of an earlier run
			runs[b.run] = true
		}
	}
	for _, b := range q.inFlight {
		if b.run != nil {
			runs[b.run] = true
		}
	}
	for r := range runs {
		r.beyond(func(s span) {
			for _, d := range r.unkept(s) {
				q.ack([]span{d})
				r.kept.add(d)
			}
		})
	}
}

// oldestInFlight is the first message of a lane, nil for any, that is in
// flight; nil if none is.
func (q *Outbox) oldestInFlight(of *lane) (oldest *batch) {
	first := ^uint64(0)
	for token, b := range q.inFlight {
		if token < first && (of == nil || b.lane == of) {
			first, oldest = token, b
		}
	}
	return oldest
}

// Next implements [uplink.Queue].
func (q *Outbox) Next(ctx context.Context) (uplink.Message, error) {
	for {
		now := time.Now()
		if !q.placed {
			q.place(now)
		}
		if b := q.choose(now); b != nil {
			b.lane.pop()
			return q.message(b, now), nil
		}
		q.wait(ctx, now)
		if err := ctx.Err(); err != nil {
			return uplink.Message{}, err
		}
	}
}

// wait waits for something to do: a record for the live lane, or the time of
// a batch or of the backlog.
func (q *Outbox) wait(ctx context.Context, now time.Time) {
	if q.sweep {
		if len(q.inFlight) > 0 {
			<-ctx.Done() // an answer ends it
		}
		return
	}
	if q.live.more || q.again.more || q.again.behind(now) || q.late != nil && q.late.more {
		return
	}
	until := q.again.until(now)
	if b := q.live.oldest(); b != nil {
		until = earlier(until, b.due)
	}
	held := q.live.retry.After(now)
	if held {
		until = earlier(until, q.live.retry)
	}
	if q.late != nil {
		until = earlier(until, q.late.until(now))
		held = held || q.late.first(now)
	}
	if !held && q.cameBack() {
		q.sweep = true
		return
	}
	if !until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, until)
		defer cancel()
	}
	if held {
		<-ctx.Done()
		return
	}
	_ = q.store.Wait(ctx, q.live.next) // an error is ctx's, and the caller looks at that
}

// cameBack says that the buffer has something again that the lanes have passed:
// the loss of records of which only some were acknowledged, for one. It would
// wait for the next connection.
func (q *Outbox) cameBack() bool {
	if len(q.inFlight) > 0 || q.late != nil || len(q.holds) > 0 || q.others != nil || len(q.live.open)+len(q.live.ready) > 0 {
		return false // it may be on its way
	}
	first := q.store.First()
	if first >= q.live.next || first == q.swept {
		return false
	}
	q.swept = first
	return true
}

// earlier is the earlier of two times, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func (q *Outbox) topic(r *buffer.Record) string {
	if q.cfg.Format.ByRecord() {
		return q.cfg.Format.Topic(r)
	}
	t, ok := q.topics[r.Source]
	if !ok {
		t = q.cfg.Format.Topic(r)
		q.topics[r.Source] = t
	}
	return t
}

func (q *Outbox) message(b *batch, now time.Time) uplink.Message {
	head := payload.Head{Session: b.session, Source: b.source, Seq: b.seq, Count: b.count}
	m := uplink.Message{Topic: b.topic, Payload: q.cfg.Format.Seal(head, b.records)}
	q.token++
	m.Token = q.token
	b.records = nil
	b.sent, b.size = now, len(m.Topic)+len(m.Payload)
	q.inFlight[q.token] = b
	if b.of = q.holdOf(b.topic); b.of != nil {
		b.of.flight++
	}
	q.late.sent(b)
	if b.lane == &q.again.lane {
		q.again.sent(b, &q.pace)
	}
	return m
}

// Acked implements [uplink.Queue].
func (q *Outbox) Acked(m uplink.Message) {
	if b := q.settle(m); b != nil {
		q.got, q.gave = true, false
		q.takesFrom(b)
		for i := range b.losses {
			q.store.Delivered(&b.losses[i])
		}
		q.finish(b.run, b.offsets)
		if h := q.holdOf(b.topic); h != nil {
			q.taken(h, b)
		}
	}
}

// settle takes a message that the broker has answered out of what is in
// flight; nil if it is not in it.
func (q *Outbox) settle(m uplink.Message) *batch {
	b, ok := q.inFlight[m.Token]
	if !ok {
		return nil
	}
	delete(q.inFlight, m.Token)
	if b.of != nil {
		b.of.flight--
	}
	q.late.settled(b, m.Size)
	if b.lane == &q.again.lane {
		q.again.flow.settled(b, time.Now())
		q.pace.packs(b.size, m.Size)
	}
	return b
}

// finish marks offsets of a run as delivered and lets the buffer go of what
// is from its begin on. What was held has no run.
func (q *Outbox) finish(r *run, offsets []span) {
	if r == nil {
		q.ack(offsets)
		return
	}
	defer q.count()
	from := r.base
	if len(q.holds) > 0 {
		// What is held is handed back and read again. So the buffer has to know
		// at once what is not of that any more.
		q.ack(offsets)
		q.pass(r, offsets)
		return
	}
	for _, s := range offsets {
		r.add(s)
	}
	q.advanced(r, from)
}

// pass leaves offsets of a run to a hold: they are no longer the run's.
func (q *Outbox) pass(r *run, offsets []span) {
	from := r.base
	for _, s := range offsets {
		r.keep(s)
	}
	q.advanced(r, from)
}

// advanced lets the buffer go of what a run has delivered since its begin was
// at from.
func (q *Outbox) advanced(r *run, from uint64) {
	if r.base > from {
		q.ack(r.unkept(span{from, r.base}))
		r.forget()
	}
}

func (q *Outbox) ack(offsets []span) {
	for _, s := range offsets {
		q.store.Ack(s.from, s.to)
	}
	if len(q.rejected) > 0 {
		q.unmark(offsets)
	}
}
