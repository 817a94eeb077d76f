package buffertest

import (
	"encoding/binary"
	"math/rand/v2"
)

// Traffic makes records like those of a busy CAN bus: some sixty identifiers,
// each with its own period and jitter, with counters, checksums and slowly
// changing values. It is deterministic for a seed.
type Traffic struct {
	rng  *rand.Rand
	ids  []message
	data [24]byte
}

type message struct {
	id     uint32
	period int64
	due    int64
	count  byte
	walk   [3]uint16
}

// NewTraffic returns traffic of about rate records a second that begins at
// start, in nanoseconds since 1970.
func NewTraffic(seed uint64, rate int, start int64) *Traffic {
	t := &Traffic{rng: rand.New(rand.NewPCG(seed, 1))}
	weights := []int64{10, 10, 20, 20, 50, 50, 100, 100, 100, 1000}
	load := 0.0
	for i := range 60 {
		load += 1 / float64(weights[i%len(weights)])
	}
	for i := range 60 {
		p := int64(float64(weights[i%len(weights)]) * load / float64(rate) * 1e9)
		m := message{id: 0x0CF00000 | uint32(t.rng.IntN(1<<16)), period: p, due: start + t.rng.Int64N(p)}
		for j := range m.walk {
			m.walk[j] = uint16(t.rng.IntN(1 << 16))
		}
		t.ids = append(t.ids, m)
	}
	return t
}

// Next returns the next record: its time and 24 bytes as a gateway may pack a
// frame (identifier, length, flags, 8 bytes of payload, then zeros). The bytes
// are valid until the next call.
func (t *Traffic) Next() (int64, []byte) {
	k := 0
	for i := range t.ids {
		if t.ids[i].due < t.ids[k].due {
			k = i
		}
	}
	m := &t.ids[k]
	at := m.due
	m.due += m.period + t.rng.Int64N(m.period/50+1) - m.period/100
	m.count++
	for j := range m.walk {
		if t.rng.IntN(4) == 0 {
			m.walk[j] += uint16(t.rng.IntN(9) - 4)
		}
	}
	d := &t.data
	binary.LittleEndian.PutUint32(d[0:], m.id)
	d[4], d[5] = 8, 1
	binary.LittleEndian.PutUint16(d[8:], m.walk[0])
	binary.LittleEndian.PutUint16(d[10:], m.walk[1])
	binary.LittleEndian.PutUint16(d[12:], m.walk[2])
	d[14] = m.count & 15
	d[15] = d[8] ^ d[10] ^ d[12] ^ d[14]
	return at, d[:]
}
