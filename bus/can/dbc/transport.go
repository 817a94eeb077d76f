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

// The longest silences of SAE J1939-21 5.10.2.4 and 5.13.3, by what came last.
const (
	silencePacket   = int64(750 * time.Millisecond)  // T1: a packet, and more are due
	silenceRequest  = int64(1250 * time.Millisecond) // T2: a CTS
	silenceAnswer   = int64(1250 * time.Millisecond) // T3: an announcement, or the last packet a CTS asked for
	silenceHold     = int64(1050 * time.Millisecond) // T4: a CTS that asks for a pause
	clockTolerance  = int64(10 * time.Millisecond)   // times of neighbouring frames may cross by as much
	noSourceAddress = 254                            // from here on no node may send a message
)

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
// (BAM) and transfers between two nodes (RTS/CTS). Whatever says that a packet
// may be of another message ends a transfer: rather none than a mixture. It
// needs at most 130 KB. Silence is measured by the clocks of the frames. The
// zero value is ready to use.
type Transport struct {
	sessions []session
	used     uint64 // rises with each use of a session
	stats    TransportStats
}

// TransportStats count transfers.
type TransportStats struct {
	Complete uint64
	Aborted  uint64 // given up by one of the nodes, or replaced by a new one
	TimedOut uint64 // silent for too long
	Broken   uint64 // packets or requests that contradict the transfer, or frames that were lost
	Faulty   uint64 // announcements and packets that contradict the protocol, or belong to no known transfer
}

// Stats returns what was counted since the beginning.
func (t *Transport) Stats() TransportStats { return t.stats }

// Lost ends all open transfers: frames of the bus were lost, and nobody knows
// which. A lost end and a lost beginning would make one message of two.
func (t *Transport) Lost() {
	for i := range t.sessions {
		if s := &t.sessions[i]; s.active {
			end(s, &t.stats.Broken)
		}
	}
}

// TransportName is what the standard calls a frame with an extended id that is of
// the transport protocol: TP.CM, TP.DT, or nothing if it is not.
func TransportName(id uint32) string {
	switch PGN(id) {
	case pgnConnection:
		return "TP.CM"
	case pgnTransfer:
		return "TP.DT"
	}
	return ""
}

// Feed takes a frame of the bus and reports whether it completed a message.
// Frames that are not of the transport protocol are passed over.
func (t *Transport) Feed(f *can.Frame) (Packet, bool) {
	if f.Flags != can.Extended {
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
	control := f.Data[0]
	if f.Len != 8 {
		control, pgn = 0, 0 // of what it seems to be nothing holds
	}
	now := f.BusTime()
	switch control {
	case controlRTS, controlBAM:
		t.announcement(f, pgn)
	case controlCTS: // of the receiver
		if s := t.find(destination, source, now); s != nil && !s.ask(pgn, int(f.Data[1]), int(f.Data[2]), now) {
			end(s, &t.stats.Broken)
		}
	case controlAcknowledge: // of the receiver: it has what this listener has not
		switch s := t.find(destination, source, now); {
		case s == nil:
		case s.pgn == pgn:
			end(s, &t.stats.Aborted)
		case s.begun: // what came was of the other message
			end(s, &t.stats.Broken)
		}
	case controlAbort: // of either; it does not say in which direction
		for _, s := range [2]*session{t.find(destination, source, now), t.find(source, destination, now)} {
			if s != nil && s.active && s.pgn == pgn {
				end(s, &t.stats.Aborted)
			}
		}
	default:
		t.stats.Faulty++
		if f.Len != 8 { // perhaps an announcement
			end(t.find(source, destination, now), &t.stats.Broken)
		}
	}
}

// announcement takes TP.CM_RTS and TP.CM_BAM. Also one that cannot be followed
// says that what comes now is another message.
func (t *Transport) announcement(f *can.Frame, pgn uint32) {
	source, destination, now := SourceAddress(f.ID), Destination(f.ID), f.BusTime()
	end(t.find(source, destination, now), &t.stats.Aborted)
	size, packets := int(f.Data[1])|int(f.Data[2])<<8, int(f.Data[3])
	if size < minTransferSize || size > maxTransferSize || packets != (size+packetSize-1)/packetSize ||
		pgn > 0x3FFFF || source >= noSourceAddress || (f.Data[0] == controlBAM) != (destination == GlobalAddress) {
		t.stats.Faulty++
		return
	}
	s := t.idle()
	data := s.data
	if data == nil {
		data = make([]byte, maxTransferSize)
	}
	*s = session{
		active: true, source: source, destination: destination, priority: Priority(f.ID), pgn: pgn, size: size,
		packets: packets, missing: packets, next: 1, asked: packets, last: now, silence: silenceAnswer, used: t.use(), data: data,
	}
}

// packet takes TP.DT.
func (t *Transport) packet(f *can.Frame) (Packet, bool) {
	s := t.find(SourceAddress(f.ID), Destination(f.ID), f.BusTime())
	if s == nil || f.Len != 8 {
		t.stats.Faulty++
		end(s, &t.stats.Broken)
		return Packet{}, false
	}
	if !s.take(int(f.Data[0]), f.Data[1:8], f.BusTime()) {
		end(s, &t.stats.Broken)
		return Packet{}, false
	}
	s.used = t.use()
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
			end(s, &t.stats.TimedOut)
			return nil
		}
		return s
	}
	return nil
}

// end ends a transfer, if there is one, and counts why.
func end(s *session, why *uint64) {
	if s != nil {
		s.active = false
		*why++
	}
}

// idle returns a session for a new transfer: an idle one, a new one, or the one
// that has been silent for longest.
func (t *Transport) idle() *session {
	var oldest *session
	for i := range t.sessions {
		s := &t.sessions[i]
		if !s.active {
			return s
		}
		if oldest == nil || s.used < oldest.used {
			oldest = s
		}
	}
	if len(t.sessions) < maxTransfers {
		t.sessions = append(t.sessions, session{})
		return &t.sessions[len(t.sessions)-1]
	}
	end(oldest, &t.stats.TimedOut)
	return oldest
}

func (t *Transport) use() uint64 {
	t.used++
	return t.used
}
