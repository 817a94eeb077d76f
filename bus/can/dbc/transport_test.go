package dbc

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"fieldferry/bus/can"
)

// sender makes the frames of a transfer.
type sender struct {
	source, destination byte
	pgn                 uint32
	data                []byte
}

func (s *sender) packets() int { return (len(s.data) + packetSize - 1) / packetSize }

func (s *sender) announce() can.Frame {
	control := byte(controlRTS)
	if s.destination == GlobalAddress {
		control = controlBAM
	}
	return s.connection(control, byte(len(s.data)), byte(len(s.data)>>8), byte(s.packets()), 0xFF)
}

func (s *sender) connection(head ...byte) can.Frame {
	f := can.Frame{ID: J1939ID(7, pgnConnection, s.destination, s.source), Flags: can.Extended, Len: 8}
	copy(f.Data[:], append(head, byte(s.pgn), byte(s.pgn>>8), byte(s.pgn>>16)))
	return f
}

func (s *sender) packet(n int) can.Frame {
	f := can.Frame{ID: J1939ID(7, pgnTransfer, s.destination, s.source), Flags: can.Extended, Len: 8}
	for i := range f.Data[:8] {
		f.Data[i] = 0xFF
	}
	f.Data[0] = byte(n + 1)
	copy(f.Data[1:8], s.data[n*packetSize:])
	return f
}

func (s *sender) frames() []can.Frame {
	frames := []can.Frame{s.announce()}
	for n := range s.packets() {
		frames = append(frames, s.packet(n))
	}
	return frames
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// feed gives frames 50 ms apart and returns what was complete.
func feed(t *Transport, now *int64, frames ...can.Frame) (complete []Packet) {
	for i := range frames {
		*now += int64(50 * time.Millisecond)
		frames[i].Time = *now
		if p, ok := t.Feed(&frames[i]); ok {
			p.Data = bytes.Clone(p.Data)
			complete = append(complete, p)
		}
	}
	return complete
}

func TestTransportSizes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var tr Transport
	now := int64(0)
	for _, destination := range []byte{GlobalAddress, 0x21} {
		for _, size := range []int{9, 13, 14, 15, 63, 64, 65, 448, 449, 1784, 1785} {
			s := sender{0x10, destination, 0xFECA, randomBytes(r, size)}
			got := feed(&tr, &now, s.frames()...)
			if len(got) != 1 || !bytes.Equal(got[0].Data, s.data) || got[0].PGN != s.pgn || got[0].Source != 0x10 ||
				got[0].Destination != destination || got[0].Time != now || got[0].ID() != 0x1CFECA10 {
				t.Fatalf("size %d to %X: %+v", size, destination, got)
			}
		}
	}
	if want := (TransportStats{Complete: 22}); tr.Stats() != want {
		t.Errorf("%+v, want %+v", tr.Stats(), want)
	}
}

