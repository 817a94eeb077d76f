package gateway

import (
	"context"
	"log/slog"
	"time"

	"fieldferry/buffer"
	"fieldferry/gateway/payload"
	"fieldferry/uplink"
)

// store is what the queue needs of the buffer.
type store interface {
	// First is the first offset that is not acknowledged.
	First() uint64
	// Read copies records at or after from and returns where to go on.
	Read(from uint64, batch *buffer.Batch, maxRecords, maxBytes int) (next uint64, err error)
	// Wait returns when Read(from) would give something, or with ctx's error.
	Wait(ctx context.Context, from uint64) error
	// Ack says that the offsets from..to-1 are delivered.
	Ack(from, to uint64)
}

// maxOpen bounds the batches that wait for company at the same time; a
// template with {id} has one for every arbitration id.
const maxOpen = 1024

// What one read takes from the buffer at most.
const (
	readRecords = 256
	readBytes   = 64 << 10
)

type queueConfig struct {
	gateway    string
	topic      topicTemplate
	maxRecords int
	maxBytes   int
	maxDelay   time.Duration
	decodings  map[string]*payload.Decoding // by source; a source without one is not decoded
	clock      payload.Clock                // corrects times; may be nil
	log        *slog.Logger
	rejected   func(rejection) // told of every message no broker will take; may be nil
}

// queue makes messages of the records in the buffer, and acknowledges the
// records when their messages are. It implements [uplink.Queue].
//
// A record waits in a batch with others of its topic until the batch is full
// or max_delay old. Records of one batch need not be neighbours in the
// buffer, so the queue keeps account of single offsets and lets the buffer go
// only up to the first one not acknowledged.
type queue struct {
	cfg     queueConfig
	store   store
	encoder payload.Encoder
	read    buffer.Batch

	next     uint64 // offset to read next
	open     map[batchKey]*batch
	opened   []*batch // in order of opening; closed ones are skipped
	ready    []*batch
	inFlight map[uint64]*batch // by token; without the records
	token    uint64
	done     window
	topics   map[string]string // rendered topics by source
	record   []byte
	limit    int             // bytes of a message with its topic, beside maxBytes; 0: none
	rejected map[uint64]bool // offsets of records that are told as lost
}

type batchKey struct {
	session       uint64
	source, topic string
}

type batch struct {
	batchKey
	seq     uint64
	count   int
	records []byte
	offsets []span
	rejects bool // tells of records that were rejected
	due     time.Time
	closed  bool
}

// span is a range of offsets, the end not included.
type span struct{ from, to uint64 }

func newQueue(s store, cfg queueConfig) *queue {
	q := &queue{cfg: cfg, store: s, encoder: payload.Encoder{Clock: cfg.clock}, topics: map[string]string{}, rejected: map[uint64]bool{}}
	q.Rewind()
	return q
}

// Rewind implements [uplink.Queue].
func (q *queue) Rewind() {
	q.next = q.store.First()
	q.done = window{base: q.next}
	q.open = map[batchKey]*batch{}
	q.opened, q.ready = nil, nil
	q.inFlight = map[uint64]*batch{}
}

// Next implements [uplink.Queue].
func (q *queue) Next(ctx context.Context) (uplink.Message, error) {
	for {
		q.closeDue(time.Now())
		if len(q.ready) > 0 {
			b := q.ready[0]
			q.ready[0] = nil
			q.ready = q.ready[1:]
			return q.message(b), nil
		}
		n, err := q.fill()
		if err != nil {
			// The buffer keeps account of what it cannot give back; trying
			// again is all there is to do here.
			q.cfg.log.Error("reading the buffer failed; trying again", "error", err)
			sleep(ctx, time.Second)
		}
		if n == 0 {
			q.wait(ctx)
		}
		if err := ctx.Err(); err != nil {
			return uplink.Message{}, err
		}
	}
}

// wait waits for a record or for the oldest batch to be due.
func (q *queue) wait(ctx context.Context) {
	if b := q.oldest(); b != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, b.due)
		defer cancel()
	}
	_ = q.store.Wait(ctx, q.next) // an error is ctx's, and the caller looks at that
}

// fill reads once from the buffer and shares the records out to batches.
func (q *queue) fill() (int, error) {
	next, err := q.store.Read(q.next, &q.read, readRecords, readBytes)
	now := time.Now()
	for i := range q.read.Records {
		r := &q.read.Records[i]
		q.skip(r.Offset)
		q.add(r, now)
		q.next = r.Offset + 1
	}
	q.skip(next)
	return len(q.read.Records), err
}

