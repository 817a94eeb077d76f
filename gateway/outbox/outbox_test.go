package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sort"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/buffer"
	"fieldferry/bus/can"
	"fieldferry/gateway/ledger"
	"fieldferry/gateway/payload/native"
	"fieldferry/gateway/record"
	"fieldferry/gateway/topic"
	"fieldferry/uplink"
)

// fakeStore is a buffer that holds what a test put into it.
type fakeStore struct {
	records []buffer.Record // by offset
	gone    map[uint64]bool // offsets acknowledged beyond first
	first   uint64
	absent  bool // there is no disk yet
	more    chan struct{}
}

func newFakeStore() *fakeStore {
	return &fakeStore{more: make(chan struct{}, 1), gone: map[uint64]bool{}}
}

func (s *fakeStore) put(session uint64, source string, seq, offset uint64, data []byte) {
	s.records = append(s.records, buffer.Record{Offset: offset, Session: session, Source: source, Seq: seq, Data: data})
	select {
	case s.more <- struct{}{}:
	default:
	}
}

func (s *fakeStore) First() uint64 { return s.first }

func (s *fakeStore) End() (uint64, bool) {
	if n := len(s.records); n > 0 {
		return s.records[n-1].Offset + 1, !s.absent
	}
	return s.first, !s.absent
}

func (s *fakeStore) at(offset uint64) int {
	return sort.Search(len(s.records), func(i int) bool { return s.records[i].Offset >= offset })
}

func (s *fakeStore) Read(from uint64, b *buffer.Batch, maxRecords, _ int) (uint64, error) {
	b.Records = b.Records[:0]
	if s.absent {
		return from, nil
	}
	for _, r := range s.records[s.at(max(from, s.first)):] {
		if len(b.Records) == maxRecords {
			break
		}
		if !s.gone[r.Offset] {
			b.Records = append(b.Records, r)
			from = r.Offset + 1
		}
	}
	if end, _ := s.End(); len(b.Records) == 0 {
		from = max(from, end)
	}
	return from, nil
}

func (s *fakeStore) Wait(ctx context.Context, from uint64) error {
	for {
		if !s.absent {
			for _, r := range s.records[s.at(max(from, s.first)):] {
				if !s.gone[r.Offset] {
					return nil
				}
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.more:
		}
	}
}

func (s *fakeStore) Return(uint64, uint64)    {}
func (s *fakeStore) Told(*buffer.Record)      {}
func (s *fakeStore) Delivered(*buffer.Record) {}

func (s *fakeStore) Ack(from, to uint64) {
	if to < from {
		panic(fmt.Sprintf("acknowledged %d to %d", from, to))
	}
	for ; from < to; from++ {
		if from >= s.first {
			s.gone[from] = true
		}
	}
	for s.gone[s.first] {
		delete(s.gone, s.first)
		s.first++
	}
}

func testFrame(id uint32) []byte { return record.AppendFrame(nil, &can.Frame{ID: id, Len: 1}) }

func testConfig(t testing.TB, template string, maxRecords, maxBytes int) Config {
	t.Helper()
	tpl, err := topic.Parse(template)
	if err != nil {
		t.Fatal(err)
	}
	return Config{Format: native.New("gw", tpl, nil, nil), MaxRecords: maxRecords, MaxBytes: maxBytes, MaxDelay: 200 * time.Millisecond}
}

func testQueue(t *testing.T, s Store, topic string, maxRecords, maxBytes int) *Outbox {
	t.Helper()
	q := New(s, testConfig(t, topic, maxRecords, maxBytes))
	q.boundary = 0 // what the store has is of this session
	return q
}

// idle says whether all that the store has was handed out.
func (q *Outbox) idle() bool {
	end, _ := q.store.End()
	return q.placed && q.late == nil && q.live.next >= end && len(q.live.ready)+len(q.live.open) == 0
}

func next(t *testing.T, q *Outbox) (uplink.Message, *ledger.Message) {
	t.Helper()
	m, err := q.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := ledger.Parse(m.Payload)
	if err != nil {
		t.Fatalf("%v: %s", err, m.Payload)
	}
	if p.Count != len(p.Records) {
		t.Fatalf("count %d, but %d records", p.Count, len(p.Records))
	}
	return m, p
}

func TestAFullBatchLeavesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		for i := range uint64(25) {
			s.put(3, "engine", i+1, 100+i, testFrame(1))
		}
		s.first = 100
		q := testQueue(t, s, "ff/{gateway}/{source}", 10, 1<<16)
		began := time.Now()
		m, p := next(t, q)
		if m.Topic != "ff/gw/engine" || p.Seq != 1 || p.Count != 10 || p.Session != 3 || p.Source != "engine" {
			t.Errorf("%s %+v", m.Topic, p)
		}
		next(t, q)
		if time.Since(began) != 0 {
			t.Errorf("full batches waited %v", time.Since(began))
		}
		if _, p = next(t, q); p.Count != 5 || time.Since(began) != 200*time.Millisecond {
			t.Errorf("the rest: %d records after %v, want 5 after 200ms", p.Count, time.Since(began))
		}
		q.Acked(m)
		if s.first != 110 {
			t.Errorf("first %d, want 110", s.first)
		}
	})
}