func TestTransportFaults(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	bam := sender{0x10, GlobalAddress, 0xFECA, randomBytes(r, 20)}
	rts := sender{0x10, 0x21, 0xFECA, randomBytes(r, 20)}
	back := sender{0x21, 0x10, 0xFECA, nil}
	other := sender{0x11, GlobalAddress, 0xFECB, randomBytes(r, 20)}
	odd := func(change func(*can.Frame)) can.Frame {
		f := bam.announce()
		change(&f)
		return f
	}
	tests := []struct {
		name   string
		frames []can.Frame
		want   int
		stats  TransportStats
	}{
		{"packets in any order, one twice", []can.Frame{rts.announce(), rts.packet(2), rts.packet(0), rts.packet(2), rts.packet(1)}, 1,
			TransportStats{Complete: 1}},
		{"a packet missing", []can.Frame{bam.announce(), bam.packet(0), bam.packet(2)}, 0, TransportStats{}},
		{"begun anew", []can.Frame{bam.announce(), bam.packet(0), bam.announce(), bam.packet(1), bam.packet(2)}, 0, TransportStats{Aborted: 1}},
		{"no announcement", []can.Frame{bam.packet(0)}, 0, TransportStats{Faulty: 1}},
		{"packet 0", []can.Frame{bam.announce(), {ID: 0x1CEBFF10, Flags: can.Extended, Len: 8}}, 0, TransportStats{Faulty: 1}},
		{"packet beyond the end", []can.Frame{bam.announce(), {ID: 0x1CEBFF10, Flags: can.Extended, Len: 8, Data: [64]byte{4}}}, 0, TransportStats{Faulty: 1}},
		{"after the end", append(bam.frames(), bam.packet(2)), 1, TransportStats{Complete: 1, Faulty: 1}},
		{"two at once", []can.Frame{bam.announce(), other.announce(), rts.announce(), bam.packet(0), other.packet(0), rts.packet(0), bam.packet(1),
			other.packet(1), rts.packet(1), rts.packet(2), bam.packet(2), other.packet(2)}, 3, TransportStats{Complete: 3}},
		{"aborted by the sender", []can.Frame{rts.announce(), rts.packet(0), rts.connection(controlAbort, 3), rts.packet(1)}, 0,
			TransportStats{Aborted: 1, Faulty: 1}},
		{"aborted by the receiver", []can.Frame{rts.announce(), rts.packet(0), back.connection(controlAbort, 3), rts.packet(1)}, 0,
			TransportStats{Aborted: 1, Faulty: 1}},
		{"acknowledged, though a packet was not seen", []can.Frame{rts.announce(), rts.packet(0), rts.packet(2), back.connection(controlAcknowledge)}, 0,
			TransportStats{Aborted: 1}},
		{"clear to send", []can.Frame{rts.announce(), back.connection(controlCTS, 1, 1), rts.packet(0), back.connection(controlCTS, 2, 2),
			rts.packet(1), rts.packet(2), back.connection(controlAcknowledge)}, 1, TransportStats{Complete: 1}},
		{"too short", []can.Frame{odd(func(f *can.Frame) { f.Data[1], f.Data[3] = 8, 2 })}, 0, TransportStats{Faulty: 1}},
		{"too long", []can.Frame{odd(func(f *can.Frame) { f.Data[1], f.Data[2], f.Data[3] = 0xFA, 6, 255 })}, 0, TransportStats{Faulty: 1}},
		{"wrong number of packets", []can.Frame{odd(func(f *can.Frame) { f.Data[3] = 4 })}, 0, TransportStats{Faulty: 1}},
		{"broadcast to one", []can.Frame{odd(func(f *can.Frame) { f.ID = 0x1CEC2110 })}, 0, TransportStats{Faulty: 1}},
		{"parameter group beyond 18 bits", []can.Frame{odd(func(f *can.Frame) { f.Data[7] = 4 })}, 0, TransportStats{Faulty: 1}},
		{"unknown control byte", []can.Frame{odd(func(f *can.Frame) { f.Data[0] = 99 })}, 0, TransportStats{Faulty: 1}},
		{"short frame", []can.Frame{odd(func(f *can.Frame) { f.Len = 7 })}, 0, TransportStats{}},
		{"standard frame", []can.Frame{odd(func(f *can.Frame) { f.Flags = 0 })}, 0, TransportStats{}},
		{"remote frame", []can.Frame{odd(func(f *can.Frame) { f.Flags |= can.Remote })}, 0, TransportStats{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var tr Transport
			now := int64(0)
			if got := feed(&tr, &now, test.frames...); len(got) != test.want {
				t.Errorf("%d messages, want %d", len(got), test.want)
			}
			if tr.Stats() != test.stats {
				t.Errorf("%+v, want %+v", tr.Stats(), test.stats)
			}
		})
	}
}

