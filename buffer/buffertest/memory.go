package buffertest

import (
	"context"
	"sync"

	"fieldferry/buffer"
)

// Disk is what outlives a store in memory. The zero value is empty.
type Disk struct {
	mu      sync.Mutex
	session uint64
	next    uint64
	records []buffer.Record // not acknowledged
}

// Open returns a store with what the last one left, in a new session. One
// store of a Disk may be open at a time.
func (d *Disk) Open() Store {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.session++
	d.next = max(d.next, 1)
	return &memory{d: d, sources: map[string]*memorySource{}, wake: make(chan struct{})}
}

type memory struct {
	d       *Disk
	sources map[string]*memorySource
	wake    chan struct{}
	closed  bool
	stats   buffer.Stats
}

type memorySource struct {
	m    *memory
	name string
	next uint64
}

func (m *memory) Source(name string) Source {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	if m.sources[name] == nil {
		m.sources[name] = &memorySource{m: m, name: name, next: 1}
	}
	return m.sources[name]
}

func (s *memorySource) Append(t int64, data []byte) uint64 {
	s.m.d.mu.Lock()
	defer s.m.d.mu.Unlock()
	s.m.stats.Appended++
	return s.put(buffer.Record{Time: t, Data: append([]byte(nil), data...)}, 1)
}

func (s *memorySource) Lose(t int64, n uint64, reason buffer.Reason) {
	s.m.d.mu.Lock()
	defer s.m.d.mu.Unlock()
	s.m.stats.Lost += n
	s.m.stats.LostBy[reason] += n
	s.put(buffer.Record{Time: t, Lost: n, Reason: reason}, n)
}

func (s *memorySource) put(r buffer.Record, n uint64) (seq uint64) {
	d := s.m.d
	seq = s.next
	s.next += n
	r.Offset, r.Session, r.Source, r.Seq = d.next, d.session, s.name, seq
	d.next++
	if !s.m.closed {
		d.records = append(d.records, r)
	}
	close(s.m.wake)
	s.m.wake = make(chan struct{})
	return seq
}

func (m *memory) First() uint64 {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	if len(m.d.records) == 0 {
		return m.d.next
	}
	return m.d.records[0].Offset
}

func (m *memory) Read(from uint64, batch *buffer.Batch, maxRecords, maxBytes int) (uint64, error) {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	batch.Records = batch.Records[:0]
	if m.closed {
		return from, buffer.ErrClosed
	}
	size := 0
	for _, r := range m.d.records {
		if r.Offset < from {
			continue
		}
		if len(batch.Records) >= maxRecords || size >= maxBytes {
			return from, nil
		}
		batch.Records = append(batch.Records, r)
		size += len(r.Data)
		from = r.Offset + 1
	}
	return max(from, m.d.next), nil
}

func (m *memory) Wait(ctx context.Context, from uint64) error {
	for {
		m.d.mu.Lock()
		closed, wake, n := m.closed, m.wake, len(m.d.records)
		ready := n > 0 && m.d.records[n-1].Offset >= from
		m.d.mu.Unlock()
		if closed {
			return buffer.ErrClosed
		}
		if ready {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		}
	}
}

func (m *memory) Ack(from, to uint64) {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	n := 0
	for _, r := range m.d.records {
		if r.Offset >= from && r.Offset < to {
			m.stats.Acked++
			continue
		}
		m.d.records[n] = r
		n++
	}
	m.d.records = m.d.records[:n]
}

func (m *memory) Stats() buffer.Stats {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	s := m.stats
	s.Session = m.d.session
	s.Pending = uint64(len(m.d.records))
	return s
}

func (m *memory) Close() error {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	if m.closed {
		return buffer.ErrClosed
	}
	m.closed = true
	close(m.wake)
	m.wake = make(chan struct{})
	return nil
}
