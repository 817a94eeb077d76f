package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"fieldferry/buffer"
	"fieldferry/gateway/ledger"
	"fieldferry/uplink"
)

// steady is a buffer that fills at a steady rate: what is in it follows from
// the time, so that one goroutine is enough for a test.
type steady struct {
	sources []string
	old     uint64 // records of an earlier session
	begin   time.Time
	rate    float64 // records a second of this one
	stop    time.Time

	first  uint64
	gone   []uint64          // bits by offset
	losses map[uint64]loss   // by offset
	handed span              // what was read of the old ones
	broken func(uint64) bool // offsets that cannot be read now
}

type loss struct{ seq, n uint64 }

func newSteady(old uint64, rate float64, sources ...string) *steady {
	return &steady{sources: sources, old: old, begin: time.Now(), rate: rate, losses: map[uint64]loss{}, handed: span{from: old}}
}

func (s *steady) end() uint64 {
	at := time.Now()
	if !s.stop.IsZero() && at.After(s.stop) {
		at = s.stop
	}
	// Rounded: a Wait for the next record ends when there is one.
	return s.old + uint64(at.Sub(s.begin).Seconds()*s.rate+1e-6)
}

// taken is when the record at an offset came.
func (s *steady) taken(offset uint64) time.Time {
	if offset < s.old {
		return s.begin.Add(-time.Hour)
	}
	return s.begin.Add(time.Duration(float64(offset-s.old+1) / s.rate * 1e9))
}

func (s *steady) record(offset uint64) buffer.Record {
	n := uint64(len(s.sources))
	r := buffer.Record{Offset: offset, Session: 1, Source: s.sources[offset%n], Seq: offset/n + 1, Time: s.taken(offset).UnixNano()}
	if l, ok := s.losses[offset]; ok {
		r.Seq, r.Lost, r.Reason = l.seq, l.n, buffer.Evicted
	} else {
		r.Data = testFrame(uint32(offset % 5))
	}
	return r
}

func (s *steady) isGone(o uint64) bool {
	return o/64 < uint64(len(s.gone)) && s.gone[o/64]>>(o%64)&1 != 0
}

func (s *steady) First() uint64 {
	for s.first < s.end() && s.isGone(s.first) {
		s.first++
	}
	return s.first
}

func (s *steady) End() (uint64, bool) { return s.end(), true }

func (s *steady) Return(uint64, uint64)    {}
func (s *steady) Told(*buffer.Record)      {}
func (s *steady) Delivered(*buffer.Record) {}

func (s *steady) Ack(from, to uint64) {
	for ; from < to; from++ {
		for from/64 >= uint64(len(s.gone)) {
			s.gone = append(s.gone, 0)
		}
		s.gone[from/64] |= 1 << (from % 64)
	}
}

func (s *steady) Read(from uint64, b *buffer.Batch, maxRecords, _ int) (uint64, error) {
	b.Records = b.Records[:0]
	end := s.end()
	for o := from; o < end && len(b.Records) < maxRecords; o++ {
		if s.isGone(o) {
			continue
		}
		if s.broken != nil && s.broken(o) {
			if len(b.Records) > 0 {
				return from, nil
			}
			return from, fmt.Errorf("offset %d cannot be read", o)
		}
		b.Records = append(b.Records, s.record(o))
		from = o + 1
		if o < s.old {
			s.handed = span{min(s.handed.from, o), max(s.handed.to, from)}
		}
	}
	return from, nil
}