// TestTransportTimeout: silence is measured by the frames' times, and a clock
// that steps back ends a transfer too.
func TestTransportTimeout(t *testing.T) {
	s := sender{0x10, GlobalAddress, 0xFECA, make([]byte, 14)}
	for _, test := range []struct {
		silence time.Duration
		want    int
	}{{1250 * time.Millisecond, 1}, {1251 * time.Millisecond, 0}, {-time.Hour, 0}, {-time.Second, 1}} {
		var tr Transport
		now := int64(1e18)
		feed(&tr, &now, s.announce(), s.packet(0))
		now += int64(test.silence) - int64(50*time.Millisecond)
		if got := feed(&tr, &now, s.packet(1)); len(got) != test.want {
			t.Errorf("after %v: %d messages, want %d", test.silence, len(got), test.want)
		}
	}
}

// TestTransportBounded: any number of transfers begun needs bounded memory, and
// the most recent ones are followed.
func TestTransportBounded(t *testing.T) {
	var tr Transport
	now := int64(0)
	for n := range 100_000 {
		s := sender{byte(n), byte(n >> 8 % 250), 0xFECA, make([]byte, 1785)}
		f := s.announce()
		f.Time = now
		tr.Feed(&f)
	}
	if len(tr.sessions) > maxTransfers {
		t.Errorf("%d transfers followed", len(tr.sessions))
	}
	s := sender{0x33, GlobalAddress, 0xFECA, make([]byte, 100)}
	if got := feed(&tr, &now, s.frames()...); len(got) != 1 {
		t.Error("a new transfer was not followed")
	}
	frames := s.frames()
	if n := testing.AllocsPerRun(100, func() {
		for i := range frames {
			tr.Feed(&frames[i])
		}
	}); n != 0 {
		t.Errorf("%v allocations per transfer", n)
	}
}

func TestJ1939ID(t *testing.T) {
	for _, test := range []struct {
		id                            uint32
		pgn                           uint32
		priority, source, destination uint8
	}{
		{0x0CF00400, 0xF004, 3, 0x00, 0xFF},
		{0x18FECA21, 0xFECA, 6, 0x21, 0xFF},
		{0x0C002103, 0x0000, 3, 0x03, 0x21},
		{0x1CEBFF10, 0xEB00, 7, 0x10, 0xFF},
		{0x19F11223, 0x1F112, 6, 0x23, 0xFF}, // data page 1
		{0x1BEF1122, 0x3EF00, 6, 0x22, 0x11}, // both page bits
	} {
		if got := PGN(test.id); got != test.pgn {
			t.Errorf("%08X: PGN %X, want %X", test.id, got, test.pgn)
		}
		if p, s, d := Priority(test.id), SourceAddress(test.id), Destination(test.id); p != test.priority || s != test.source || d != test.destination {
			t.Errorf("%08X: %d %X %X", test.id, p, s, d)
		}
		if id := J1939ID(test.priority, test.pgn, test.destination, test.source); id != test.id {
			t.Errorf("%08X: put together %08X", test.id, id)
		}
	}
}

func FuzzTransport(f *testing.F) {
	s := sender{0x10, GlobalAddress, 0xFECA, make([]byte, 20)}
	var seed []byte
	for _, frame := range s.frames() {
		seed = append(seed, 1, byte(frame.ID>>16), byte(frame.ID>>8))
		seed = append(seed, frame.Data[:8]...)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		var tr Transport
		frame := can.Frame{Flags: can.Extended, Len: 8}
		for ; len(b) >= 11; b = b[11:] {
			frame.Time += int64(b[0]) * int64(10*time.Millisecond)
			frame.ID = 0x1C000010 | uint32(b[1])<<16 | uint32(b[2])<<8
			copy(frame.Data[:8], b[3:])
			if p, ok := tr.Feed(&frame); ok && (len(p.Data) < minTransferSize || len(p.Data) > maxTransferSize) {
				t.Fatalf("%d bytes", len(p.Data))
			}
		}
	})
}
