package buffertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"fieldferry/buffer"
)

// Suite runs the tests every store has to pass. open opens the store anew,
// with what the last one left when it was closed.
func Suite(t *testing.T, setup func(t *testing.T) (open func() Store)) {
	t.Run("Model", func(t *testing.T) {
		for seed := range uint64(4) {
			t.Run(fmt.Sprint(seed), func(t *testing.T) { testModel(t, setup(t), seed) })
		}
	})
	t.Run("Wait", func(t *testing.T) { testWait(t, setup(t)()) })
	t.Run("Closed", func(t *testing.T) { testClosed(t, setup(t)()) })
	t.Run("Lanes", func(t *testing.T) { testLanes(t, setup(t)) })
}

// Evicting runs the model test against a store so small that it evicts.
// after is called now and then, to look at the files.
func Evicting(t *testing.T, open func() Store, seed uint64, after func(Store)) {
	m := newModel(t, open, seed)
	m.evicts = true
	m.size = 400
	for i := range 1500 {
		m.step()
		if i%100 == 0 {
			after(m.store)
			m.check()
		}
	}
	m.finish()
}

// key names a number: what identifies a record to its receiver.
type key struct {
	session uint64
	source  string
	seq     uint64
}

// entry is what the model knows of a number.
type entry struct {
	data  string
	lost  bool
	why   buffer.Reason
	acked bool
}

type model struct {
	t       *testing.T
	rng     *rand.Rand
	open    func() Store
	store   Store
	batch   buffer.Batch
	all     map[key]entry
	next    map[string]uint64
	session uint64
	pos     uint64 // of the reader
	evicts  bool
	size    int // of the biggest record
}

func newModel(t *testing.T, open func() Store, seed uint64) *model {
	m := &model{t: t, rng: rand.New(rand.NewPCG(seed, 99)), open: open, all: map[key]entry{}, size: 60}
	m.reopen()
	return m
}

func testModel(t *testing.T, open func() Store, seed uint64) {
	m := newModel(t, open, seed)
	for i := range 800 {
		m.step()
		if i%50 == 0 {
			m.check()
		}
	}
	m.finish()
}

var names = []string{"engine", "line1", "status"}

func (m *model) step() {
	switch n := m.rng.IntN(100); {
	case n < 60:
		for range 1 + m.rng.IntN(40) {
			m.append()
		}
	case n < 70:
		m.lose()
	case n < 92:
		m.deliver()
	case n < 96:
		m.pos = m.store.First() // as after a lost connection
	case n < 97:
		m.reopen()
	}
}

func (m *model) append() {
	name := names[m.rng.IntN(len(names))]
	data := make([]byte, m.rng.IntN(m.size))
	for i := range data {
		data[i] = byte(m.rng.Uint32())
	}
	seq := m.store.Source(name).Append(int64(seqTime(m.next[name])), data)
	if seq != m.next[name] {
		m.t.Fatalf("%s: number %d, want %d", name, seq, m.next[name])
	}
	m.all[key{m.session, name, seq}] = entry{data: string(data)}
	m.next[name]++
}

func seqTime(seq uint64) uint64 { return seq * 1000 }

func (m *model) lose() {
	name := names[m.rng.IntN(len(names))]
	n := 1 + m.rng.Uint64N(30)
	why := buffer.RxOverflow
	m.store.Source(name).Lose(0, n, why)
	for i := range n {
		m.all[key{m.session, name, m.next[name] + i}] = entry{lost: true, why: why}
	}
	m.next[name] += n
}

// deliver reads some records and acknowledges them.
func (m *model) deliver() {
	limit := m.rng.IntN(400)
	if m.evicts {
		limit /= 20 // slower than records come
	}
	next, err := m.store.Read(m.pos, &m.batch, limit, 1<<20)
	if err != nil {
		m.t.Fatal(err)
	}
	if len(m.batch.Records) > limit {
		m.t.Fatalf("%d records, at most %d were asked for", len(m.batch.Records), limit)
	}
	from := m.pos
	for i := range m.batch.Records {
		m.acked(&m.batch.Records[i], from, next)
		from = m.batch.Records[i].Offset + 1
	}
	m.store.Ack(m.pos, next)
	m.pos = next
}

func (m *model) acked(r *buffer.Record, from, next uint64) {
	if r.Offset < from || r.Offset >= next {
		m.t.Fatalf("record at %d, want one in [%d,%d)", r.Offset, from, next)
	}
	m.compare(r)
	for i := range max(r.Lost, 1) {
		k := key{r.Session, r.Source, r.Seq + i}
		e := m.all[k]
		e.acked = true
		m.all[k] = e
	}
}

// compare compares a record with what was appended.
func (m *model) compare(r *buffer.Record) {
	for i := range max(r.Lost, 1) {
		k := key{r.Session, r.Source, r.Seq + i}
		e, ok := m.all[k]
		switch {
		case !ok:
			m.t.Fatalf("%+v was never appended", k)
		case r.Lost == 0 && (e.lost || e.data != string(r.Data) || r.Time != int64(seqTime(r.Seq))):
			m.t.Fatalf("%+v: got %+v, want %+v", k, r, e)
		case r.Lost > 0 && e.lost && r.Reason != e.why && !(m.evicts && r.Reason == buffer.Evicted):
			m.t.Fatalf("%+v: lost by %v, want %v", k, r.Reason, e.why)
		case r.Lost > 0 && !e.lost && !(m.evicts && r.Reason == buffer.Evicted):
			m.t.Fatalf("%+v is said to be lost by %v", k, r.Reason)
		}
	}
}