// skip takes account of offsets the buffer no longer has anything for.
func (q *queue) skip(to uint64) {
	if to > q.next {
		q.finish([]span{{q.next, to}})
		q.next = to
	}
}

// add puts one record into the batch of its topic.
func (q *queue) add(r *buffer.Record, now time.Time) {
	key := batchKey{r.Session, r.Source, ""}
	if r.Lost > 0 {
		q.record = q.encoder.AppendLoss(q.record[:0], r.Seq, r.Seq+r.Lost-1, r.Time, r.Reason.String())
	} else if q.rejected[r.Offset] {
		q.record = q.encoder.AppendLoss(q.record[:0], r.Seq, r.Seq, r.Time, reasonRejected)
	} else {
		var err error
		if q.record, err = q.encoder.AppendRecord(q.record[:0], r.Seq, r.Time, r.Data, q.cfg.decodings[r.Source]); err != nil {
			// Never silently: the consumer is told that this number does not come.
			q.cfg.log.Error("a record cannot be read; reporting it as lost", "source", r.Source, "seq", r.Seq, "error", err)
			q.record = q.encoder.AppendLoss(q.record[:0], r.Seq, r.Seq, r.Time, buffer.Corrupt.String())
		}
	}
	key.topic = q.topic(r)
	b := q.open[key]
	if b != nil && len(b.records)+1+len(q.record) > q.room(key) {
		q.close(b)
		b = nil
	}
	if b == nil {
		b = &batch{batchKey: key, seq: r.Seq, due: now.Add(q.cfg.maxDelay)}
		q.open[key] = b
		q.opened = append(q.opened, b)
	} else {
		b.records = append(b.records, ',')
	}
	b.records = append(b.records, q.record...)
	b.count++
	if n := len(b.offsets); n > 0 && b.offsets[n-1].to == r.Offset {
		b.offsets[n-1].to++
	} else {
		b.offsets = append(b.offsets, span{r.Offset, r.Offset + 1})
	}
	if b.count >= q.cfg.maxRecords {
		q.close(b)
	} else if len(q.open) > maxOpen {
		q.close(q.oldest())
	}
}

// room is how many bytes of records a message may hold.
func (q *queue) room(k batchKey) int {
	most := q.cfg.maxBytes
	if q.limit > 0 {
		most = min(most, q.limit-len(k.topic))
	}
	return most - payload.MaxOverhead - len(q.cfg.gateway) - len(k.source)
}

func (q *queue) topic(r *buffer.Record) string {
	if q.cfg.topic.perRecord && !q.rejected[r.Offset] {
		return q.cfg.topic.render(q.cfg.gateway, r.Source, payload.KeysOf(r.Data, q.cfg.decodings[r.Source]))
	}
	t, ok := q.topics[r.Source]
	if !ok {
		t = q.cfg.topic.render(q.cfg.gateway, r.Source, payload.Keys{})
		q.topics[r.Source] = t
	}
	return t
}

// oldest is the batch that has been open longest, nil if none is.
func (q *queue) oldest() *batch {
	for len(q.opened) > 0 && q.opened[0].closed {
		q.opened[0] = nil
		q.opened = q.opened[1:]
	}
	if len(q.opened) == 0 {
		return nil
	}
	return q.opened[0]
}

func (q *queue) closeDue(now time.Time) {
	for b := q.oldest(); b != nil && !b.due.After(now); b = q.oldest() {
		q.close(b)
	}
}

func (q *queue) close(b *batch) {
	b.closed = true
	delete(q.open, b.batchKey)
	q.ready = append(q.ready, b)
}

func (q *queue) message(b *batch) uplink.Message {
	head := payload.Envelope{Gateway: q.cfg.gateway, Session: b.session, Source: b.source, Seq: b.seq, Count: b.count}
	size := len(b.records) + payload.MaxOverhead + len(q.cfg.gateway) + len(b.source)
	q.token++
	q.inFlight[q.token] = b
	defer func() { b.records = nil }()
	return uplink.Message{Topic: b.topic, Payload: head.Append(make([]byte, 0, size), b.records), Token: q.token}
}

// Acked implements [uplink.Queue].
func (q *queue) Acked(m uplink.Message) {
	b, ok := q.inFlight[m.Token]
	if !ok {
		return
	}
	delete(q.inFlight, m.Token)
	q.finish(b.offsets)
}

// finish marks offsets as delivered and lets the buffer go of the prefix.
func (q *queue) finish(offsets []span) {
	from := q.done.base
	for _, s := range offsets {
		q.done.add(s)
	}
	if q.done.base > from {
		q.store.Ack(from, q.done.base)
		for o := range q.rejected {
			if o < q.done.base {
				delete(q.rejected, o)
			}
		}
	}
}
