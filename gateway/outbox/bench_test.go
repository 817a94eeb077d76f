package outbox

import (
	"context"
	"testing"

	"fieldferry/buffer"
	"fieldferry/uplink"
)

// endlessStore has a record at every offset below end, all of one source.
type endlessStore struct {
	first, end uint64
	data       []byte
}

func (s *endlessStore) First() uint64            { return s.first }
func (s *endlessStore) End() (uint64, bool)      { return s.end, true }
func (s *endlessStore) Return(uint64, uint64)    {}
func (s *endlessStore) Told(*buffer.Record)      {}
func (s *endlessStore) Delivered(*buffer.Record) {}

func (s *endlessStore) Ack(from, to uint64) { s.first = max(s.first, to) }

func (s *endlessStore) Wait(ctx context.Context, from uint64) error {
	if from < s.end {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (s *endlessStore) Read(from uint64, b *buffer.Batch, maxRecords, _ int) (uint64, error) {
	b.Records = b.Records[:0]
	for ; from < s.end && len(b.Records) < maxRecords; from++ {
		b.Records = append(b.Records, buffer.Record{Offset: from, Session: 1, Source: "engine", Seq: from + 1, Time: int64(from) * 1e5, Data: s.data})
	}
	return from, nil
}

// BenchmarkQueue is one record from the buffer to its acknowledgement, without
// buffer and uplink: two messages are in flight, which a backlog always has room for.
func BenchmarkQueue(b *testing.B) {
	for _, lane := range []struct {
		name     string
		boundary uint64
	}{{"live", 0}, {"backlog", 1 << 60}} {
		b.Run(lane.name, func(b *testing.B) {
			s := &endlessStore{end: 1 << 60, data: testFrame(0x123)}
			q := New(s, testConfig(b, "fieldferry/{gateway}/{source}", 100, 64<<10))
			q.boundary = lane.boundary
			var flight []uplink.Message
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; {
				m, err := q.Next(context.Background())
				if err != nil {
					b.Fatal(err)
				}
				n += q.inFlight[m.Token].count
				if flight = append(flight, m); len(flight) == 2 {
					q.Acked(flight[0])
					flight = append(flight[:0], flight[1:]...)
				}
			}
		})
	}
}
