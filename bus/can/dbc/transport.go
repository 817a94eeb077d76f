package dbc

import (
	"time"

	"fieldferry/bus/can"
)

// The transport protocol of SAE J1939-21 5.10.
const (
	pgnConnection = 0xEC00 // TP.CM: announcements and acknowledgements
	pgnTransfer   = 0xEB00 // TP.DT: packets

	controlRTS         = 16
	controlCTS         = 17
	controlAcknowledge = 19
	controlBAM         = 32
	controlAbort       = 255

	packetSize      = 7
	minTransferSize = 9
	maxTransferSize = 255 * packetSize // 1785
)

// transferTimeout is the longest silence within a transfer: T2 and T3 of SAE
// J1939-21, the longest there are.
const transferTimeout = int64(1250 * time.Millisecond)

// maxTransfers is how many transfers a Transport follows at once. A source may
// have one to all and one to each other node; a bus rarely has three.
const maxTransfers = 64

// Packet is a message joined from the packets of a transfer.
type Packet struct {
	Time        int64  // of its last frame
	PGN         uint32 // parameter group
	Priority    uint8  // of the transfer's frames, not of the message
	Source      uint8
	Destination uint8  // GlobalAddress for a broadcast
	Data        []byte // 9 to 1785 bytes, valid until the next call of Feed
}

// ID returns the message as an id: what it would be if it fitted into a frame.
func (p *Packet) ID() uint32 { return J1939ID(p.Priority, p.PGN, p.Destination, p.Source) }

// Transport joins the packets of long J1939 messages, as a listener: broadcasts
// (BAM) and transfers between two nodes (RTS/CTS). It needs at most 120 KB.
// Silence is measured by the times of the frames. The zero value is ready to use.
type Transport struct {
	sessions []session
	stats    TransportStats
}

// TransportStats count transfers.
type TransportStats struct {
	Complete uint64
	Aborted  uint64 // given up by one of the nodes, or replaced by a new one
	TimedOut uint64 // packets missing
	Faulty   uint64 // announcements and packets that contradict the protocol, or belong to no known transfer
}

type session struct {
	active              bool
	source, destination uint8
	priority            uint8
	packets             uint8
	missing             uint8
	size                int
	pgn                 uint32
	last                int64     // time of the last frame
	seen                [4]uint64 // a bit for each packet
	data                []byte
}

// Stats returns what was counted since the beginning.
func (t *Transport) Stats() TransportStats { return t.stats }

// Feed takes a frame of the bus and reports whether it completed a message.
// Frames that are not of the transport protocol are passed over.
func (t *Transport) Feed(f *can.Frame) (Packet, bool) {
	if f.Flags != can.Extended || f.Len != 8 {
		return Packet{}, false
	}
	switch PGN(f.ID) {
	case pgnConnection:
		t.connection(f)
	case pgnTransfer:
		return t.packet(f)
	}
	return Packet{}, false
}

// connection takes TP.CM.
func (t *Transport) connection(f *can.Frame) {
	source, destination := SourceAddress(f.ID), Destination(f.ID)
	pgn := uint32(f.Data[5]) | uint32(f.Data[6])<<8 | uint32(f.Data[7])<<16
	switch f.Data[0] {
	case controlRTS, controlBAM:
		size, packets := int(f.Data[1])|int(f.Data[2])<<8, int(f.Data[3])
		if size < minTransferSize || size > maxTransferSize || packets != (size+packetSize-1)/packetSize ||
			pgn > 0x3FFFF || (f.Data[0] == controlBAM) != (destination == GlobalAddress) {
			t.stats.Faulty++
			return
		}
		s := t.begin(source, destination, f.Time)
		s.priority, s.pgn, s.size = Priority(f.ID), pgn, size
		s.packets, s.missing = uint8(packets), uint8(packets)
		s.seen = [4]uint64{}
		if cap(s.data) < maxTransferSize {
			s.data = make([]byte, maxTransferSize)
		}
	case controlCTS: // of the receiver, which may ask for packets again or for a pause
		if s := t.find(destination, source, f.Time); s != nil {
			s.last = f.Time
		}
	case controlAcknowledge: // of the receiver: it has what this listener has not
		t.end(t.find(destination, source, f.Time))
	case controlAbort: // of either
		t.end(t.find(destination, source, f.Time))
		t.end(t.find(source, destination, f.Time))
	default:
		t.stats.Faulty++
	}
}

// packet takes TP.DT.
func (t *Transport) packet(f *can.Frame) (Packet, bool) {
	s := t.find(SourceAddress(f.ID), Destination(f.ID), f.Time)
	n := int(f.Data[0]) - 1
	if s == nil || n < 0 || n >= int(s.packets) {
		t.stats.Faulty++
		return Packet{}, false
	}
	s.last = f.Time
	copy(s.data[n*packetSize:], f.Data[1:8])
	if bit := uint64(1) << (n % 64); s.seen[n/64]&bit == 0 {
		s.seen[n/64] |= bit
		s.missing--
	}
	if s.missing > 0 {
		return Packet{}, false
	}
	s.active = false
	t.stats.Complete++
	return Packet{f.Time, s.pgn, s.priority, s.source, s.destination, s.data[:s.size]}, true
}

// find returns the transfer between two nodes, unless it has timed out.
func (t *Transport) find(source, destination uint8, now int64) *session {
	for i := range t.sessions {
		s := &t.sessions[i]
		if !s.active || s.source != source || s.destination != destination {
			continue
		}
		if s.expired(now) {
			s.active = false
			t.stats.TimedOut++
			return nil
		}
		return s
	}
	return nil
}

// expired allows for clocks that step back: such a transfer begins anew.
func (s *session) expired(now int64) bool {
	return now-s.last > transferTimeout || s.last-now > transferTimeout
}

func (t *Transport) end(s *session) {
	if s != nil {
		s.active = false
		t.stats.Aborted++
	}
}

// begin returns a session for a new transfer: that of the same nodes, an idle
// one, a new one, or the one that has been silent for longest.
func (t *Transport) begin(source, destination uint8, now int64) *session {
	var use *session
	if use = t.find(source, destination, now); use != nil {
		t.end(use)
	}
	for i := range t.sessions {
		s := &t.sessions[i]
		if use == nil && !s.active {
			use = s
		}
	}
	if use == nil && len(t.sessions) < maxTransfers {
		t.sessions = append(t.sessions, session{})
		use = &t.sessions[len(t.sessions)-1]
	}
	if use == nil {
		use = &t.sessions[0]
		for i := range t.sessions {
			if s := &t.sessions[i]; s.last < use.last {
				use = s
			}
		}
		t.stats.TimedOut++
	}
	use.active, use.source, use.destination, use.last = true, source, destination, now
	return use
}