func (m *model) reopen() {
	if m.store != nil {
		if err := m.store.Close(); err != nil {
			m.t.Fatal(err)
		}
	}
	m.store = m.open()
	session := m.store.Stats().Session
	if session <= m.session {
		m.t.Fatalf("session %d after %d", session, m.session)
	}
	m.session = session
	m.next = map[string]uint64{}
	for _, n := range names {
		m.next[n] = 1
	}
	m.pos = m.store.First()
}

// check reads everything and finds every number that was not acknowledged
// exactly once, in order.
func (m *model) check() {
	m.t.Helper()
	seen := map[key]bool{}
	last := map[key]uint64{}
	var batch buffer.Batch
	for pos := uint64(0); ; {
		next, err := m.store.Read(pos, &batch, 1000, 1<<20)
		if err != nil {
			m.t.Fatal(err)
		}
		if len(batch.Records) == 0 {
			break
		}
		pos = next
		for i := range batch.Records {
			r := &batch.Records[i]
			m.compare(r)
			src := key{session: r.Session, source: r.Source}
			// What is read a second time may be evicted meanwhile: the loss then
			// names what this reader has just had, and never less than is lost.
			again := m.evicts && r.Lost > 0 && r.Seq+r.Lost-1 > last[src]
			if r.Seq <= last[src] && !again {
				m.t.Fatalf("%+v comes after %d", r, last[src])
			}
			last[src] = max(last[src], r.Seq+max(r.Lost, 1)-1)
			for j := range max(r.Lost, 1) {
				k := key{r.Session, r.Source, r.Seq + j}
				if m.all[k].acked && !m.evicts {
					m.t.Fatalf("%+v was acknowledged", k)
				}
				seen[k] = true
			}
		}
	}
	for k, e := range m.all {
		if !e.acked && !seen[k] {
			m.t.Fatalf("%+v is missing; stats %+v", k, m.store.Stats())
		}
	}
}

// finish delivers everything after a last reopening.
func (m *model) finish() {
	m.t.Helper()
	m.check()
	m.reopen()
	m.check()
	for m.store.First() != m.firstFree() {
		m.pos = m.store.First()
		m.deliver()
	}
	for k, e := range m.all {
		if !e.acked {
			m.t.Fatalf("%+v was never delivered", k)
		}
	}
	if st := m.store.Stats(); st.Pending != 0 {
		m.t.Fatalf("%d records are left", st.Pending)
	}
	if err := m.store.Close(); err != nil {
		m.t.Fatal(err)
	}
}

// firstFree returns the end of what can be read.
func (m *model) firstFree() uint64 {
	if m.store.Stats().Pending == 0 {
		return m.store.First()
	}
	return ^uint64(0)
}

func testWait(t *testing.T, s Store) {
	src := s.Source("engine")
	first := s.First()
	pos := first
	var batch buffer.Batch
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 100 {
			src.Append(int64(i), nil)
		}
	}()
	for n := 0; n < 100; {
		if err := s.Wait(context.Background(), pos); err != nil {
			t.Fatal(err)
		}
		next, err := s.Read(pos, &batch, 10, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if len(batch.Records) == 0 {
			t.Fatal("Wait returned and there is nothing")
		}
		n += len(batch.Records)
		pos = next
	}
	<-done
	s.Ack(first, pos)
	if next, err := s.Read(first, &batch, 10, 1<<20); next != pos || err != nil || len(batch.Records) > 0 {
		t.Fatalf("Read of what is acknowledged: %d records, %v, next %d, want none and %d", len(batch.Records), err, next, pos)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Wait(ctx, pos); !errors.Is(err, context.Canceled) {
		t.Fatalf("Wait returned %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func testClosed(t *testing.T, s Store) {
	s.Source("engine").Append(1, nil)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var batch buffer.Batch
	if _, err := s.Read(0, &batch, 1, 1); !errors.Is(err, buffer.ErrClosed) {
		t.Errorf("Read: %v", err)
	}
	if err := s.Wait(context.Background(), 0); !errors.Is(err, buffer.ErrClosed) {
		t.Errorf("Wait: %v", err)
	}
	if err := s.Close(); !errors.Is(err, buffer.ErrClosed) {
		t.Errorf("Close: %v", err)
	}
	s.Source("engine").Append(1, nil) // must not panic
	s.Ack(0, 10)
}

// testLanes acknowledges from two places at once: new records and a backlog.
func testLanes(t *testing.T, open func() Store) {
	s := open()
	src := s.Source("engine")
	for i := range 1000 {
		src.Append(int64(i), []byte{byte(i), byte(i >> 8)})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	src = s.Source("engine")
	old := s.First()
	var batch buffer.Batch
	for i := range 20 {
		seq := src.Append(int64(i), []byte("new"))
		pos := s.First() + 1000 - uint64(i)*10 + uint64(i)
		if err := s.Wait(context.Background(), pos); err != nil {
			t.Fatal(err)
		}
		next, err := s.Read(pos, &batch, 1, 100)
		if err != nil || len(batch.Records) != 1 || batch.Records[0].Seq != seq {
			t.Fatalf("live lane: %v, %+v, want number %d", err, batch.Records, seq)
		}
		s.Ack(pos, next)
		next, err = s.Read(old, &batch, 10, 1<<10)
		if err != nil || len(batch.Records) != 10 || batch.Records[0].Seq != uint64(i*10+1) {
			t.Fatalf("backlog lane: %v, %+v", err, batch.Records)
		}
		s.Ack(old, next)
		old = next
	}
	if n := s.Stats().Pending; n != 800 {
		t.Errorf("%d records pending, want 800", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
