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
	f.Data = [64]byte{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, byte(s.pgn), byte(s.pgn >> 8), byte(s.pgn >> 16)}
	copy(f.Data[:5], head)
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

func TestTransportRules(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	bam := sender{0x10, GlobalAddress, 0xFECA, randomBytes(r, 40)} // 6 packets
	rts := sender{0x10, 0x21, 0xFECA, randomBytes(r, 40)}
	back := sender{0x21, 0x10, 0xFECA, nil}
	other := sender{0x11, GlobalAddress, 0xFECB, randomBytes(r, 40)}
	next := sender{0x10, 0x21, 0xFEFE, randomBytes(r, 40)} // of another group
	nextBack := sender{0x21, 0x10, 0xFEFE, nil}
	opposite := sender{0x21, 0x10, 0xFECC, randomBytes(r, 40)}
	cts := func(count, first byte) can.Frame { return back.connection(controlCTS, count, first) }
	odd := func(change func(*can.Frame)) can.Frame {
		f := bam.announce()
		change(&f)
		return f
	}
	packets := func(s sender, numbers ...int) (frames []can.Frame) {
		for _, n := range numbers {
			frames = append(frames, s.packet(n-1))
		}
		return frames
	}
	join := func(parts ...any) (frames []can.Frame) {
		for _, p := range parts {
			switch p := p.(type) {
			case can.Frame:
				frames = append(frames, p)
			case []can.Frame:
				frames = append(frames, p...)
			}
		}
		return frames
	}
	type stats = TransportStats
	tests := []struct {
		name   string
		frames []can.Frame
		want   int
		stats  stats
	}{
		{"broadcast", bam.frames(), 1, stats{Complete: 1}},
		{"broadcast, number back", join(bam.announce(), packets(bam, 1, 2, 3, 2, 3, 4, 5, 6)), 0, stats{Broken: 1, Faulty: 4}},
		{"broadcast, number twice", join(bam.announce(), packets(bam, 1, 2, 2, 3, 4, 5, 6)), 0, stats{Broken: 1, Faulty: 4}},
		{"broadcast, number left out", join(bam.announce(), packets(bam, 1, 2, 4, 3, 5, 6)), 0, stats{Broken: 1, Faulty: 3}},
		{"broadcast, first left out", join(bam.announce(), packets(bam, 2, 1, 3, 4, 5, 6)), 0, stats{Broken: 1, Faulty: 5}},
		{"begun again", join(bam.announce(), packets(bam, 1), bam.announce(), packets(bam, 2, 3)), 0, stats{Aborted: 1, Broken: 1, Faulty: 1}},
		{"no announcement", packets(bam, 1), 0, stats{Faulty: 1}},
		{"packet 0", []can.Frame{bam.announce(), {ID: 0x1CEBFF10, Flags: can.Extended, Len: 8}}, 0, stats{Broken: 1}},
		{"packet beyond the end", []can.Frame{bam.announce(), {ID: 0x1CEBFF10, Flags: can.Extended, Len: 8, Data: [64]byte{7}}}, 0, stats{Broken: 1}},
		{"after the end", append(bam.frames(), bam.packet(2)), 1, stats{Complete: 1, Faulty: 1}},
		{"three at once", join(bam.announce(), other.announce(), rts.announce(), bam.packet(0), other.packet(0), rts.packet(0), bam.packet(1),
			other.packet(1), rts.packet(1), packets(bam, 3, 4, 5, 6), packets(other, 3, 4, 5, 6), packets(rts, 3, 4, 5, 6)), 3, stats{Complete: 3}},

		{"a request to a broadcast", join(bam.announce(), can.Frame{ID: 0x1CEC10FF, Flags: can.Extended, Len: 8, Data: [64]byte{controlCTS, 1, 1, 255, 255, 0xCA, 0xFE}}), 0,
			stats{Broken: 1}},

		{"clear to send", join(rts.announce(), cts(3, 1), packets(rts, 1, 2, 3), cts(3, 4), packets(rts, 4, 5, 6), back.connection(controlAcknowledge)), 1, stats{Complete: 1}},
		{"a pause", join(rts.announce(), cts(3, 1), packets(rts, 1, 2, 3), cts(0, 255), cts(0, 255), cts(3, 4), packets(rts, 4, 5, 6)), 1, stats{Complete: 1}},
		{"requests not seen", rts.frames(), 1, stats{Complete: 1}},
		{"requests not seen, number left out", join(rts.announce(), packets(rts, 1, 2, 4, 5, 6), cts(1, 3), packets(rts, 3)), 0, stats{Broken: 1, Faulty: 3}},
		{"a packet of the message before", join(rts.announce(), packets(next, 6), cts(3, 1), packets(rts, 1, 2, 3), cts(2, 4), packets(rts, 4, 5)), 0,
			stats{Broken: 1, Faulty: 5}},
		{"more than asked for", join(rts.announce(), cts(3, 1), packets(rts, 1, 2, 3, 4, 5, 6)), 0, stats{Broken: 1, Faulty: 2}},
		{"asked for again", join(rts.announce(), cts(6, 1), packets(rts, 1, 2, 3, 5, 6), cts(1, 4), packets(rts, 4)), 1, stats{Complete: 1}},
		{"asked for again from there on", join(rts.announce(), cts(6, 1), packets(rts, 1, 2, 3, 5), cts(3, 4), packets(rts, 4, 5, 6)), 1, stats{Complete: 1}},
		{"asked for again by one who has less", join(rts.announce(), cts(3, 1), packets(rts, 1, 2, 3), cts(1, 2), packets(rts, 2), cts(3, 4),
			packets(rts, 4, 5, 6)), 1, stats{Complete: 1}},
		{"sent again without a request", join(rts.announce(), cts(6, 1), packets(rts, 1, 2, 3, 2, 3, 4, 5, 6)), 0, stats{Broken: 1, Faulty: 4}},
		{"filled up without a request", join(rts.announce(), cts(6, 1), packets(rts, 1, 2, 3, 5, 6, 4)), 0, stats{Broken: 1}},
		{"more filled up than asked for", join(rts.announce(), cts(6, 1), packets(rts, 1, 3, 5, 6), cts(1, 2), packets(rts, 2, 4)), 0, stats{Broken: 1}},
		{"sent again with other data", join(rts.announce(), cts(6, 1), packets(rts, 1, 2, 3), cts(6, 1), packets(next, 1, 2, 3, 4, 5, 6)), 0, stats{Broken: 1, Faulty: 5}},
		{"asked for again, not sent again", join(rts.announce(), cts(6, 1), packets(rts, 1, 2, 3, 4), cts(4, 3), packets(rts, 5, 6)), 0, stats{}},
		{"request of another group", join(rts.announce(), cts(6, 1), packets(rts, 1, 2, 3), nextBack.connection(controlCTS, 6, 1), packets(next, 1, 2, 3, 4, 5, 6)), 0,
			stats{Broken: 1, Faulty: 6}},
		{"pause of another group", join(rts.announce(), packets(rts, 1), nextBack.connection(controlCTS, 0), packets(rts, 2, 3, 4, 5, 6)), 0, stats{Broken: 1, Faulty: 5}},
		{"request for packet 0", join(rts.announce(), cts(6, 0)), 0, stats{Broken: 1}},
		{"request beyond the end", join(rts.announce(), cts(1, 7)), 0, stats{Broken: 1}},
		{"request for more than there is", join(rts.announce(), cts(255, 1), packets(rts, 1, 2, 3, 4, 5, 6)), 1, stats{Complete: 1}},
		{"acknowledged, though a packet was not seen", join(rts.announce(), cts(6, 1), packets(rts, 1, 2, 4, 5, 6), back.connection(controlAcknowledge)), 0, stats{Aborted: 1}},
		{"another group acknowledged", join(rts.announce(), packets(rts, 1, 2, 3), nextBack.connection(controlAcknowledge), packets(rts, 4, 5, 6)), 0,
			stats{Broken: 1, Faulty: 3}},
		{"another group acknowledged late", join(rts.announce(), nextBack.connection(controlAcknowledge), packets(rts, 1, 2, 3, 4, 5, 6)), 1, stats{Complete: 1}},
		{"aborted by the sender", join(rts.announce(), rts.packet(0), rts.connection(controlAbort, 3), rts.packet(1)), 0, stats{Aborted: 1, Faulty: 1}},
		{"aborted by the receiver", join(rts.announce(), rts.packet(0), back.connection(controlAbort, 3), rts.packet(1)), 0, stats{Aborted: 1, Faulty: 1}},
		{"another group aborted", join(rts.announce(), rts.packet(0), nextBack.connection(controlAbort, 1), packets(rts, 2, 3, 4, 5, 6)), 1, stats{Complete: 1}},
		{"the opposite direction aborted", join(rts.announce(), opposite.announce(), rts.packet(0), opposite.connection(controlAbort, 1), packets(rts, 2, 3, 4, 5, 6),
			packets(opposite, 1)), 1, stats{Complete: 1, Aborted: 1, Faulty: 1}},
		{"broadcast beside a transfer to one", join(rts.announce(), bam.announce(), cts(6, 1), packets(bam, 1, 2), packets(rts, 1, 2, 3), packets(bam, 3, 4, 5, 6),
			back.connection(controlAbort)), 1, stats{Complete: 1, Aborted: 1}},

		{"too short", []can.Frame{odd(func(f *can.Frame) { f.Data[1], f.Data[3] = 8, 2 })}, 0, stats{Faulty: 1}},
		{"too long", []can.Frame{odd(func(f *can.Frame) { f.Data[1], f.Data[2], f.Data[3] = 0xFA, 6, 255 })}, 0, stats{Faulty: 1}},
		{"wrong number of packets", []can.Frame{odd(func(f *can.Frame) { f.Data[3] = 4 })}, 0, stats{Faulty: 1}},
		{"broadcast to one", []can.Frame{odd(func(f *can.Frame) { f.ID = 0x1CEC2110 })}, 0, stats{Faulty: 1}},
		{"from nobody", []can.Frame{odd(func(f *can.Frame) { f.ID = 0x1CECFFFE })}, 0, stats{Faulty: 1}},
		{"parameter group beyond 18 bits", []can.Frame{odd(func(f *can.Frame) { f.Data[7] = 4 })}, 0, stats{Faulty: 1}},
		{"an announcement that cannot be followed", join(bam.announce(), odd(func(f *can.Frame) { f.Data[3] = 5 }), packets(bam, 1, 2, 3, 4, 5, 6)), 0,
			stats{Aborted: 1, Faulty: 7}},
		{"a short announcement", join(bam.announce(), odd(func(f *can.Frame) { f.Len = 7 }), packets(bam, 1, 2, 3, 4, 5, 6)), 0, stats{Broken: 1, Faulty: 7}},
		{"a short packet", join(bam.announce(), can.Frame{ID: 0x1CEBFF10, Flags: can.Extended, Len: 7, Data: [64]byte{1}}, packets(bam, 1, 2, 3, 4, 5, 6)), 0,
			stats{Broken: 1, Faulty: 7}},
		{"unknown control byte", []can.Frame{odd(func(f *can.Frame) { f.Data[0] = 99 })}, 0, stats{Faulty: 1}},
		{"standard frame", []can.Frame{odd(func(f *can.Frame) { f.Flags = 0 })}, 0, stats{}},
		{"remote frame", []can.Frame{odd(func(f *can.Frame) { f.Flags |= can.Remote })}, 0, stats{}},
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

// TestTransportSilence: how long a silence ends a transfer depends on what came
// before it.
func TestTransportSilence(t *testing.T) {
	bam := sender{0x10, GlobalAddress, 0xFECA, make([]byte, 28)} // 4 packets
	rts := sender{0x10, 0x21, 0xFECA, make([]byte, 28)}
	back := sender{0x21, 0x10, 0xFECA, nil}
	cts := func(count, first byte) can.Frame { return back.connection(controlCTS, count, first) }
	for _, test := range []struct {
		name          string
		before, after []can.Frame
		most          time.Duration
	}{
		{"broadcast announced", []can.Frame{bam.announce()}, []can.Frame{bam.packet(0), bam.packet(1), bam.packet(2), bam.packet(3)}, 1250 * time.Millisecond},
		{"broadcast", []can.Frame{bam.announce(), bam.packet(0)}, []can.Frame{bam.packet(1), bam.packet(2), bam.packet(3)}, 750 * time.Millisecond},
		{"announced", []can.Frame{rts.announce()}, []can.Frame{cts(4, 1), rts.packet(0), rts.packet(1), rts.packet(2), rts.packet(3)}, 1250 * time.Millisecond},
		{"asked for", []can.Frame{rts.announce(), cts(4, 1)}, []can.Frame{rts.packet(0), rts.packet(1), rts.packet(2), rts.packet(3)}, 1250 * time.Millisecond},
		{"packet", []can.Frame{rts.announce(), cts(4, 1), rts.packet(0)}, []can.Frame{rts.packet(1), rts.packet(2), rts.packet(3)}, 750 * time.Millisecond},
		{"packet, nobody seen to ask", []can.Frame{rts.announce(), rts.packet(0)}, []can.Frame{rts.packet(1), rts.packet(2), rts.packet(3)}, 750 * time.Millisecond},
		{"last asked for", []can.Frame{rts.announce(), cts(1, 1), rts.packet(0)}, []can.Frame{cts(3, 2), rts.packet(1), rts.packet(2), rts.packet(3)}, 1250 * time.Millisecond},
		{"pause", []can.Frame{rts.announce(), cts(0, 255)}, []can.Frame{cts(4, 1), rts.packet(0), rts.packet(1), rts.packet(2), rts.packet(3)}, 1050 * time.Millisecond},
	} {
		for silence, want := range map[time.Duration]int{test.most: 1, test.most + time.Millisecond: 0, -time.Millisecond: 1, -time.Second: 0, -time.Hour: 0} {
			var tr Transport
			now := int64(1e18)
			feed(&tr, &now, test.before...)
			now += int64(silence) - int64(50*time.Millisecond)
			if got := feed(&tr, &now, test.after...); len(got) != want {
				t.Errorf("%s, then %v: %d messages, want %d", test.name, silence, len(got), want)
			}
			if s := tr.Stats(); want == 0 && s.TimedOut != 1 {
				t.Errorf("%s, then %v: %+v", test.name, silence, s)
			}
		}
	}
}

// TestTransportClock: where a log is replayed fast, its own clock counts.
func TestTransportClock(t *testing.T) {
	s := sender{0x10, GlobalAddress, 0xFECA, make([]byte, 14)}
	for silence, want := range map[time.Duration]int{750 * time.Millisecond: 1, 751 * time.Millisecond: 0} {
		var tr Transport
		joined := 0
		for i, at := range []time.Duration{0, 50 * time.Millisecond, 50*time.Millisecond + silence} {
			f := s.frames()[i]
			f.Time, f.Clock = 1e18, 1+int64(at)
			if p, ok := tr.Feed(&f); ok {
				joined++
				if p.Time != 1e18 {
					t.Errorf("time %d", p.Time)
				}
			}
		}
		if joined != want {
			t.Errorf("%v: %d messages, want %d", silence, joined, want)
		}
	}
}

// TestTransportLost: a gap of the bus ends what is open, also transfers of
// which nothing is known to be missing.
func TestTransportLost(t *testing.T) {
	bam := sender{0x10, GlobalAddress, 0xFECA, make([]byte, 14)}
	rts := sender{0x10, 0x21, 0xFECA, make([]byte, 14)}
	var tr Transport
	now := int64(0)
	feed(&tr, &now, bam.announce(), rts.announce(), bam.packet(0), rts.packet(0))
	tr.Lost()
	if got := feed(&tr, &now, bam.packet(1), rts.packet(1)); len(got) != 0 {
		t.Errorf("%d messages joined over a gap", len(got))
	}
	if got := feed(&tr, &now, bam.frames()...); len(got) != 1 {
		t.Error("nothing is joined after a gap")
	}
	if want := (TransportStats{Complete: 1, Broken: 2, Faulty: 2}); tr.Stats() != want {
		t.Errorf("%+v, want %+v", tr.Stats(), want)
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

// A request for what lies behind a packet that was missed says that the receiver
// has it: nothing may be joined from there on, whatever is asked for later.
func TestRequestBehindAMissedPacket(t *testing.T) {
	s := sender{7, 3, 0xFE38, randomBytes(rand.New(rand.NewPCG(1, 2)), 14)}
	back := sender{3, 7, s.pgn, nil}
	for name, c := range map[string]struct {
		frames []can.Frame
		joined int
	}{
		"asked for in order":         {[]can.Frame{s.announce(), back.connection(controlCTS, 1, 1), s.packet(0), back.connection(controlCTS, 1, 2), s.packet(1)}, 1},
		"the first one missed":       {[]can.Frame{s.announce(), back.connection(controlCTS, 1, 2), s.packet(1), back.connection(controlCTS, 1, 1), s.packet(0)}, 0},
		"the second one asked again": {[]can.Frame{s.announce(), back.connection(controlCTS, 2, 1), s.packet(0), back.connection(controlCTS, 1, 2), s.packet(1)}, 1},
	} {
		var tr Transport
		joined := 0
		for i, f := range c.frames {
			f.Time = int64(i) * ms
			if _, ok := tr.Feed(&f); ok {
				joined++
			}
		}
		if joined != c.joined {
			t.Errorf("%s: %d messages, want %d", name, joined, c.joined)
		}
	}
}