func TestRecordsOfTwoSourcesAreAcknowledgedAsAPrefix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		for i := range uint64(10) {
			s.put(1, []string{"a", "b"}[i%2], i/2+1, i, testFrame(1))
		}
		q := testQueue(t, s, "{gateway}/{source}", 100, 1<<16)
		a, _ := next(t, q)
		b, _ := next(t, q)
		q.Acked(b)
		if s.first != 0 {
			t.Fatalf("the buffer let go up to %d, but source a is not acknowledged", s.first)
		}
		q.Acked(a)
		if s.first != 10 {
			t.Errorf("first %d, want 10", s.first)
		}
	})
}

func TestRewindBeginsAtTheFirstNotAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		for i := range uint64(30) {
			s.put(1, "a", i+1, i, testFrame(1))
		}
		q := testQueue(t, s, "{gateway}/{source}", 10, 1<<16)
		first, _ := next(t, q)
		second, _ := next(t, q)
		q.Acked(first)
		q.Rewind()
		q.Acked(second) // of the lost connection: must not count
		if s.first != 10 {
			t.Fatalf("first %d, want 10", s.first)
		}
		if _, p := next(t, q); p.Seq != 11 {
			t.Errorf("begins with %d, want 11", p.Seq)
		}
	})
}

func TestAMessageStaysBelowMaxBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		for i := range uint64(200) {
			s.put(1, "a", i+1, i, testFrame(uint32(i)))
		}
		q := testQueue(t, s, "{gateway}/{source}", 1000, 1000)
		for seq := uint64(1); seq <= 200; {
			m, p := next(t, q)
			if len(m.Payload) > 1000 {
				t.Fatalf("a message of %d bytes", len(m.Payload))
			}
			if p.Seq != seq {
				t.Fatalf("seq %d, want %d", p.Seq, seq)
			}
			seq += uint64(p.Count)
		}
	})
}

func TestHolesAndUnreadableRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		s.put(1, "a", 1, 5, []byte("?what"))
		s.records = append(s.records, buffer.Record{Offset: 9, Session: 1, Source: "a", Seq: 2, Lost: 7, Reason: buffer.Evicted})
		q := testQueue(t, s, "{gateway}/{source}", 100, 1<<16)
		m, p := next(t, q)
		var heads []ledger.Head
		for _, raw := range p.Records {
			var h ledger.Head
			if err := json.Unmarshal(raw, &h); err != nil {
				t.Fatal(err)
			}
			heads = append(heads, h)
		}
		if len(heads) != 2 || heads[0].Reason != "corrupt" || heads[0].From != 1 || heads[0].To != 1 ||
			heads[1].Reason != "evicted" || heads[1].From != 2 || heads[1].To != 8 {
			t.Errorf("%s", m.Payload)
		}
		q.Acked(m)
		if s.first != 10 {
			t.Errorf("first %d, want 10", s.first)
		}
	})
}

func TestATopicPerArbitrationID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		for i := range uint64(6) {
			s.put(1, "a", i+1, i, testFrame(uint32(i%3)))
		}
		q := testQueue(t, s, "x/{source}/{id}", 2, 1<<16)
		topics := map[string]bool{}
		for range 3 {
			m, p := next(t, q)
			topics[m.Topic] = p.Count == 2
			q.Acked(m)
		}
		if s.first != 6 || !topics["x/a/000"] || !topics["x/a/001"] || !topics["x/a/002"] {
			t.Errorf("first %d, topics %v", s.first, topics)
		}
	})
}

// Whatever connections come and go, every record is handed out until it is
// acknowledged, in order per source.
func TestQueueAgainstRandomConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(5, 6))
		s := newFakeStore()
		seqs := map[string]uint64{}
		for i := range uint64(5000) {
			source := []string{"a", "b", "c"}[rng.IntN(3)]
			seqs[source]++
			s.put(1, source, seqs[source], i, testFrame(uint32(rng.IntN(4))))
		}
		q := testQueue(t, s, "{gateway}/{source}", 7, 1<<16)
		var ledger ledger.Ledger
		for s.first < 5000 {
			var inFlight []uplink.Message
			last := map[string]uint64{}
			for range rng.IntN(40) + 1 {
				if len(inFlight) > 0 && (rng.IntN(2) == 0 || q.idle()) {
					q.Acked(inFlight[0])
					inFlight = inFlight[1:]
					continue
				}
				if s.first == 5000 {
					break
				}
				m, p := next(t, q)
				if p.Seq <= last[p.Source] {
					t.Fatalf("source %s: %d after %d on one connection", p.Source, p.Seq, last[p.Source])
				}
				last[p.Source] = p.Seq + uint64(p.Count) - 1
				if _, err := ledger.Add(p); err != nil {
					t.Fatal(err)
				}
				inFlight = append(inFlight, m)
			}
			if s.first < 4900 {
				q.Rewind()
			} else {
				for _, m := range inFlight {
					q.Acked(m)
				}
			}
		}
		if gaps := ledger.Gaps(true); len(gaps) > 0 || ledger.Records != 5000 {
			t.Errorf("records %d, gaps %v", ledger.Records, gaps)
		}
	})
}