func (s *steady) Wait(ctx context.Context, from uint64) error {
	for {
		end := s.end()
		for o := from; o < end; o++ {
			if !s.isGone(o) {
				return nil
			}
		}
		if !s.stop.IsZero() && !time.Now().Before(s.stop) || s.rate == 0 {
			<-ctx.Done()
		} else {
			next, cancel := context.WithDeadline(ctx, time.Now().Add(max(time.Until(s.taken(end)), time.Microsecond)))
			<-next.Done()
			cancel()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// evict puts a loss record for each source in the place of old records that
// nobody has read yet.
func (s *steady) evict(n uint64) {
	from := s.First()
	if s.handed.from <= from {
		from = s.handed.to
	}
	to := min(from+n, s.old)
	if from < s.handed.from {
		to = min(to, s.handed.from)
	}
	for o := from; o < to; o++ {
		if _, is := s.losses[o]; is || s.isGone(o) {
			return
		}
	}
	k := uint64(len(s.sources))
	if to <= from+k {
		return
	}
	for o := to - k; o < to; o++ { // the last one of each source
		count := (o-from)/k + 1
		s.losses[o] = loss{o/k + 2 - count, count}
	}
	s.Ack(from, to-k)
}

// line is a link with a rate and a round trip, and a consumer at its end. It
// takes from the outbox what the uplink would.
type line struct {
	t          *testing.T
	q          *Outbox
	s          *steady
	rate       float64 // bytes a second; 0: no limit
	trip       time.Duration
	window     int
	packed     int                       // compressed to this part
	refuse     func(payload []byte) bool // the broker will never take it
	free       time.Time
	flight     []carried
	ledger     ledger.Ledger
	deliveries []delivery
	began      time.Time
	order      map[string]uint64 // last number by source and lane, of this connection
	descents   int
	again      map[string]bool // records of messages that were refused: they come behind what was under way
}

// unsent is how many bytes the kernel takes ahead of what it can send.
const unsent = 64 << 10

// carried is a message on the line.
type carried struct {
	m           uplink.Message
	comes, back time.Time
	arrived     bool
	refused     bool
}

// delivery is a message at the consumer.
type delivery struct {
	after time.Duration // since the connection
	late  bool
	bytes int
	age   time.Duration // of its oldest record
	count int
}

func newLine(t *testing.T, s *steady, cfg Backlog) *line {
	t.Helper()
	c := testConfig(t, "{gateway}/{source}", 100, 64<<10)
	c.Backlog = cfg
	q := New(s, c)
	l := &line{t: t, q: q, s: s, window: 100}
	l.connect()
	return l
}

// connect begins a connection, with what was under way lost.
func (l *line) connect() {
	l.began = time.Now()
	l.flight, l.free = nil, l.began
	l.order = map[string]uint64{}
}

// cut ends the connection and returns how many records had come that nobody
// has acknowledged.
func (l *line) cut() (under uint64) {
	l.collect()
	for _, c := range l.flight {
		if c.arrived {
			under += uint64(l.q.inFlight[c.m.Token].count)
		}
	}
	l.flight = nil
	l.q.Rewind()
	return under
}

// run carries messages for a time, or until there is nothing left.
func (l *line) run(d time.Duration) {
	l.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		l.collect()
		until := end
		for _, c := range l.flight {
			if c.back.Before(until) {
				until = c.back
			}
			if !c.arrived && c.comes.Before(until) {
				until = c.comes
			}
		}
		var full time.Duration // the kernel takes no more for so long
		if l.rate > 0 {
			full = time.Until(l.free) - time.Duration(unsent/l.rate*1e9)
		}
		if full > 0 && time.Now().Add(full).Before(until) {
			until = time.Now().Add(full)
		}
		ctx, cancel := context.WithDeadline(context.Background(), until)
		if full > 0 || len(l.flight) == l.window {
			<-ctx.Done()
		} else if m, err := l.q.Next(ctx); err == nil {
			l.send(m)
		}
		cancel()
	}
	l.collect()
}

func (l *line) send(m uplink.Message) {
	now := time.Now()
	m.Size = (len(m.Topic) + len(m.Payload)) / max(l.packed, 1)
	if l.free.Before(now) {
		l.free = now
	}
	if l.rate > 0 {
		l.free = l.free.Add(time.Duration(float64(m.Size) / l.rate * 1e9))
	}
	comes := l.free.Add(l.trip / 2)
	l.flight = append(l.flight, carried{m: m, comes: comes, back: comes.Add(l.trip / 2)})
}

// collect brings messages and answers that are due.
func (l *line) collect() {
	now := time.Now()
	for i := range l.flight {
		c := &l.flight[i]
		if !c.arrived && !c.comes.After(now) {
			c.arrived = true
			if c.refused = l.refuse != nil && l.refuse(c.m.Payload); !c.refused {
				l.take(c.m)
			} else {
				l.refused(c.m)
			}
		}
	}
	for len(l.flight) > 0 && !l.flight[0].back.After(now) {
		c := l.flight[0]
		l.flight = l.flight[1:]
		if c.refused {
			l.q.Refused(c.m, uplink.Verdict{Reason: "refused", Final: true})
		} else {
			l.q.Acked(c.m)
		}
	}
}

func (l *line) refused(m uplink.Message) {
	if l.again == nil {
		l.again = map[string]bool{}
	}
	if b := l.q.inFlight[m.Token]; b != nil {
		for seq := b.seq; seq < b.seq+uint64(b.count); seq++ {
			l.again[fmt.Sprint(b.source, seq)] = true
		}
	}
}

// take is the consumer.
func (l *line) take(m uplink.Message) {
	l.t.Helper()
	p, err := ledger.Parse(m.Payload)
	if err != nil {
		l.t.Fatal(err)
	}
	entries, err := l.ledger.Add(p)
	if err != nil {
		l.t.Fatal(err)
	}
	a := delivery{after: time.Since(l.began), bytes: len(m.Payload), count: len(entries)}
	for i, e := range entries {
		var mark struct{ Late bool }
		if err := json.Unmarshal(p.Records[i], &mark); err != nil {
			l.t.Fatal(err)
		}
		if i > 0 && mark.Late != a.late {
			l.t.Fatalf("a message of both lanes: %s", m.Payload)
		}
		a.late = mark.Late
		seq, last := e.Seq, e.Seq
		if e.Type == "loss" {
			seq, last = e.From, e.To
		}
		if l.again[fmt.Sprint(p.Source, seq)] {
			continue // behind what was sent before the answer came
		}
		a.age = max(a.age, time.Since(e.Time))
		key := fmt.Sprint(p.Source, mark.Late)
		if seq <= l.order[key] {
			if l.descents++; !l.q.cfg.Backlog.NewestFirst || !mark.Late {
				l.t.Fatalf("%s: %d (%s) came after %d, late: %v", p.Source, seq, p.Records[i], l.order[key], mark.Late)
			}
		}
		l.order[key] = last
	}
	l.deliveries = append(l.deliveries, a)
}

// complete says that everything up to the end has come.
func (l *line) complete() {
	l.t.Helper()
	if gaps := l.ledger.Gaps(true); len(gaps) > 0 {
		l.t.Errorf("gaps: %v", gaps)
	}
	if n := l.ledger.Records + l.ledger.Lost; n != l.s.end() {
		l.t.Errorf("%d records and %d lost, want %d", l.ledger.Records, l.ledger.Lost, l.s.end())
	}
	if first, end := l.s.First(), l.s.end(); first != end {
		l.t.Errorf("the buffer still has something at %d, its end is %d", first, end)
	}
}

// sum adds up the bytes of a lane between two times since the connection.
func (l *line) sum(late bool, from, to time.Duration) (bytes int) {
	for _, a := range l.deliveries {
		if a.late == late && a.after >= from && a.after < to {
			bytes += a.bytes
		}
	}
	return bytes
}

// oldest is the highest age of live records that came between two times.
func (l *line) oldest(from, to time.Duration) (age time.Duration) {
	for _, a := range l.deliveries {
		if !a.late && a.after >= from && a.after < to {
			age = max(age, a.age)
		}
	}
	return age
}
